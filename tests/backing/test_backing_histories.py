"""Random histories of a store and its backup: every snapshot brings back what was pushed."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta

import pytest
from breaking import KEEP_ALL
from effort import some

from checkpointdb import (
    KeepNewest,
    PipelineCheckpoint,
    generate_encryption_key,
)
from checkpointdb.backup import retaining

STEPS = 40


class CutOffError(Exception):
    """What a push is cut off by."""


class History:
    """A store, its backup, and what each snapshot must bring back, with which key."""

    def __init__(self, seed, directory, *, is_sealed):
        self.random = random.Random(seed)
        self.directory = directory
        self.nas = directory / "nas"
        self.key = generate_encryption_key() if is_sealed else None
        self.state, self.states, self.pushed = {"same": [0] * 200}, {}, {}
        self.number = 0
        self.handle = self.opened(directory / "store", self.key)

    def opened(self, directory, key):
        sealed = {"encryption_key": key, "enable_encryption": True} if key else {}
        return PipelineCheckpoint(directory, durable=False, **sealed, **KEEP_ALL)

    def save(self):
        self._save(f"c{self.number}")

    def replace(self):
        if self.states:
            self._save(self.random.choice(list(self.states)))

    def _save(self, name):
        size = self.random.choice([10, 5_000, 60_000])
        self.state[f"k{self.random.randrange(6)}"] = self.random.randbytes(size)
        self.handle.save(self.state, name, force_full=self.random.random() < 0.2)
        self.states[name] = dict(self.state)

    def forget(self):
        if self.states:
            name = self.random.choice(list(self.states))
            self.handle.delete_checkpoint(name)
            del self.states[name]

    def rewrite(self):
        if self.states:
            self.handle.merge(self.random.choice(list(self.states)))
        self.handle.compact(min_dead=0.1)

    def rotate(self):
        if self.key:
            new = generate_encryption_key()
            self.handle.rotate_key(new, reencrypt=self.random.random() < 0.6)
            self.key = new

    def push(self, progress=None):
        report = self.handle.push_backup(self.nas, progress=progress)
        assert report.is_ok
        self.pushed[report.snapshot] = dict(self.states), self.key

    def cut(self):
        left = [None] * self.random.randrange(8)

        def moved(*_):
            if not left:
                raise CutOffError
            left.pop()

        with suppress(CutOffError):
            self.push(moved)

    def prune(self):
        if self.pushed:
            policy = KeepNewest(self.random.randrange(1, 4))
            report = self.handle.prune_backup(policy, remote=self.nas)
            gone = {each.name for each in report.snapshots if not each.is_kept}
            self.pushed = {name: it for name, it in self.pushed.items() if name not in gone}

    def pull(self):
        if self.pushed:
            name = self.random.choice(list(self.pushed))
            states, key = self.pushed[name]
            ids = None
            if states and self.random.random() < 0.4:
                ids = self.random.sample(list(states), min(2, len(states)))
            self._pulled(name, key, {each: states[each] for each in ids or states}, ids).close()

    def move(self):
        """Go on with what was pulled, as on another machine."""
        found = self.handle.list_backups(self.nas) if self.pushed else []
        for name in (each.name for each in found if each.is_latest):
            self.states, self.key = dict(self.pushed[name][0]), self.pushed[name][1]
            self.handle.close()
            self.handle = self._pulled(name, self.key, self.states, None)

    def _pulled(self, name, key, states, ids):
        directory = self.directory / f"pulled {self.number}"
        PipelineCheckpoint.pull_backup(self.nas, directory, snapshot=name, checkpoint_ids=ids)
        handle = self.opened(directory, key)
        assert handle.check(read_data=True).problems == ()
        listed = [each.checkpoint_id for each in handle.list_checkpoints()]
        assert {each: handle.load(each) for each in listed} == states
        return handle

    def step(self):
        self.number += 1
        acts = {
            "save": 8, "replace": 3, "forget": 4, "rewrite": 1, "rotate": 0.5,
            "push": 4, "cut": 2, "prune": 1.5, "pull": 3, "move": 0.5,
        }  # fmt: skip
        [name] = self.random.choices(list(acts), list(acts.values()))
        getattr(self, name)()


@pytest.mark.parametrize("is_sealed", [False, True], ids=["plain", "sealed"])
@pytest.mark.parametrize("seed", range(some(2, long=40)))
def test_every_snapshot_brings_back_what_was_pushed(tmp_path, monkeypatch, seed, is_sealed):
    monkeypatch.setattr(retaining, "GRACE", timedelta(0))
    history = History(seed, tmp_path, is_sealed=is_sealed)
    for _ in range(STEPS):
        history.step()
    history.push()
    assert history.handle.check(read_data=True).problems == ()
    assert history.handle.verify_backup(history.nas, read_data=True).is_ok
    history.handle.close()
