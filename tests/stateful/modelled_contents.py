"""What must be in a store: a dictionary of dictionaries, and what is known of each of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from modelled_states import same

from checkpointdb.schema import checkpoints

HOSTILE_IDS = ["../x", "\N{PARTY POPPER}", "x" * 300, "CON"]
IDS = ["one", "two", "three", "ONE", *HOSTILE_IDS]


def in_order(handle):
    """Return the ids of a store from oldest to newest, as retention sees them."""
    with handle.query() as connection:
        query = sa.select(checkpoints.c.checkpoint_id).order_by(checkpoints.c.id)
        return list(connection.scalars(query))


class Contents:
    """The checkpoints of a pipeline: `states` by id, oldest first.

    `versions` and `times` are those of ids that are forgotten too.
    """

    def __init__(self):
        self.states = {}
        self.versions = {}
        self.times = {}
        self.pinned = set()

    @property
    def unpinned(self):
        return [each for each in self.states if each not in self.pinned]

    def is_old(self, checkpoint_id):
        """Say whether its time is long ago, as it is of what the predecessor saved."""
        return datetime.fromisoformat(self.times[checkpoint_id]) < datetime.now(UTC) - timedelta(1)

    def put(self, checkpoint_id, state, version, time):
        """Note what an id is now; a pin stays with it."""
        self.states.pop(checkpoint_id, None)
        self.states[checkpoint_id] = state
        self.versions[checkpoint_id] = version
        self.times[checkpoint_id] = time

    def forgotten(self, checkpoint_id):
        del self.states[checkpoint_id]
        self.pinned.discard(checkpoint_id)

    def compare_with(self, handle):
        """Assert that a handle has all of this, and nothing else."""
        assert in_order(handle) == list(self.states)
        listed = handle.list_checkpoints()
        assert {each.checkpoint_id for each in listed if each.pinned} == self.pinned
        versions = {each.checkpoint_id: each.state_version for each in listed}
        assert versions == {each: self.versions[each] for each in self.states}
        times = {each.checkpoint_id: each.timestamp for each in listed}
        assert times == {each: self.times[each] for each in self.states}
        for checkpoint_id, state in self.states.items():
            assert same(handle.load(checkpoint_id), state), checkpoint_id
