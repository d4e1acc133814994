"""How many statements each hot path runs, and in how many transactions."""

from __future__ import annotations

import pytest
from counting import Statements, expect

from checkpointdb import KeepNewest, PipelineCheckpoint

LARGE = {f"key {number}": f"value {number} " * 2_000 for number in range(10)}


@pytest.fixture
def statements():
    counting = Statements()
    yield counting
    counting.stop()


@pytest.fixture
def handle(tmp_path, statements):
    """One that has saved, loaded and forgotten already: connections are there, schemas known."""
    with PipelineCheckpoint(tmp_path, retention_policy=KeepNewest(3)) as handle:
        for number in range(6):
            handle.save(changed(number), f"s{number}")
            handle.load(f"s{number}")
        yield handle


def changed(number):
    return {**LARGE, "key 3": f"changed {number} " * 2_000}


PATHS = {
    "a save of one changed key, which forgets one": (
        lambda handle: handle.save(changed(7), "s7"),
        (19, 2),
    ),
    "a save of what did not change": (lambda handle: handle.save(changed(5), "s7"), (14, 1)),
    "a save that replaces": (lambda handle: handle.save(changed(7), "s5"), (19, 2)),
    "a save of ten changed keys": (
        lambda handle: handle.save({each: f"{each} " * 3_000 for each in LARGE}, "s7"),
        (37, 2),
    ),
    "a full": (lambda handle: handle.save(changed(5), "s7", force_full=True), (36, 1)),
    "a save with metadata": (
        lambda handle: handle.save(changed(5), "s7", custom_metadata={"a": 1, "b": {"c": "d"}}),
        (16, 1),
    ),
    "a save in the background": (
        lambda handle: handle.save(changed(7), "s7", wait=False).result(),
        (19, 2),
    ),
    "a load": (lambda handle: handle.load("s5"), (4, 1)),
    "a load of one key": (lambda handle: handle.load("s5", keys=["key 1"]), (4, 1)),
    "a load of the latest": (lambda handle: handle.load_latest(), (6, 1)),
    "a lazy state of which one key is read": (lambda handle: handle.lazy("s5")["key 1"], (6, 2)),
    "a list of three": (lambda handle: handle.list_checkpoints(), (3, 1)),
    "the metadata of one": (lambda handle: handle.get_checkpoint_info("s5"), (4, 1)),
    "a deletion": (lambda handle: handle.delete_checkpoint("s4"), (11, 2)),
    "a pin": (lambda handle: handle.pin("s4"), (3, 1)),
    "a prune": (lambda handle: handle.prune(KeepNewest(1)), (25, 4)),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_runs_as_many_statements_as_it_did(handle, statements, path):
    act, expected = PATHS[path]
    expect(f"{path} (statements, transactions)", statements.of(lambda: act(handle)), expected)
