"""check: finds whatever should not be, names whom it concerns, and is silent on a sound store."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from checkpointdb import CorruptionError, PipelineCheckpoint, RetentionPolicy, invariants
from checkpointdb.check import check
from checkpointdb.reports import CheckReport, Problem
from checkpointdb.store.opening import open_directory
from checkpointdb.verifying import Scope

damages = pytest.mark.damages


@pytest.fixture
def rich(archive):
    """A store with one of everything: spread and placed values, a removed key, a fork, metadata."""
    state = {"big": np.arange(20_000), "text": "abc " * 30_000, "small": 1, "gone": None}
    archive.save(state, "one", custom_metadata={"run": {"host": "n17"}, "accuracy": 0.5})
    state["small"] = 2
    del state["gone"]
    archive.save(state, "two")
    state["big"][7] = -1
    archive.save(state, "three")
    archive.load("one")
    archive.save({**state, "more": 3}, "fork")
    return archive


def kinds(handle, **options):
    return {each.kind for each in handle.check(**options).problems}


def payload_of(handle, checkpoint_id):
    return Path(handle.get_checkpoint_info(checkpoint_id).file_path)


def test_a_sound_store_has_no_problems_and_the_report_counts(rich):
    report = rich.check(read_data=True)
    sizes = [path.stat().st_size for path in rich.checkpoint_dir.rglob("*.ckpt.gz")]
    assert report == CheckReport(4, 4, sum(sizes), (), read_payloads=4)
    assert report.is_ok


def test_without_read_data_no_byte_is_verified(rich):
    assert rich.check().verified_bytes == 0


def test_progress_is_told_for_each_payload_that_is_read(rich):
    told = []
    rich.check(read_data=True, progress=lambda *numbers: told.append(numbers))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@damages
def test_the_database_alone_is_checked_without_its_files(rich, alter):
    payload_of(rich, "one").unlink()
    assert rich.check_database() == CheckReport(4, 0, 0, ())
    alter(rich, "UPDATE checkpoints SET key_count = 9 WHERE checkpoint_id = 'two'")
    assert {each.kind for each in rich.check_database().problems} == {"state"}


def test_an_empty_store_is_sound(store):
    assert store().check(read_data=True) == CheckReport(0, 0, 0, ())


def test_what_retention_and_replacing_leave_is_sound(store):
    handle = store(retention_count=3)
    for number in range(12):
        handle.save({"n": number, "list": list(range(3_000 + number))}, f"c{number % 5}")
        assert handle.check(read_data=True).is_ok


def test_pipelines_are_checked_together(store):
    for pipeline in ("a", "A", "é"):
        store(pipeline=pipeline).save({"same": list(range(5_000))}, "same")
    assert store().check(read_data=True).checkpoints == 3


# --- rows against rows

BROKEN_ROWS = {
    "an entry that covers no checkpoint": (
        "INSERT INTO entries"
        " SELECT chain_id, 'dead', 9, 10, value_id, 0, payload_id FROM entries LIMIT 1",
        "dead",
    ),
    "a value without an entry": (
        "INSERT INTO state_values (pipeline_id, digest, type_name, serializer, layout, raw_bytes,"
        " payload_id, member_id, offset) SELECT pipeline_id, x'00', 'int', 'pickle5', '0', 0,"
        " payload_id, member_id, 0 FROM state_values WHERE member_id IS NOT NULL LIMIT 1",
        "dead",
    ),
    "a chunk without a value": (
        "INSERT INTO chunks (pipeline_id, digest, member_id, offset, raw_bytes)"
        " SELECT pipeline_id, x'00', member_id, 0, 0 FROM chunks LIMIT 1",
        "dead",
    ),
    "a member without a chunk": (
        "INSERT INTO members (payload_id, offset, stored_bytes, raw_bytes, sha256)"
        " SELECT payload_id, 0, 0, 0, x'00' FROM members LIMIT 1",
        "dead",
    ),
    "a payload without a user": (
        "INSERT INTO payloads (pipeline_id, name, sha256, stored_bytes, raw_bytes, created_at)"
        " SELECT pipeline_id, 'p-default/0000000000-x.ckpt.gz', x'00', 0, 0, created_at"
        " FROM payloads LIMIT 1",
        "dead",
    ),
    "a chain without a checkpoint": (
        "INSERT INTO chains (uuid, pipeline_id, next_depth) VALUES ('unused', 1, 0)",
        "dead",
    ),
    "an entry that runs into the next": (
        "UPDATE entries SET to_depth = NULL WHERE key = 'small' AND to_depth IS NOT NULL",
        "overlap",
    ),
    "an entry that ends before it begins": (
        "UPDATE entries SET to_depth = from_depth WHERE key = 'small'",
        "overlap",
    ),
    "a chain that would use a depth again": ("UPDATE chains SET next_depth = 0", "depth"),
    "a full within a chain": ("UPDATE checkpoints SET is_incremental = 0", "full"),
    "a value outside its member": (
        "UPDATE state_values SET offset = 1000000000 WHERE member_id IS NOT NULL",
        "place",
    ),
    "a value without a chunk": (
        "DELETE FROM value_chunks WHERE value_id = (SELECT max(value_id) FROM value_chunks)",
        "place",
    ),
    "a value that lacks its first chunk": ("DELETE FROM value_chunks WHERE seq = 0", "place"),
    "a value with a hole in its chunks": (
        "UPDATE value_chunks SET seq = 1000000 WHERE seq = 1",
        "place",
    ),
    "chunks of another length": ("UPDATE chunks SET raw_bytes = raw_bytes - 1", "place"),
    "chunks that overlap": ("UPDATE chunks SET offset = 0", "place"),
    "members that overlap": ("UPDATE members SET stored_bytes = stored_bytes + 1000000", "place"),
    "a removal of a living payload": (
        "INSERT INTO removals (name, created_at) SELECT name, created_at FROM payloads LIMIT 1",
        "removal",
    ),
    "a state with a key too few": ("DELETE FROM entries WHERE key = 'text'", "state"),
    "a state of another size": ("UPDATE checkpoints SET state_bytes = state_bytes + 1", "state"),
    "a state of another digest": ("UPDATE checkpoints SET state_digest = zeroblob(32)", "state"),
    "keys in another order": ("UPDATE entries SET position = -position", "state"),
    "metadata without its rows": (
        "DELETE FROM checkpoint_metadata WHERE key = 'accuracy'",
        "metadata",
    ),
    "rows of other metadata": ("UPDATE checkpoint_metadata SET number = 1", "metadata"),
    "a sequence used again": ("UPDATE pipelines SET next_sequence = 3", "sequence"),
    "a name that is none": ("UPDATE payloads SET name = 'x/y' WHERE id = 1", "sequence"),
    "a reference to nothing": ("UPDATE entries SET value_id = 9999 WHERE key = 'text'", "database"),
    "chunks of another pipeline": ("UPDATE chunks SET pipeline_id = 2", "pipeline"),
    "values of another pipeline": ("UPDATE state_values SET pipeline_id = 2", "pipeline"),
    "checkpoints of another pipeline": ("UPDATE checkpoints SET pipeline_id = 2", "pipeline"),
}


@damages
@pytest.mark.parametrize("broken", BROKEN_ROWS)
def test_broken_rows_are_found(rich, alter, broken):
    statement, kind = BROKEN_ROWS[broken]
    alter(rich, "INSERT INTO pipelines (name, next_sequence) VALUES ('other', 1)")
    assert rich.check().is_ok
    alter(rich, statement)
    assert kind in kinds(rich)


@damages
def test_every_invariant_is_broken_by_one_of_the_cases(rich, alter):
    """A rule that no case breaks might never answer."""
    rich.close()
    path = rich.checkpoint_dir / "checkpoints.db"
    saved = path.read_bytes()
    silent = {each.detail for each in invariants.INVARIANTS}
    for statement, _ in BROKEN_ROWS.values():
        for leftover in rich.checkpoint_dir.glob("checkpoints.db-*"):
            leftover.unlink()
        path.write_bytes(saved)
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("INSERT INTO pipelines (name, next_sequence) VALUES ('other', 1)")
            database.execute(statement)
        with PipelineCheckpoint(rich.checkpoint_dir) as handle:
            silent -= {each.detail for each in handle.check().problems}
    assert silent == set()


@damages
def test_a_state_that_is_not_what_was_saved_names_its_checkpoint(rich, alter):
    alter(rich, "UPDATE checkpoints SET key_count = 9 WHERE checkpoint_id = 'two'")
    [problem] = rich.check().problems
    assert problem.kind == "state"
    assert problem.checkpoint_ids == ("two",)


@damages
def test_a_database_that_sqlite_cannot_read_is_a_problem_and_not_an_error(rich):
    rich.close()
    path = rich.checkpoint_dir / "checkpoints.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw = bytearray(path.read_bytes())
    for page in range(8, len(raw) // 4096):
        raw[page * 4096 : page * 4096 + 200] = os.urandom(200)
    path.write_bytes(raw)
    assert "database" in kinds(rich)


# --- rows against files


@damages
def test_a_missing_file_names_the_checkpoints_that_need_it(rich):
    payload_of(rich, "two").unlink()
    for options in ({}, {"read_data": True}, {}):  # marked from the second on, and told once
        [problem] = rich.check(**options).problems
        assert problem.kind == "missing"
        assert problem.checkpoint_ids == ("two", "three", "fork")


@damages
def test_a_file_that_everybody_shares_concerns_everybody(rich):
    payload_of(rich, "one").unlink()
    [problem] = rich.check().problems
    assert problem.checkpoint_ids == ("one", "two", "three", "fork")


@damages
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_length_is_found_without_reading_it(rich, change):
    path = payload_of(rich, "three")
    os.truncate(path, path.stat().st_size + change)
    [problem] = rich.check().problems
    assert problem.kind == "length"
    assert "three" in problem.checkpoint_ids


@damages
def test_what_was_found_damaged_is_told_until_it_is_repaired(rich):
    path = payload_of(rich, "one")
    content = path.read_bytes()
    path.write_bytes(b"damage" + content[6:])
    with pytest.raises(CorruptionError):
        rich.load("one")
    [problem] = rich.check().problems
    assert (problem.kind, problem.subject) == ("damaged", f"{path.parent.name}/{path.name}")
    assert problem.checkpoint_ids == ("one", "two", "three", "fork")
    assert "found damaged on" in problem.detail
    [again] = rich.check(read_data=True).problems
    assert "not what was saved" in again.detail
    rich.save({"alone": 1}, "alone", force_full=True)
    assert [rich.details(each).is_damaged for each in ("one", "fork", "alone")] == [
        True,
        True,
        False,
    ]
    path.write_bytes(content)
    [problem] = rich.check(read_data=True).problems
    assert "puts it back if it is whole" in problem.detail
    assert rich.repair(read_data=False).restored == (problem.subject,)
    assert not rich.details("one").is_damaged
    assert rich.check().is_ok


@damages
def test_a_flipped_bit_concerns_those_that_read_its_member(archive):
    noise = np.random.default_rng(2).bytes
    archive.save({"one": noise(1_500_000)}, "one")
    archive.save({"two": noise(1_500_000)}, "two", force_full=True)
    archive.save({"two": 1, "both": noise(9)}, "three", base="one")
    path = payload_of(archive, "two")
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 4
    path.write_bytes(raw)
    assert archive.check().is_ok
    problems = archive.check(read_data=True).problems
    assert [(each.kind, each.checkpoint_ids) for each in problems] == [("damaged", ("two",))]


@damages
def test_a_damaged_manifest_is_found(rich):
    path = payload_of(rich, "three")
    raw = bytearray(path.read_bytes())
    raw[-90] ^= 1
    path.write_bytes(raw)
    assert kinds(rich, read_data=True) == {"damaged", "manifest"}


@damages
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE checkpoints SET checkpoint_id = 'renamed' WHERE checkpoint_id = 'two'",
        "UPDATE checkpoints SET created_at = '2020-01-01 00:00:00.000000' WHERE id = 2",
        "UPDATE entries SET position = position + 1 WHERE key = 'more'",
        "UPDATE state_values SET type_name = 'str' WHERE type_name = 'int'",
        "UPDATE state_values SET layout = layout || ',0' WHERE id = 1",
        "UPDATE chunks SET digest = zeroblob(32) WHERE id = 1",
        "UPDATE chains SET forked_from = 3 WHERE forked_from IS NOT NULL",
        "UPDATE checkpoints SET custom_metadata = '{\"list\": [1]}' WHERE checkpoint_id = 'two'",
    ],
)
def test_rows_that_say_something_else_than_the_manifest_are_found(rich, alter, statement):
    alter(rich, statement)
    assert kinds(rich) == set()
    assert kinds(rich, read_data=True) == {"manifest"}


@damages
def test_a_payload_that_is_not_the_one_that_was_saved_is_found_by_its_hash(rich, alter):
    alter(rich, "UPDATE payloads SET sha256 = zeroblob(32) WHERE id = 1")
    assert kinds(rich) == set()
    assert kinds(rich, read_data=True) == {"damaged"}


# --- files against rows


@damages
def test_a_file_without_a_row_is_an_orphan(rich):
    path = payload_of(rich, "two")
    copy = path.with_name("0000000099-killed.ckpt.gz")
    copy.write_bytes(path.read_bytes())
    [problem] = rich.check(read_data=True).problems
    assert (problem.kind, problem.subject) == ("orphan", "p-default/0000000099-killed.ckpt.gz")


def test_a_file_that_is_noted_to_be_removed_is_no_orphan(rich, alter):
    path = payload_of(rich, "two")
    path.with_name("0000000099-late.ckpt.gz").write_bytes(path.read_bytes())
    alter(
        rich,
        "INSERT INTO removals (name, created_at)"
        " VALUES ('p-default/0000000099-late.ckpt.gz', '2026-01-01 00:00:00.000000')",
    )
    assert rich.check().is_ok
    rich.sweep()


@damages
def test_an_unfinished_file_is_reported_unless_a_save_may_still_be_writing_it(rich):
    path = rich.checkpoint_dir / "payloads" / "incoming" / "left.tmp"
    path.write_bytes(b"half")
    [problem] = rich.check().problems
    assert (problem.kind, problem.subject) == ("unfinished", "incoming/left.tmp")
    opened = open_directory(rich.checkpoint_dir, durable=False, busy_seconds=9, upgrade=False)
    try:
        patient = check(opened.database, opened.payloads, grace=timedelta(hours=1))
    finally:
        opened.database.close()
    assert patient.is_ok


def test_progress_is_told_payload_by_payload(rich):
    told = []
    opened = open_directory(rich.checkpoint_dir, durable=False, busy_seconds=9, upgrade=False)
    try:
        check(
            opened.database,
            opened.payloads,
            read_data=Scope(),
            progress=lambda done, total: told.append((done, total)),
        )
    finally:
        opened.database.close()
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_check_beside_running_writers_reports_nothing(tmp_path):
    stop = threading.Event()
    failures: list[Exception] = []
    problems: list[Problem] = []

    def write(name):
        try:
            with PipelineCheckpoint(tmp_path, retention_count=2, durable=False) as handle:
                for number in range(10_000):
                    if stop.is_set():
                        return
                    handle.save({name: number, "list": [name] * 5_000}, f"{name}{number % 4}")
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    with PipelineCheckpoint(tmp_path, retention_policy=RetentionPolicy.KEEP_ALL) as handle:
        for thread in threads:
            thread.start()
        opened = open_directory(tmp_path, durable=False, busy_seconds=60, upgrade=False)
        try:
            for _ in range(25):
                grace = timedelta(minutes=1)
                report = check(opened.database, opened.payloads, read_data=Scope(), grace=grace)
                problems += report.problems
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            opened.database.close()
        assert failures == []
        assert problems == []
        assert handle.check(read_data=True).is_ok
