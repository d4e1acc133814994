"""sweep: removes what a crash left, and never what somebody needs."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from breaking import DaysAhead, refuse_to_list

from checkpointdb import PipelineCheckpoint, StoreUnavailableError, SweepReport
from checkpointdb import sweep as sweep_module
from checkpointdb.database import Database
from checkpointdb.inventory import under_lock
from checkpointdb.local_payloads import LocalPayloads
from checkpointdb.sweep import sweep

LATER = datetime.now(UTC) + timedelta(days=2)


@pytest.fixture
def opened(archive):
    """A store's database and payloads, with two checkpoints in it."""
    archive.save({"n": 1}, "one")
    archive.save({"n": 2}, "two")
    database = Database(f"sqlite:///{archive.checkpoint_dir / 'checkpoints.db'}")
    yield database, LocalPayloads(archive.checkpoint_dir / "payloads", durable=False)
    database.close()


@pytest.fixture
def payload(archive, opened):
    return Path(archive.get_checkpoint_info("two").file_path)


def test_a_clean_store_keeps_every_file(archive, opened):
    assert sweep(*opened, now=LATER) == SweepReport((), 0, ())
    assert archive.load("one") == {"n": 1}


def test_an_orphan_is_removed_once_it_is_over_a_day_old(payload, opened):
    orphan = payload.with_name("0000000003-killed.ckpt.gz")
    shutil.copy(payload, orphan)
    assert sweep(*opened) == SweepReport((), 0, ())
    found = sweep(*opened, now=LATER)
    assert found.removed_files == ("p-default/0000000003-killed.ckpt.gz",)
    assert found.freed_bytes == payload.stat().st_size
    assert not orphan.exists()


def test_an_unfinished_file_is_removed_once_it_is_over_a_day_old(archive, opened):
    left = archive.checkpoint_dir / "payloads" / "incoming" / "left.tmp"
    left.write_bytes(b"half")
    assert sweep(*opened) == SweepReport((), 0, ())
    assert sweep(*opened, now=LATER) == SweepReport(("incoming/left.tmp",), 4, ())
    assert not left.exists()


def test_the_age_is_that_of_the_file(archive, opened):
    left = archive.checkpoint_dir / "payloads" / "incoming" / "left.tmp"
    left.write_bytes(b"half")
    old = time.time() - timedelta(days=3).total_seconds()
    os.utime(left, (old, old))
    assert archive.sweep().removed_files == ("incoming/left.tmp",)


def test_the_age_is_not_that_by_the_clock_of_the_machine_that_sweeps(archive, monkeypatch):
    archive.save({"n": 1}, "one")
    left = archive.checkpoint_dir / "payloads" / "incoming" / "left.tmp"
    left.write_bytes(b"being written")
    monkeypatch.setattr(sweep_module, "datetime", DaysAhead, raising=False)
    assert archive.sweep() == SweepReport((), 0, ())
    assert list(left.parent.iterdir()) == [left]
    left.unlink()


def test_a_sweep_that_cannot_learn_the_time_says_so_and_removes_nothing(
    archive, payload, monkeypatch
):
    orphan = payload.with_name("0000000001-killed.ckpt.gz")
    shutil.copy(payload, orphan)

    def fail(_descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", fail)
        with pytest.raises(StoreUnavailableError, match=r"payloads' cannot be read .*disk failed"):
            archive.sweep()
    orphan.unlink()  # it is there still


def test_removals_are_worked_off_whatever_their_age(archive, payload, opened, alter):
    late = payload.with_name("0000000009-late.ckpt.gz")
    shutil.copy(payload, late)
    for name in ("0000000009-late", "0000000010-gone"):
        statement = "INSERT INTO removals (name, created_at) VALUES (?, '2026-01-01 00:00:00.0')"
        alter(archive, statement, f"p-default/{name}.ckpt.gz")
    assert sweep(*opened).removed_files == ("p-default/0000000009-late.ckpt.gz",)
    assert not late.exists()
    assert alter(archive, "SELECT * FROM removals") == []


@pytest.mark.skipif(os.name == "nt", reason="directories are not made read-only there")
def test_a_file_that_cannot_be_removed_stays_noted_and_is_logged(
    archive, payload, opened, alter, caplog
):
    """A directory under the file's name cannot be unlinked, not even by root."""
    stuck = payload.with_name("0000000009-stuck.ckpt.gz")
    stuck.mkdir()
    statement = "INSERT INTO removals (name, created_at) VALUES (?, '2026-01-01 00:00:00.0')"
    alter(archive, statement, "p-default/0000000009-stuck.ckpt.gz")
    assert sweep(*opened).removed_files == ()
    assert "the next sweep will retry" in caplog.text
    assert len(alter(archive, "SELECT * FROM removals")) == 1
    stuck.rmdir()
    sweep(*opened)
    assert alter(archive, "SELECT * FROM removals") == []


@pytest.mark.damages
def test_a_missing_file_is_reported_and_its_row_left_alone(archive, payload, opened):
    kept = payload.read_bytes()
    payload.unlink()
    name = "p-default/0000000002-two.ckpt.gz"
    assert sweep(*opened, now=LATER) == SweepReport((), 0, (name,))
    payload.write_bytes(kept)
    assert archive.load("two") == {"n": 2}


def test_files_of_others_are_left_alone(archive, payload, opened):
    notes = [payload.with_name("notes.txt"), archive.checkpoint_dir / "payloads" / "notes.txt"]
    for note in notes:
        note.write_text("mine")
    assert sweep(*opened, now=LATER) == SweepReport((), 0, ())
    assert all(note.exists() for note in notes)


@pytest.mark.damages
def test_files_of_a_pipeline_that_the_database_does_not_know_are_left_for_a_rebuild(
    archive, payload, opened
):
    """What a rebuild that was killed leaves is an empty database beside all payloads."""
    lost = payload.parent.with_name("p-lost")
    shutil.copytree(payload.parent, lost)
    assert sweep(*opened, now=LATER) == SweepReport((), 0, ())
    assert len(list(lost.iterdir())) == 2
    assert {each.kind for each in archive.check().problems} == {"orphan"}


def test_a_store_opened_read_only_is_refused(archive, opened):
    path = archive.checkpoint_dir / "checkpoints.db"
    database = Database.open_read_only(path)
    try:
        with pytest.raises(StoreUnavailableError, match="read-only"):
            sweep(database, opened[1])
    finally:
        database.close()


@pytest.mark.damages
def test_a_file_whose_name_no_save_gives_is_left_alone_and_told(archive, opened, payload):
    """Such as a backup's, whose directory of payloads somebody gave to a store."""
    theirs = payload.with_name("0000000001-one-1a2b3c4d.0123456789abcdef.ckpt.gz")
    theirs.write_bytes(b"theirs")
    assert sweep(*opened, now=LATER) == SweepReport((), 0, ())
    [told] = archive.check().problems
    assert (told.kind, "no save made it" in told.detail) == ("orphan", True)


def left_by_an_import(archive):
    room = archive.checkpoint_dir / ".import-left"
    (room / "store").mkdir(parents=True)
    os.utime(room, (0, 0))
    return room


def test_a_sweep_says_that_it_may_not_list_the_store(archive, monkeypatch):
    left_by_an_import(archive)
    refuse_to_list(monkeypatch, lambda path: path == archive.checkpoint_dir)
    with pytest.raises(StoreUnavailableError, match=r"cannot be listed .*permission"):
        archive.sweep()


def test_what_a_sweep_cannot_remove_of_an_import_is_named_and_stays(archive, monkeypatch, caplog):
    room = left_by_an_import(archive)

    def failing(path, **_options):
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", failing)
        assert archive.sweep().removed_files == ()
    assert f"{room} could not be removed, the next sweep will retry" in caplog.text
    assert archive.sweep().removed_files == (room.name,)


def test_sweeps_without_grace_beside_running_saves_cost_no_acknowledged_checkpoint(tmp_path):
    """Payloads are safe without any grace; only files in `incoming/` need it."""
    stop = threading.Event()
    failures: list[Exception] = []

    class NoIncoming(LocalPayloads):
        def unfinished(self):
            return iter(())

    def sweep_on():
        database = Database(f"sqlite:///{tmp_path / 'checkpoints.db'}")
        try:
            payloads = NoIncoming(tmp_path / "payloads", durable=False)
            while not stop.is_set():
                sweep(database, payloads, grace=timedelta(days=-1))
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)
        finally:
            database.close()

    with PipelineCheckpoint(tmp_path, retention_count=3, durable=False) as handle:
        sweeper = threading.Thread(target=sweep_on)
        sweeper.start()
        try:
            for number in range(150):
                handle.save({"n": number, "list": list(range(2_000))}, f"c{number}")
                assert handle.load(f"c{number}")["n"] == number
        finally:
            stop.set()
            sweeper.join()
        assert failures == []
        assert handle.check(read_data=True).is_ok


def test_a_sweep_that_looked_before_a_commit_looks_again_after_it(archive, opened, monkeypatch):
    """What it takes for an orphan has its row by the time that it has the lock."""
    database, payloads = opened
    has_looked, removed = threading.Event(), []

    def wait_for_lock(of):
        has_looked.set()
        return under_lock(of)

    def look():
        later = datetime.now(UTC) + timedelta(hours=1)
        removed.extend(sweep_module._remove_orphans(database, payloads, lambda: later))

    class Watched(LocalPayloads):
        def give_name(self, writer, name):
            super().give_name(writer, name)
            thread.start()  # the file is there, its row not yet to be seen
            assert has_looked.wait(20)

    monkeypatch.setattr(sweep_module, "under_lock", wait_for_lock)
    thread = threading.Thread(target=look)
    root = archive.checkpoint_dir / "payloads"
    archive._engine.payloads = Watched(root, durable=False)
    archive.save({"a": 1}, "meanwhile")
    thread.join()
    assert removed == []
    assert archive.load("meanwhile") == {"a": 1}
