"""Backups by themselves: now and then, at the end, and never in the way of a save."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from breaking import KEEP_ALL, needs_linux

from checkpointdb import (
    CloudBackupConfig,
    CorruptionError,
    InvalidInputError,
    KeepAll,
    KeepBest,
    KeepNewest,
    PipelineCheckpoint,
)
from checkpointdb.store import syncing

pytestmark = pytest.mark.databases

_PATIENCE_SECONDS = 120


def synced(nas, interval=3_600, **options):
    given = {"url": nas.as_uri(), "auto_sync": True, "sync_interval_seconds": interval, **options}
    return {"cloud_backup_config": CloudBackupConfig(True, **given)}


def wait_until(is_so):
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def snapshots_at(nas):
    return sorted(nas.glob("snapshots/*.db.gz"))


def ids_at(nas, tmp_path):
    directory = tmp_path / f"pulled {len(list(tmp_path.iterdir()))}"
    PipelineCheckpoint.pull_backup(nas, directory)
    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        return [each.checkpoint_id for each in handle.list_checkpoints(reverse=False)]


def test_what_was_saved_is_pushed_when_the_handle_closes(store, nas, tmp_path):
    with store(**synced(nas)) as handle:
        handle.save({"n": 1}, "a")
        assert not nas.exists()
    assert ids_at(nas, tmp_path) == ["a"]


def test_it_is_pushed_at_every_interval_if_something_is_new(store, nas):
    handle = store(**synced(nas, interval=0.1))
    handle.save({"n": 1}, "a")
    wait_until(lambda: snapshots_at(nas))
    first = handle.get_statistics()
    wait_until(lambda: handle.get_statistics()["not_backed_up_checkpoints"] == 0)
    assert first["last_backup_error"] is None
    count = len(snapshots_at(nas))
    time.sleep(0.5)
    assert len(snapshots_at(nas)) == count
    handle.pin("a")  # that is new, too
    wait_until(lambda: len(snapshots_at(nas)) == count + 1)


def test_pins_that_come_as_others_go_are_new(store, nas, tmp_path):
    """The third for the first and the second: the sums of their rows are the same."""
    with store(**synced(nas), **KEEP_ALL) as handle:
        for name in ("a", "b", "c"):
            handle.save({"n": name}, name, pinned=name != "c")
    with store(**synced(nas), **KEEP_ALL) as handle:
        handle.unpin("a")
        handle.unpin("b")
        handle.pin("c")
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        assert [each.checkpoint_id for each in back.list_checkpoints() if each.pinned] == ["c"]


def test_a_payload_that_came_back_is_new(store, nas, tmp_path):
    """A push could not read it, and left out what needs it."""
    with store(**synced(nas), **KEEP_ALL) as handle:
        handle.save({"n": 1}, "a")
        payload = Path(handle.get_checkpoint_info("a").file_path)
        payload.rename(tmp_path / "elsewhere")
        with pytest.raises(CorruptionError):
            handle.load("a")
    with store(**synced(nas), **KEEP_ALL) as handle:
        assert handle.get_statistics()["not_backed_up_checkpoints"] == 1
        (tmp_path / "elsewhere").rename(payload)
        assert handle.repair().restored
    assert ids_at(nas, tmp_path) == ["a"]


def test_of_two_handles_of_a_store_only_one_pushes_what_is_new(store, nas):
    first, second = store(**synced(nas)), store(**synced(nas), pipeline="other")
    first.save({"n": 1}, "a")
    second.save({"n": 1}, "a")
    first.close()
    second.close()
    assert len(snapshots_at(nas)) == 1


def test_a_remote_that_fails_is_retried_and_told_and_no_save_notices(
    store, nas, monkeypatch, caplog
):
    monkeypatch.setattr(syncing, "_FIRST_RETRY_SECONDS", 0.05)
    nas.parent.mkdir()
    nas.write_text("in the way of the directory")
    handle = store(**synced(nas, interval=0.1))
    with caplog.at_level(logging.WARNING, "checkpointdb"):
        handle.save({"n": 1}, "a")
        wait_until(lambda: handle.get_statistics()["last_backup_error"])
    assert "to be retried" in caplog.text
    assert nas.as_uri() in handle.get_statistics()["last_backup_error"]
    handle.save({"n": 2}, "b")
    assert handle.get_statistics()["not_backed_up_checkpoints"] == 2
    nas.unlink()
    wait_until(lambda: handle.get_statistics()["not_backed_up_checkpoints"] == 0)
    found = handle.get_statistics()
    assert (found["last_backup_error"], found["last_backup_timestamp"] is None) == (None, False)


def push_by_itself(store, nas, name, **options):
    with store(**synced(nas, **options), **KEEP_ALL) as handle:
        handle.save({"n": name, "text": f"{name} " * 900}, name, force_full=True)


def test_the_remote_does_not_grow_with_every_push(store, nas, tmp_path):
    for name in "abcd":
        push_by_itself(store, nas, name, keep_snapshots=KeepNewest(2))
    assert len(snapshots_at(nas)) == 2
    assert ids_at(nas, tmp_path) == ["a", "b", "c", "d"]
    push_by_itself(store, nas, "e", keep_snapshots=KeepAll())
    assert len(snapshots_at(nas)) == 3


def test_what_nothing_names_at_the_remote_goes_once_a_week(store, nas, tmp_path, alter):
    push_by_itself(store, nas, "a")
    with store(**KEEP_ALL) as handle:
        handle.delete_checkpoint("a")
    [payload] = nas.glob("payloads/*/*")
    os.utime(payload, (0, 0))
    push_by_itself(store, nas, "b", keep_snapshots=KeepNewest(1))
    assert payload.exists()
    alter(store(), "UPDATE remotes SET pushed_at = ?", "2026-01-01 00:00:00.000000")
    push_by_itself(store, nas, "c", keep_snapshots=KeepNewest(1))
    assert not payload.exists()
    assert ids_at(nas, tmp_path) == ["b", "c"]


def test_old_snapshots_that_cannot_be_deleted_fail_no_push(store, nas, alter, caplog):
    push_by_itself(store, nas, "a")
    alter(store(), "UPDATE remotes SET pushed_at = ?", "2026-01-01 00:00:00.000000")
    snapshots_at(nas)[0].write_bytes(b"damaged")
    push_by_itself(store, nas, "b", keep_snapshots=KeepAll())
    assert "stay for now" in caplog.text
    found = store().get_statistics()
    assert (found["last_backup_error"], found["not_backed_up_checkpoints"]) == (None, 0)


PROGRAM = """
import sys
from checkpointdb import CloudBackupConfig, PipelineCheckpoint
config = CloudBackupConfig(True, url=sys.argv[2], auto_sync=True)
handle = PipelineCheckpoint(sys.argv[1], cloud_backup_config=config)
handle.save({"n": 1}, "a")
"""


def run(program, *words, **options):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *map(str, words)],
        check=True,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
        **options,
    )


def test_an_interpreter_that_exits_pushes_what_a_handle_left_open_has_saved(nas, tmp_path):
    assert run(PROGRAM, tmp_path / "store", nas.as_uri()).stderr == ""
    assert ids_at(nas, tmp_path) == ["a"]


def test_an_interpreter_does_not_hang_on_a_remote_that_does_not_answer(tmp_path):
    hanging = """
from checkpointdb.backup.directory_remote import DirectoryRemote
from checkpointdb.store import syncing
import time
syncing.CLOSING_SECONDS = 0.5
DirectoryRemote.small = lambda *_: time.sleep(1_000)
"""
    began = time.monotonic()
    done = run(hanging + PROGRAM, tmp_path / "store", (tmp_path / "nas").as_uri())
    assert time.monotonic() - began < _PATIENCE_SECONDS / 2
    assert "left to the next opening" in done.stderr
    with PipelineCheckpoint(tmp_path / "store") as handle:
        assert handle.load("a") == {"n": 1}


@needs_linux
def test_a_forked_child_leaves_backups_to_its_parent(store, nas):
    handle = store(**synced(nas))
    handle.save({"n": 1}, "a")
    child = os.fork()
    if not child:
        handle.save({"n": 2}, "b")
        handle.close()
        os._exit(0 if not nas.exists() else 1)
    assert os.waitpid(child, 0)[1] == 0
    handle.close()
    assert store().get_statistics()["not_backed_up_checkpoints"] == 0


def test_a_backup_that_is_gone_is_not_begun_anew_by_itself(store, nas):
    with store(**synced(nas)) as handle:
        handle.save({"n": 1}, "a")
    shutil.rmtree(nas)
    with store(**synced(nas)) as handle:
        handle.save({"n": 2}, "b")
    assert "gone" in store().get_statistics()["last_backup_error"]
    assert not nas.exists()


@pytest.mark.parametrize("seconds", [0, -1, "often"])
def test_an_interval_that_makes_no_sense_is_refused(store, nas, seconds):
    with pytest.raises(InvalidInputError, match="sync_interval_seconds"):
        store(**synced(nas, interval=seconds))


def test_a_policy_for_snapshots_that_is_not_about_times_is_refused(store, nas):
    with pytest.raises(InvalidInputError, match="not about times"):
        store(**synced(nas, keep_snapshots=KeepBest(1, "x")))
