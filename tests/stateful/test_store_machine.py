"""The whole store against a dictionary, and its rebuild, step by step, by Hypothesis.

HYPOTHESIS_PROFILE=nightly pytest tests/stateful      a long look
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress

import pytest
from effort import NIGHTLY, some
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from modelled_states import EDITS, edited, same
from modelled_store import (
    IDS,
    OPTIONS,
    POLICIES,
    VERSIONS,
    Killed,
    Store,
    killed_at_commit,
    opened,
    version_of,
)

from checkpointdb import StateVersionError, WrongKeyError, generate_encryption_key

HANDLES = st.integers(0, 2)

pytestmark = pytest.mark.slow


class StoreMachine(RuleBasedStateMachine):
    """Three handles take turns in one pipeline of one store."""

    key = None
    new_url = staticmethod(lambda: None)

    def __init__(self):
        super().__init__()
        self.store = Store(self.key, self.new_url())
        self.handles = []
        self.counts = []

    @initialize(
        policies=st.tuples(POLICIES, POLICIES, POLICIES),
        options=OPTIONS,
        versions=st.tuples(VERSIONS, VERSIONS, VERSIONS),
    )
    def open_handles(self, policies, options, versions):
        for policy, version in zip(policies, versions, strict=True):
            self.handles.append(self.store.open(**policy, **{**options, "state_version": version}))
            self.counts.append(policy.get("retention_count"))

    def teardown(self):
        for handle in self.handles:
            handle.close()
        self.store.remove()

    def draw_id(self, data):
        return data.draw(st.sampled_from(list(self.store.states)), "id")

    def draw_state(self, data):
        """Return a new state: some existing one, or none, with edits made to it."""
        states = [{}, *self.store.states.values()]
        start = data.draw(st.integers(0, len(states) - 1), "start")
        return edited(states[-1 - start], data.draw(EDITS, "edits"))

    def load(self, number, name, **options):
        """Load by a handle's code; None if the state is newer than that, which must be told."""
        handle, found = self.handles[number], self.store.versions[name]
        if version_of(handle) is None or (found or 0) <= version_of(handle):
            return handle.load(name, **options)
        with pytest.raises(StateVersionError):
            handle.load(name, **options)
        return None

    # --- saving and loading

    @rule(number=HANDLES, name=st.sampled_from(IDS), data=st.data(), force_full=st.booleans())
    def save(self, number, name, data, force_full):
        state = self.draw_state(data)
        pinned = data.draw(st.sampled_from([None, None, False, True]), "pinned")
        self.handles[number].save(state, name, force_full, pinned=pinned)
        self.store.saved(self.handles[number], name, state, pinned, self.counts[number])

    @rule(number=HANDLES, name=st.sampled_from(IDS), edits=EDITS)
    def save_what_was_loaded_or_saved_last(self, number, name, edits):
        """What a pipeline does: it goes on from the newest."""
        last = list(self.store.states.values())[-1] if self.store.states else {}
        state = edited(last, edits)
        self.handles[number].save(state, name)
        self.store.saved(self.handles[number], name, state, None, self.counts[number])

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, name=st.sampled_from(IDS), data=st.data(), edits=EDITS)
    def save_upon_a_base(self, number, name, data, edits):
        base = self.draw_id(data)
        state = edited(self.store.states[base], edits)
        self.handles[number].save(state, name, base=base)
        self.store.saved(self.handles[number], name, state, None, self.counts[number])

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, name=st.sampled_from(IDS), data=st.data(), edits=EDITS)
    def load_and_go_on(self, number, name, data, edits):
        """An older stage is loaded, changed in place, saved: a fork."""
        loaded = self.load(number, self.draw_id(data))
        if loaded is None:
            return
        state = edited(loaded, edits)
        self.handles[number].save(state, name)
        self.store.saved(self.handles[number], name, state, None, self.counts[number])

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, data=st.data())
    def load_some_keys(self, number, data):
        name = self.draw_id(data)
        state = self.store.states[name]
        keys = data.draw(
            st.lists(st.sampled_from(list(state)), unique=True) if state else st.just([])
        )
        found = self.load(number, name, keys=keys)
        if found is None:
            return
        assert same(found, {key: state[key] for key in found})
        assert set(found) == set(keys)

    # --- forgetting

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, data=st.data())
    def delete(self, number, data):
        name = self.draw_id(data)
        self.handles[number].delete_checkpoint(name)
        self.store.forgotten(name)

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, data=st.data())
    def pin_or_unpin(self, number, data):
        name = self.draw_id(data)
        if name in self.store.pinned:
            self.handles[number].unpin(name)
            self.store.pinned.discard(name)
        else:
            self.handles[number].pin(name)
            self.store.pinned.add(name)

    # --- writing again

    @rule(number=HANDLES, min_dead=st.sampled_from([0.01, 0.5]))
    def compact(self, number, min_dead):
        assert self.handles[number].compact(min_dead=min_dead).left == ()

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, data=st.data())
    def merge(self, number, data):
        name = self.draw_id(data)
        self.handles[number].merge(name)
        assert not self.handles[number].get_checkpoint_info(name).is_incremental

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, data=st.data(), merges=st.booleans())
    def die_while_it_is_written_again(self, number, data, merges):
        """The file has its name, the rows are as they were."""
        handle, before = self.handles[number], self.store.files()
        with suppress(Killed), killed_at_commit(lambda: self.store.files() - before):
            if merges:
                handle.merge(self.draw_id(data))
            else:
                handle.compact(min_dead=0.01)
        self.store.strays |= self.store.files() - before

    # --- what happens to processes and files

    @rule(number=HANDLES, policy=POLICIES, options=OPTIONS)
    def reopen(self, number, policy, options):
        self.handles[number].close()
        self.handles[number] = self.store.open(**policy, **options)
        self.counts[number] = policy.get("retention_count")

    @rule(number=HANDLES, name=st.sampled_from(IDS), data=st.data(), survives=st.booleans())
    def die_between_rename_and_commit(self, number, name, data, survives):
        """The file has its name, the rows are not there; the handle lives on or is opened anew."""
        state = self.draw_state(data)
        before = self.store.files()
        with pytest.raises(Killed), killed_at_commit(lambda: self.store.files() - before):
            self.handles[number].save(state, name)
        [left] = self.store.files() - before
        self.store.strays.add(left)
        self.store.wrote(left, name, state)
        self.store.tried(name, state)
        if not survives:
            self.handles[number].close()
            self.handles[number] = self.store.open()
            self.counts[number] = 10

    @precondition(lambda self: self.store.unlinked())
    @rule(data=st.data())
    def unlink_later(self, data):
        self.store.bring_back(data.draw(st.sampled_from(self.store.unlinked()), "name"))

    @rule()
    def sweep(self):
        self.store.sweep()

    # --- after each step

    @invariant()
    def what_is_stored_is_what_was_saved(self):
        self.store.keep_links()
        self.store.check()


class RebuildMachine(StoreMachine):
    """After each step, the database could be lost."""

    @rule(policies=st.tuples(POLICIES, POLICIES, POLICIES))
    def lose_the_database_and_go_on(self, policies):
        target, _ = self.store.rebuilt()
        for handle in self.handles:
            handle.close()
        self.store.go_on(target)
        self.handles = [self.store.open(**policy) for policy in policies]
        self.counts = [policy.get("retention_count") for policy in policies]

    @invariant()
    def a_rebuild_brings_every_checkpoint_back(self):
        target, report = self.store.rebuilt()
        with opened(target, self.store.key) as copy:
            self.store.compare(copy, report)
        shutil.rmtree(target.parent)


class EncryptedMachine(RebuildMachine):
    """The same, encrypted, with keys that come and go."""

    key = generate_encryption_key()

    @rule(number=HANDLES)
    def replace_the_key(self, number):
        new = generate_encryption_key()
        try:
            self.handles[number].rotate_key(new)
        except WrongKeyError:  # its own was replaced by another handle; it only saves and loads
            assert self.handles[number]._unlocked.key.key_id not in self.store.observer.key_ids()
            return
        self.store.key = new

    @rule(number=HANDLES, policies=st.tuples(POLICIES, POLICIES, POLICIES))
    def replace_the_master_key(self, number, policies):
        self.store.sweep()  # what no row names is not sealed anew
        new = generate_encryption_key()
        try:
            self.handles[number].rotate_key(new, reencrypt=True)
        except WrongKeyError:
            return
        self.store.resealed(new)
        for handle in self.handles:
            handle.close()
        self.handles = [self.store.open(**policy) for policy in policies]
        self.counts = [policy.get("retention_count") for policy in policies]

    @rule(number=HANDLES)
    def add_a_key_and_remove_it(self, number):
        new = generate_encryption_key()
        try:
            self.handles[number].add_key(new)
            self.handles[number].remove_key(new)
        except WrongKeyError:
            assert self.handles[number]._unlocked.key.key_id not in self.store.observer.key_ids()

    @rule(name=st.sampled_from(["keyring.json", "the table"]))
    def lose_one_of_the_two_keyrings(self, name):
        if name == "keyring.json":
            (self.store.directory / name).unlink()
        else:
            with closing(sqlite3.connect(self.store.directory / "checkpoints.db")) as database:
                database.execute("UPDATE keyring SET document = '{'")
                database.commit()
        opened(self.store.directory, self.store.key).close()


def steps(examples, count):
    """Settings of a machine: a short run always, a longer one by choice, a long one at night."""
    return settings(
        max_examples=examples * (40 if NIGHTLY else 1),
        stateful_step_count=count * (2 if NIGHTLY else 1),
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )


TestStore = StoreMachine.TestCase
TestStore.settings = steps(some(8, long=20), 25)
TestRebuild = RebuildMachine.TestCase
TestRebuild.settings = steps(some(4, long=8), 18)
TestEncrypted = EncryptedMachine.TestCase
TestEncrypted.settings = steps(some(3, long=6), 18)


def test_the_store_on_a_server(emptied):
    class OnServer(StoreMachine):
        new_url = staticmethod(lambda: next(emptied()))

    run_state_machine_as_test(OnServer, settings=steps(some(3, long=10), 18))
