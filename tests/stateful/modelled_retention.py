"""Policies of retention, and what each of them forgets of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import strategies as st
from modelled_contents import HOSTILE_IDS, Contents

from checkpointdb import AtMostBytes, KeepNewest, KeepWhere, KeepWithin, RetentionPolicy
from checkpointdb.retention import Policy
from checkpointdb.schema import checkpoints

DEFAULT = {"retention_count": 10}
POLICIES = st.sampled_from(
    [
        {"retention_policy": RetentionPolicy.KEEP_ALL},
        {"retention_policy": RetentionPolicy.DELETE_OLDER_THAN, "retention_age_days": 1},
        {"retention_count": 1},
        {"retention_count": 2},
        {"retention_count": 4},
    ]
)


def forgotten_by_handle(contents, options):
    """Return what retention forgets by a handle that was opened with `options`, oldest first."""
    loose = contents.unpinned
    if "retention_count" in options:
        return _but_last(contents, loose[: -options["retention_count"]])
    if "retention_age_days" in options:
        return _but_last(contents, filter(contents.is_old, loose))
    return []


class Pruning(NamedTuple):
    """A policy to prune by, and what the model keeps by it, of what is not pinned."""

    policy: Policy
    kept: Callable[[Contents], list[str]]

    def forgotten(self, contents):
        kept = self.kept(contents)
        return _but_last(contents, [each for each in contents.unpinned if each not in kept])


PRUNINGS = {
    "newest one": Pruning(KeepNewest(1), lambda model: model.unpinned[-1:]),
    "newest three": Pruning(KeepNewest(3), lambda model: model.unpinned[-3:]),
    "hostile ids": Pruning(
        KeepWhere(checkpoints.c.checkpoint_id.in_(HOSTILE_IDS)),
        # A condition that nothing matches, nothing pinned either, keeps all.
        lambda model: (
            model.unpinned if model.states.keys().isdisjoint(HOSTILE_IDS) else HOSTILE_IDS
        ),
    ),
    "young ones, or hostile ids": Pruning(
        KeepWithin(1) | KeepWhere(checkpoints.c.checkpoint_id.in_(HOSTILE_IDS)),
        lambda model: [each for each in model.states if not model.is_old(each)] + HOSTILE_IDS,
    ),
    "no bytes": Pruning(AtMostBytes(1), lambda _: []),
}


def _but_last(contents, found):
    """Leave out what was saved last, which no policy forgets."""
    return [each for each in found if each != list(contents.states)[-1]]
