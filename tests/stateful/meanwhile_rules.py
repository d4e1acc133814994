"""The rule that another reads while something is written."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from modelled_contents import IDS
from modelled_store import HANDLES, opened
from reading_meanwhile import assert_each_is_whole, reading


class Meanwhile:
    """A reader in another thread, by a handle of its own, beside any of the other rules."""

    def writes(self, number, name, data):
        """Return what a handle may do to the checkpoint that is read, or beside it."""
        always = {
            "save": lambda: self.save(number, name, data, False),
            "save another": lambda: self.save(number, data.draw(st.sampled_from(IDS)), data, False),
            "prune": lambda: self.prune(number, "no bytes", data, None),
            "compact": lambda: self.compact(number, 0.01),
        }
        if name not in self.store.states:
            return always
        return always | {
            "delete": lambda: self.forget(number, name),
            "merge": lambda: self.merge_into_full(number, name),
        }

    @precondition(lambda self: self.store.states)
    @rule(numbers=st.lists(HANDLES, min_size=1, max_size=4), data=st.data())
    def write_while_another_reads(self, numbers, data):
        name = self.draw_id(data)
        history, did = [self.store.states[name]], []
        key = data.draw(st.sampled_from([None, *history[0]]), "key")
        with (
            opened(self.store.directory, self.store.key, database_url=self.store.url) as handle,
            reading(handle, name, key) as answers,
        ):
            for number in numbers:
                writes = self.writes(number, name, data)
                did.append(data.draw(st.sampled_from(list(writes)), "write"))
                writes[did[-1]]()
                if self.store.states.get(name) is not history[-1]:
                    history.append(self.store.states.get(name))
        are_keys_replaced = any("key" in each for each in did)
        assert_each_is_whole(answers, history, key, may_be_locked=are_keys_replaced)
