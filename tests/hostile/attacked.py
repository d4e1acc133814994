"""What the tests of hostile input share: a store to attack, all one can do with it, a verdict."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import numpy as np

from checkpointdb import CheckpointError, NotFoundError, PipelineCheckpoint, RetentionPolicy

STATE = {
    "array": np.random.default_rng(3).random(9_000),
    "text": "text " * 9_000,
    "n": 0,
    "list": list(range(30_000)),
}
IDS = ("one", "two", "three")
OPTIONS = {"durable": False, "busy_seconds": 2, "retention_policy": RetentionPolicy.KEEP_ALL}


def make_store(directory: Path) -> None:
    """A store with a full, an incremental, a fork, metadata, and a removal still in its table."""
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        handle.save(STATE, "one", custom_metadata={"k": 1, "s": "t", "d": {"e": 2}})
        handle.save({**STATE, "n": 1}, "two")
        handle.load("one")
        handle.save({**STATE, "n": 2, "more": 1}, "three")
        handle.save({"n": 3}, "four")
        handle.delete_checkpoint("four")
    with closing(sqlite3.connect(directory / "checkpoints.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copy_store(source: Path, target: Path) -> Path:
    """A fresh copy in the place of an old one."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    return target


def expected(checkpoint_id: str) -> dict[str, object]:
    """What `make_store` saved under an id."""
    return {
        "one": STATE,
        "two": {**STATE, "n": 1},
        "three": {**STATE, "n": 2, "more": 1},
    }[checkpoint_id]


def load_right(handle: PipelineCheckpoint, checkpoint_id: str) -> None:
    """Load a checkpoint, which must be what was saved if it can be loaded at all."""
    found = handle.load(checkpoint_id)
    assert list(found) == list(expected(checkpoint_id))
    for key, value in expected(checkpoint_id).items():
        np.testing.assert_array_equal(found[key], value)


def acts_on(handle: PipelineCheckpoint) -> Iterator[Callable[[], object]]:
    """All that one can do with a handle: first what reads, then what writes."""
    for each in IDS:
        yield partial(load_right, handle, each)
    yield lambda: handle.load("two", verify_hash=False)
    yield lambda: handle.load("two", keys=["n", "array"])
    yield lambda: dict(handle.lazy("two"))
    yield handle.load_latest
    yield handle.list_checkpoints
    yield lambda: handle.index().to_dict()
    yield lambda: handle.get_checkpoint_info("two")
    yield handle.get_statistics
    yield lambda: handle.history("n")
    yield lambda: handle.diff("one", "two")
    yield handle.pipelines
    yield lambda: handle.check(read_data=True)
    yield handle.sweep
    yield lambda: handle.pin("two")
    yield lambda: handle.unpin("two")
    yield lambda: handle.save({**STATE, "n": 5}, "new")
    yield lambda: handle.save({**STATE, "n": 6}, "upon", base="one")
    yield lambda: handle.save({**STATE, "n": 7}, "two")
    yield lambda: handle.save({**STATE, "n": 8}, "full", force_full=True)
    yield lambda: handle.compact(min_dead=1e-9)
    yield lambda: handle.merge("two")
    yield lambda: handle.repair(read_data=False)
    yield lambda: handle.delete_checkpoint("one")
    yield lambda: _save_with_retention(handle.checkpoint_dir)


def _save_with_retention(directory: Path) -> None:
    options = {**OPTIONS, "retention_policy": RetentionPolicy.KEEP_N_RECENT, "retention_count": 1}
    with PipelineCheckpoint(directory, **options) as handle:
        handle.save({"n": 1}, "last")


def assert_ours(act: Callable[[], object]) -> None:
    """Whatever the store holds now, an act works, or tells which file is at fault.

    Any other exception, and a wrong state, passes through and fails the test.
    """
    try:
        act()
    except NotFoundError:  # rows may say that there is no such checkpoint
        return
    except CheckpointError as error:
        told = str(error)
    else:
        return
    assert any(part in told for part in ("checkpoints.db", "payloads", ".ckpt.gz")), told
    assert len(told) < 2_000, told


def attack(directory: Path) -> None:
    """Do all there is to do with a store that is not as it was saved."""
    opened = []
    assert_ours(lambda: opened.append(PipelineCheckpoint(directory, **OPTIONS)))
    for handle in opened:
        with handle:
            for act in acts_on(handle):
                assert_ours(act)


def alter(directory: Path, *statements: str, values: tuple[object, ...] = ()) -> bool:
    """Run statements on a store's database behind its back; False where SQLite refuses."""
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(directory / "checkpoints.db")) as database,
        database,
    ):
        for statement in statements:
            database.execute(statement, values)
        return True
    return False
