"""How many statements each hot path runs, in how many transactions, and how often it waits for a
server."""

from __future__ import annotations

import pytest
from counting import RoundTrips, Statements, await_errands, expect

from checkpointdb import KeepNewest, PipelineCheckpoint, generate_encryption_key

LARGE = {f"key {number}": f"value {number} " * 2_000 for number in range(10)}


@pytest.fixture
def statements():
    counting = Statements()
    yield counting
    counting.stop()


@pytest.fixture
def round_trips():
    counting = RoundTrips()
    yield counting
    counting.stop()


def used(directory, **options):
    """One that has saved, loaded and forgotten already: connections are there, schemas known."""
    handle = PipelineCheckpoint(directory, retention_policy=KeepNewest(3), **options)
    for number in range(6):
        handle.save(changed(number), f"s{number}")
        handle.load(f"s{number}")
    await_errands(handle)
    return handle


def done(act, handle):
    """Do it, with what another thread does of it."""
    act(handle)
    await_errands(handle)


def changed(number):
    return {**LARGE, "key 3": f"changed {number} " * 2_000}


# Statements and transactions of SQLite, which are the same encrypted; round trips of a server.
PATHS = {
    "a save of one changed key, which forgets one": (
        lambda handle: handle.save(changed(7), "s7"),
        (19, 2),
        30,
    ),
    "a save of what did not change": (lambda handle: handle.save(changed(5), "s7"), (14, 1), 21),
    "a save that replaces": (lambda handle: handle.save(changed(7), "s5"), (19, 2), 30),
    "a save of ten changed keys": (
        lambda handle: handle.save({each: f"{each} " * 3_000 for each in LARGE}, "s7"),
        (37, 2),
        26,
    ),
    "a full": (lambda handle: handle.save(changed(5), "s7", force_full=True), (36, 1), 22),
    "a save with metadata": (
        lambda handle: handle.save(changed(5), "s7", custom_metadata={"a": 1, "b": {"c": "d"}}),
        (16, 1),
        22,
    ),
    "a save in the background": (
        lambda handle: handle.save(changed(7), "s7", wait=False).result(),
        (19, 2),
        30,
    ),
    "a load": (lambda handle: handle.load("s5"), (4, 1), 8),
    "a load of one key": (lambda handle: handle.load("s5", keys=["key 1"]), (4, 1), 7),
    "a load of the latest": (lambda handle: handle.load_latest(), (6, 1), 10),
    "a lazy state of which one key is read": (
        lambda handle: handle.lazy("s5")["key 1"],
        (6, 2),
        12,
    ),
    "a list of three": (lambda handle: handle.list_checkpoints(), (3, 1), 6),
    "the metadata of one": (lambda handle: handle.get_checkpoint_info("s5"), (4, 1), 7),
    "a deletion": (lambda handle: handle.delete_checkpoint("s4"), (11, 2), 17),
    "a pin": (lambda handle: handle.pin("s4"), (3, 1), 6),
    "a prune": (lambda handle: handle.prune(KeepNewest(1)), (25, 4), 37),
}


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("path", PATHS)
def test_a_path_runs_as_many_statements_as_it_did(tmp_path, statements, path, is_encrypted):
    key = {"encryption_key": generate_encryption_key(), "enable_encryption": True}
    act, expected, _ = PATHS[path]
    with used(tmp_path, **(key if is_encrypted else {})) as handle:
        found = statements.of(lambda: done(act, handle))
    expect(f"{path} (statements, transactions)", found, expected)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_waits_as_often_for_a_server_as_it_did(tmp_path, round_trips, emptied, path):
    act, _, expected = PATHS[path]
    with used(tmp_path, database_url=next(emptied())) as handle:
        found = round_trips.of(lambda: done(act, handle))
    expect(f"{path} (round trips)", found, expected)
