"""What costs as much in a store of many checkpoints as in one of few.

Counted in the steps of SQLite's machine: a plan that is named a search may still look at each row
of a pipeline. (The depth of its trees is not in them: that grows with the logarithm.)
"""

from __future__ import annotations

import pytest
from counting import Steps

from checkpointdb import KeepNewest, PipelineCheckpoint

LARGE = {f"key {number}": f"value {number} " * 2_000 for number in range(5)}
FEW, MANY = 30, 430
SLACK = 100  # chains and leftovers differ; a single step for each checkpoint more would be 400


class Store:
    """Several handles on one store: a pipeline that keeps all, one that keeps ten, and others."""

    def __init__(self, folder):
        self._folder, self._saved, self._named = folder, 0, 0
        self.all = self.open("all")
        self.ten = self.open("ten", KeepNewest(10))
        self._other = self.open("other")

    def open(self, pipeline, policy="keep_all"):
        return PipelineCheckpoint(
            self._folder, pipeline=pipeline, retention_policy=policy, durable=False
        )

    def grow(self, count):
        for number in range(self._saved, count):
            for handle in (self.all, self._other):
                handle.save(whole(number), f"s{number}")
        self._saved = count

    def name(self):
        self._named += 1
        return f"n{self._named}"

    def close(self):
        for handle in (self.all, self.ten, self._other):
            handle.close()


def whole(number):
    return {"a": number, "b": f"{number} " * 300}


def changed(number):
    return {**LARGE, "key 3": f"changed {number} " * 2_000}


def save_first(handle, name):
    with handle:
        handle.save(changed(0), name)


PATHS = {
    "a full": lambda store: store.all.save(whole(store.name()), store.name()),
    "a save after which all is new": lambda store: store.all.save(changed(0), store.name()),
    "a save of one changed key": lambda store: store.all.save(changed(store.name()), store.name()),
    "a save of what did not change": lambda store: store.all.save(changed(0), store.name()),
    "a save that replaces": lambda store: store.all.save(changed(store.name()), "s20"),
    "a save upon an older one": lambda store: store.all.save(LARGE, store.name(), base="s5"),
    "a save that forgets one": lambda store: store.ten.save(changed(store.name()), store.name()),
    "the first save of another handle": lambda store: save_first(store.open("all"), store.name()),
    "a load": lambda store: store.all.load("s5"),
    "a load of the latest": lambda store: store.all.load_latest(),
    "a list of three": lambda store: store.all.list_checkpoints(limit=3),
    "the metadata of one": lambda store: store.all.get_checkpoint_info("s5"),
    "a pin": lambda store: store.all.pin("s6"),
}


@pytest.fixture(scope="module")
def steps():
    counting = Steps()
    yield counting
    counting.stop()


@pytest.fixture(scope="module")
def counts(tmp_path_factory, steps):
    """The steps that each path takes among few checkpoints, and among many."""
    store = Store(tmp_path_factory.mktemp("growing"))
    found = {path: [] for path in PATHS}
    for number in range(12):
        store.ten.save(changed(number), f"t{number}")
    for size in (FEW, MANY):
        store.grow(size)
        for path, act in PATHS.items():
            act(store)  # once before: the second finds what it builds on in the same place
            found[path].append(steps.of(lambda act=act: act(store)))
    store.close()
    return found


@pytest.mark.parametrize("path", PATHS)
def test_a_path_takes_no_more_steps_among_many_checkpoints(counts, path):
    among_few, among_many = counts[path]
    assert among_many <= among_few + SLACK, (
        f"{path} takes {among_few} steps of SQLite among {FEW} checkpoints and {among_many} among "
        f"{MANY}: some statement of it looks at all of them; ask for its EXPLAIN QUERY PLAN"
    )
