"""Payload stores that fail on command: what was acknowledged stays, what was freed goes later."""

from __future__ import annotations

import errno
import os
import random
import threading
import time

import pytest

from checkpointdb import PipelineCheckpoint, StoreUnavailableError
from checkpointdb.errors import CheckpointError
from checkpointdb.local_payloads import LocalPayloads, LocalWriter
from checkpointdb.store.saved import Saved


class Failing:
    """A payload store of which one method fails."""

    def __init__(self, payloads, method):
        self._payloads = payloads
        self._method = method

    def __getattr__(self, name):
        return self._fail if name == self._method else getattr(self._payloads, name)

    def _fail(self, *_arguments):
        raise StoreUnavailableError("the disk is gone")


class Keeping(Failing):
    """One whose files cannot be deleted."""

    def _fail(self, names):
        return {name: OSError("busy") for name in names}


def files_of(handle):
    return sorted(path.name for path in handle.checkpoint_dir.rglob("*.ckpt.gz"))


@pytest.mark.parametrize("step", ["give_name", "flush_name"])
def test_a_save_that_fails_at_its_very_end_leaves_no_file_and_has_unlinked_nothing(store, step):
    handle = store(retention_count=2)
    states = {str(number): {"a": number, "b": "x" * 2000} for number in range(3)}
    for each, state in states.items():
        handle.save(state, each)
    before = files_of(handle)
    handle._engine.payloads = Failing(handle._engine.payloads, step)
    for each in ("1", "new"):  # one that replaces another, and one that retention makes room for
        with pytest.raises(CheckpointError):
            handle.save({"a": "another", "b": "y" * 2000}, each)
    assert files_of(handle) == before
    assert [handle.load(each) for each in ("1", "2")] == [states["1"], states["2"]]


def test_a_save_that_fails_while_its_file_is_flushed_closes_it_thereafter(store, monkeypatch):
    """A number that is closed under a flush may be another's file by then."""
    handle = store(durable=True)
    handle.save({"a": 1}, "before")
    flush, seen = LocalWriter.finish, []
    has_begun, failed = threading.Event(), threading.Event()

    def slowly(writer):
        has_begun.set()
        assert failed.wait(20)
        time.sleep(0.1)  # in which a discard would close it
        seen.append(writer._file.closed)
        flush(writer)

    def fail(*_arguments, **_options):
        assert has_begun.wait(20)
        failed.set()
        raise StoreUnavailableError("the database is gone")

    with monkeypatch.context() as patched:
        patched.setattr(LocalWriter, "finish", slowly)
        patched.setattr(Saved, "insert", fail)
        with pytest.raises(StoreUnavailableError, match="the database is gone"):
            handle.save({"a": 2}, "lost")
    handle.close()
    assert seen == [False]


def test_a_save_whose_file_cannot_be_flushed_is_not_acknowledged(store, monkeypatch):
    """The flush of a small file is another thread's."""
    handle = store(durable=True)
    handle.save({"a": 1}, "before")

    def fail(_writer):
        raise StoreUnavailableError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(LocalWriter, "finish", fail)
        with pytest.raises(StoreUnavailableError, match="the disk is gone"):
            handle.save({"a": 2}, "lost")
    handle.save({"a": 3}, "after")
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["after", "before"]


def test_what_could_not_be_unlinked_is_noted_and_goes_when_the_store_is_opened_again(store):
    handle = store(retention_count=1)
    handle.save({"a": 1}, "first", force_full=True)
    [kept] = files_of(handle)
    handle._engine._trash._payloads = Keeping(handle._engine.payloads, "delete_all")
    handle.save({"a": 2}, "second", force_full=True)
    assert kept in files_of(handle)
    store().close()
    assert kept not in files_of(handle)


def test_what_could_not_be_unlinked_stays_noted_when_what_is_spent_is_cleared(store):
    handle = store(retention_count=1)
    handle.save({"a": 1}, "first", force_full=True)
    [kept] = files_of(handle)
    trash = handle._engine._trash
    trash._payloads = Keeping(handle._engine.payloads, "delete_all")
    handle.save({"a": 2}, "second", force_full=True)
    handle._engine.pool.close()  # a thread of it tried
    with handle._engine.database.write() as connection:
        trash.clear_spent(connection, at_least=1)
    store().close()
    assert kept not in files_of(handle)


def test_a_large_save_of_which_an_early_flush_fails_is_not_acknowledged(store, monkeypatch):
    """The kernel tells of it once: the flush at the end succeeds, and the bytes are lost."""
    handle = store(durable=True)
    handle.save({"a": 1}, "before")
    failures = [OSError(errno.EIO, "the disk failed")]
    flush = os.fdatasync

    def fail_once(descriptor):
        if failures:
            raise failures.pop()
        flush(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail_once)
        with pytest.raises(StoreUnavailableError, match="the disk failed"):
            handle.save({"a": random.Random(1).randbytes(9 << 20)}, "lost")
    assert failures == []
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["before"]
    handle._engine.pool.close()
    assert len(files_of(handle)) == 1


def test_a_push_that_cannot_read_a_payload_now_does_not_leave_it_out(store, monkeypatch, tmp_path):
    handle = store()
    handle.save({"a": 1}, "a")

    def refuse(*_arguments):
        raise OSError(errno.ESTALE, "stale file handle")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", refuse)
        with pytest.raises(StoreUnavailableError, match="no damage"):
            handle.push_backup(tmp_path / "remote")
    assert handle.push_backup(tmp_path / "remote").checkpoints == 1
    assert handle.check(read_data=True).is_ok


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE])
def test_a_rebuild_beside_a_file_that_cannot_be_read_now_does_not_go_on_without_it(
    store, monkeypatch, number
):
    """What it left out, a sweep would take for an orphan."""
    handle = store()
    for each in "ab":
        handle.save({"a": each}, each, force_full=True)
    handle.close()
    for path in handle.checkpoint_dir.glob("checkpoints.db*"):
        path.unlink()
    opened = LocalPayloads.open

    def refuse_one(payloads, name):
        if "-b" in name:
            raise OSError(number, "refused")
        return opened(payloads, name)

    with monkeypatch.context() as patched:
        patched.setattr(LocalPayloads, "open", refuse_one)
        with pytest.raises(StoreUnavailableError, match="no damage"):
            PipelineCheckpoint.rebuild(handle.checkpoint_dir)
    assert PipelineCheckpoint.rebuild(handle.checkpoint_dir).unreadable == ()
    assert [store().load(each) for each in "ab"] == [{"a": "a"}, {"a": "b"}]
