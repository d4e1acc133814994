"""Random histories of a store in a bucket against a dictionary, and its rebuild at the end."""

from __future__ import annotations

import random

import pytest
from effort import some

from checkpointdb import PipelineCheckpoint, RetentionPolicy, generate_encryption_key

KEYS = "abcdef"


class History:
    """A store with two handles, and what should be in it."""

    def __init__(self, directory, url, key, seed):
        self.directory, self.url, self.key = directory, url, key
        self.random = random.Random(seed)
        self.states = {}
        self.handles = [self.open(), self.open()]

    def open(self):
        return PipelineCheckpoint(
            self.directory,
            self.key,
            self.key is not None,
            retention_policy=RetentionPolicy.KEEP_ALL,
            durable=False,
            payload_url=self.url,
        )

    def step(self):
        """Do something, and see that a state is as it was saved."""
        handle = self.random.choice(self.handles)
        name = self.random.choice(list(self.states)) if self.states else None
        what = self.random.choice(
            [self.save] * 6 + [self.forget, self.merge, self.compact, self.reopen]
        )
        what(handle, name)
        if self.states:
            name = self.random.choice(list(self.states))
            assert self.random.choice(self.handles).load(name) == self.states[name]

    def save(self, handle, name):
        state = dict(self.states[name]) if name and self.random.random() < 0.8 else {}
        for key in self.random.sample(KEYS, self.random.randint(1, 4)):
            state[key] = self.random.randbytes(self.random.choice([5, 3_000, 60_000, 400_000]))
        new = f"n{self.random.randint(0, 12)}"
        handle.save(state, new, force_full=self.random.random() < 0.2)
        self.states.pop(new, None)
        self.states[new] = state

    def forget(self, handle, name):
        if name is not None:
            handle.delete_checkpoint(name)
            del self.states[name]

    def merge(self, handle, name):
        if name is not None:
            handle.merge(name)

    def compact(self, handle, _name):
        handle.compact(min_dead=0.2)

    def reopen(self, handle, _name):
        handle.close()
        self.handles[self.handles.index(handle)] = self.open()


@pytest.mark.parametrize("seed", range(some(2, long=30)))
@pytest.mark.parametrize("is_sealed", [False, True], ids=["plain", "sealed"])
def test_what_is_saved_is_loaded_whatever_happens_between(tmp_path, url, is_sealed, seed):
    key = generate_encryption_key() if is_sealed else None
    history = History(tmp_path / "store", url, key, seed)
    for _ in range(30):
        history.step()
    one, other = history.handles
    assert {each: one.load(each) for each in history.states} == history.states
    assert one.check(read_data=True).problems == ()
    one.close()
    other.close()
    report = PipelineCheckpoint.rebuild(tmp_path / "new", key, payload_url=url)
    assert set(report.checkpoints) >= history.states.keys()
    with PipelineCheckpoint(tmp_path / "new", key, is_sealed) as again:
        assert {each: again.load(each) for each in history.states} == history.states
