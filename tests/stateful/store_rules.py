"""The rules of a store: what three handles may do in it, in any order, and what it must be then."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from meanwhile_rules import Meanwhile
from modelled_contents import IDS
from modelled_retention import DEFAULT, POLICIES, PRUNINGS, forgotten_by_handle
from modelled_states import EDITS, edited, equal, same
from modelled_store import (
    HANDLES,
    OPTIONS,
    VERSIONS,
    Killed,
    Store,
    killed_at_commit,
    version_of,
)
from transfer_rules import Transfers

from checkpointdb import InvalidStateError, StateVersionError

STEPS = Counter()  # made, by machine


class StoreMachine(Meanwhile, Transfers, RuleBasedStateMachine):
    """Three handles take turns in one pipeline of one store."""

    key = None
    new_url = staticmethod(lambda: None)

    def __init__(self):
        super().__init__()
        self.store = Store(self.key, self.new_url())
        self.handles = []
        self.policies = []

    @initialize(
        policies=st.tuples(POLICIES, POLICIES, POLICIES),
        options=OPTIONS,
        versions=st.tuples(VERSIONS, VERSIONS, VERSIONS),
        names=st.lists(st.sampled_from(IDS), min_size=2, max_size=6, unique=True),
        data=st.data(),
    )
    def begin(self, policies, options, versions, names, data):
        """Open the handles of a store that has something: by chance it would be mostly empty."""
        for policy, version in zip(policies, versions, strict=True):
            self.handles.append(self.store.open(**policy, **{**options, "state_version": version}))
            self.policies.append(policy)
        for name in names:
            state = self.draw_state(data)
            self.store.observer.save(state, name)
            self.store.saved(self.store.observer, name, state, None, {})

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
        self.store.saved(self.handles[number], name, state, pinned, self.policies[number])

    @rule(number=HANDLES, name=st.sampled_from(IDS), edits=EDITS)
    def save_what_was_loaded_or_saved_last(self, number, name, edits):
        """What a pipeline does: it goes on from the newest."""
        last = list(self.store.states.values())[-1] if self.store.states else {}
        state = edited(last, edits)
        self.handles[number].save(state, name)
        self.store.saved(self.handles[number], name, state, None, self.policies[number])

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, name=st.sampled_from(IDS), data=st.data(), edits=EDITS)
    def save_upon_a_base(self, number, name, data, edits):
        base = self.draw_id(data)
        state = edited(self.store.states[base], edits)
        self.handles[number].save(state, name, base=base)
        self.store.saved(self.handles[number], name, state, None, self.policies[number])

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, name=st.sampled_from(IDS), data=st.data(), edits=EDITS)
    def load_and_go_on(self, number, name, data, edits):
        """An older stage is loaded, changed in place, saved: a fork."""
        loaded = self.load(number, self.draw_id(data))
        if loaded is None:
            return
        state = edited(loaded, edits)
        self.handles[number].save(state, name)
        self.store.saved(self.handles[number], name, state, None, self.policies[number])

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

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, data=st.data())
    def touch_some_keys(self, number, data):
        name = self.draw_id(data)
        if self.load(number, name) is None:
            return
        state, found = self.store.states[name], self.handles[number].lazy(name)
        assert list(found) == list(state)
        for key in data.draw(st.sets(st.sampled_from(list(state)))) if state else ():
            assert equal(found[key], state[key])

    @rule(number=HANDLES)
    def load_the_latest(self, number):
        if not self.store.states:
            assert self.handles[number].load_latest() is None
            return
        name, state = list(self.store.states.items())[-1]
        if self.load(number, name) is not None:
            found, loaded = self.handles[number].load_latest()
            assert found.checkpoint_id == name
            assert same(loaded, state)

    @rule(number=HANDLES, name=st.sampled_from(IDS), data=st.data())
    def fail_to_save(self, number, name, data):
        """What cannot be pickled is refused, with all that is beside it."""
        state = {**self.draw_state(data), "no pickle": lambda: None}
        with pytest.raises(InvalidStateError, match="'no pickle'"):
            self.handles[number].save(state, name)

    # --- forgetting

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, data=st.data())
    def delete(self, number, data):
        self.forget(number, self.draw_id(data))

    def forget(self, number, name):
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

    @precondition(lambda self: self.store.states)
    @rule(
        number=HANDLES,
        policy=st.sampled_from([None, *PRUNINGS]),
        data=st.data(),
        meanwhile=st.sampled_from([None, "pin", "delete", "replace"]),
    )
    def prune(self, number, policy, data, meanwhile):
        """A plan is made, something happens, and what still holds of the plan is done."""
        handle, times = self.handles[number], dict(self.store.times)
        if policy is None:
            plan, planned = handle.plan_retention(), self.forgotten_by(number)
        else:
            plan = handle.plan_retention(PRUNINGS[policy].policy)
            planned = PRUNINGS[policy].forgotten(self.store)
        assert [each.checkpoint_id for each in plan.forgotten] == planned
        if planned:
            name = data.draw(st.sampled_from(planned), "name")
            self.do_meanwhile(meanwhile, (number + 1) % 3, name, data)
        last = list(self.store.states)[-1:]
        due = [
            each
            for each in planned
            if each in self.store.states and self.store.times[each] == times[each]
            if each not in self.store.pinned and each not in last
        ]
        assert handle.prune(plan, dry_run=True).forgotten == tuple(due)
        report = handle.prune(plan)
        assert report.forgotten == tuple(due)
        assert [each for each, _ in report.spared] == [each for each in planned if each not in due]
        for each in due:
            self.store.forgotten(each)

    def do_meanwhile(self, what, number, name, data):
        match what:
            case "pin":
                self.handles[number].pin(name)
                self.store.pinned.add(name)
            case "delete":
                self.forget(number, name)
            case "replace":
                self.save(number, name, data, False)

    def forgotten_by(self, number):
        return forgotten_by_handle(self.store, self.policies[number])

    # --- writing again

    @rule(number=HANDLES, min_dead=st.sampled_from([0.01, 0.5]))
    def compact(self, number, min_dead):
        assert self.handles[number].compact(min_dead=min_dead).left == ()

    @precondition(lambda self: self.store.states)
    @rule(number=HANDLES, data=st.data())
    def merge(self, number, data):
        self.merge_into_full(number, self.draw_id(data))

    def merge_into_full(self, number, name):
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
        self.policies[number] = policy

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
            self.policies[number] = DEFAULT

    @rule(number=st.integers(0, 999))
    def unlink_later(self, number):
        # By a number: which there are depends on sizes, and these on a key that is drawn by lot.
        if names := self.store.unlinked():
            self.store.bring_back(names[number % len(names)])

    @rule()
    def sweep(self):
        self.store.sweep()

    # --- after each step

    @invariant()
    def what_is_stored_is_what_was_saved(self):
        STEPS[type(self).__name__] += 1
        self.store.keep_links()
        self.store.check()
