"""What others do while a store is pushed, what rows know of backups, and what waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from backed import ids_in, once, states_of
from breaking import KEEP_ALL

from checkpointdb import (
    InvalidInputError,
    KeepNewest,
    KeepUntilBackedUp,
    PipelineCheckpoint,
    StoreBusyError,
)
from checkpointdb.backup import lease, pushing, snapshots
from checkpointdb.backup.lease import Lease, _here, _is_dead, leased
from checkpointdb.store import backing

pytestmark = pytest.mark.databases


def files_of(handle):
    return sorted(path.name for path in handle.checkpoint_dir.glob("payloads/p-*/*"))


def backed_up(handle):
    query = "SELECT checkpoint_id FROM checkpoint_backups WHERE backed_up_at IS NOT NULL"
    return sorted(each for (each,) in handle.sql(query).rows)


def test_what_is_forgotten_during_a_push_is_in_it_and_unlinked_after_it(apart, nas, tmp_path):
    during = []

    def forget():
        apart.delete_checkpoint("a")
        apart.prune(KeepNewest(1))
        apart.sweep()
        apart.save({"new": 1}, "new")
        during.extend(files_of(apart))

    report = apart.push_backup(nas, progress=once(forget))
    assert (report.checkpoints, report.copied_payloads, report.unreadable) == (3, 3, ())
    assert len(during) == 4
    assert len(files_of(apart)) == 2
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    assert ids_in(tmp_path / "back") == ["a", "b", "c"]
    assert backed_up(apart) == ["c"]


def test_what_is_replaced_during_a_push_is_in_it_as_it_was(apart, nas, tmp_path, monkeypatch):
    copy_of = pushing.copy_of

    def replace_all(*arguments):
        copy = copy_of(*arguments)  # of the rows: no payload is open yet
        for name in "abc":
            apart.save({"name": "new"}, name, force_full=True)
        apart._engine.pool.close()  # files go by a thread of it, after a save
        return copy

    monkeypatch.setattr(pushing, "copy_of", replace_all)
    report = apart.push_backup(nas)
    assert (report.checkpoints, report.copied_payloads, report.unreadable) == (3, 3, ())
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    found = states_of(tmp_path / "back")
    assert {name: state["name"] for name, state in found.items()} == {name: name for name in "abc"}


def test_a_push_that_another_store_overtakes_is_not_acknowledged(apart, store, nas, tmp_path):
    other = store("other", **KEEP_ALL)
    other.save({"n": 1}, "theirs")
    with pytest.raises(InvalidInputError, match="at the same moment"):
        apart.push_backup(nas, progress=once(lambda: other.push_backup(nas, takes_over=True)))
    assert backed_up(apart) == []
    assert [each.is_latest for each in other.list_backups(nas)] == [True]
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    assert ids_in(tmp_path / "back") == ["theirs"]


def test_a_push_by_another_process_is_waited_for_unless_that_was_killed(apart, nas, alter):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with leased(apart._engine.database, f"backup to {nas.as_uri()}"):
        with pytest.raises(StoreBusyError, match=str(os.getpid())):
            apart.push_backup(nas)
        alter(
            apart, "UPDATE leases SET holder = replace(holder, ?, ?)",
            f" {os.getpid()} ", f" {ended.pid} ",
        )  # fmt: skip
        assert apart.push_backup(nas).copied_payloads == 3


@pytest.mark.parametrize("step", ["take", "end"])
def test_a_push_that_was_interrupted_at_its_lease_keeps_no_other_of_the_process_waiting(
    apart, nas, monkeypatch, step
):
    original = getattr(Lease, step)

    def interrupted(self):
        if step == "take":
            original(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Lease, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            apart.push_backup(nas)
    assert apart.push_backup(nas).is_ok


def test_a_lease_that_has_expired_holds_nothing_back_and_cannot_be_renewed(apart, alter):
    held = Lease(apart._engine.database, "a test")
    held.take()
    apart.delete_checkpoint("a")
    assert len(files_of(apart)) == 3
    past = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=1)
    alter(apart, "UPDATE leases SET expires_at = ?, holder = 'another'", str(past))
    apart.delete_checkpoint("b")
    assert len(files_of(apart)) == 2
    held._renewed_at -= 1_000
    with pytest.raises(StoreBusyError, match="stood still"):
        held.renew()
    apart.sweep()
    assert len(files_of(apart)) == 1


def test_a_push_whose_lease_expired_meanwhile_is_given_up_before_it_holds(apart, nas, alter):
    apart.push_backup(nas)
    before = (nas / "latest.json").read_bytes()
    apart.save({"text": "d " * 2_000}, "d", force_full=True)

    def sleep():  # as a machine does whose lid is closed: others unlink what was held back
        past = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=1)
        alter(apart, "UPDATE leases SET expires_at = ?", str(past))
        apart.delete_checkpoint("d")

    with pytest.raises(StoreBusyError, match="stood still"):
        apart.push_backup(nas, progress=once(sleep))
    assert (nas / "latest.json").read_bytes() == before
    # Its snapshot is not there, which lacks a payload, and would count for retention.
    assert [each.is_latest for each in apart.list_backups(nas)] == [True]
    assert apart.push_backup(nas).is_ok


@pytest.fixture
def pass_time(monkeypatch):
    """Let time pass for leases: returns a progress callback in each call of which some does."""
    passed = 0.0

    class Late(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=passed)

    monkeypatch.setattr(backing, "_THREADS", 1)  # else several tell of their bytes at once
    monkeypatch.setattr(lease, "datetime", Late)
    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed))

    def passing(_done, _total):
        nonlocal passed
        passed += 300

    return passing


def test_a_push_may_read_what_is_there_for_longer_than_a_lease_lasts(apart, nas, pass_time):
    apart.push_backup(nas)
    assert apart.push_backup(nas, read_remote=True, progress=pass_time).is_ok


def test_a_push_may_send_its_snapshot_for_longer_than_a_lease_lasts(
    apart, nas, pass_time, monkeypatch
):
    apart.push_backup(nas)
    monkeypatch.setattr(snapshots, "BLOCK_BYTES", 1_000)
    assert apart.push_backup(nas, progress=pass_time).is_ok


def test_a_push_that_has_lost_its_lease_says_so(apart, nas, pass_time, alter):
    def lose(done, total):
        pass_time(done, total)
        alter(apart, "UPDATE leases SET holder = 'another'")

    with pytest.raises(StoreBusyError, match="stood still"):
        apart.push_backup(nas, progress=lose)


def test_a_sweep_leaves_the_directory_of_a_push_that_goes_on_for_days(apart, nas):
    calls = 0

    def wait(_done, _total):
        nonlocal calls
        calls += 1
        [room] = apart.checkpoint_dir.glob(".push-*")
        if calls == 1:
            two_days_ago = time.time() - 2 * 86_400
            os.utime(room, (two_days_ago, two_days_ago))
        else:
            apart.sweep()

    assert apart.push_backup(nas, progress=wait).is_ok
    assert calls > 1


# --- rows


def test_sql_says_what_is_not_backed_up_yet(apart, store, nas, tmp_path):
    assert backed_up(apart) == []
    apart.push_backup(nas)
    apart.save({"n": 1}, "d")
    apart.save({"n": 2}, "a")  # another one under an old id
    assert backed_up(apart) == ["b", "c"]
    apart.push_backup(nas)
    apart.push_backup(tmp_path / "second")
    assert backed_up(apart) == sorted("aabbccdd")
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        assert backed_up(back) == ["a", "b", "c", "d"]
    rows = apart.sql("SELECT DISTINCT length(sha256), url FROM backups, remotes").rows
    assert {length for length, _ in rows} == {32}


def test_retention_waits_for_a_backup_when_told_so(store, nas):
    policy = KeepNewest(1) | KeepUntilBackedUp()
    handle = store(retention_policy=policy)
    for name in "abc":
        handle.save({"n": name}, name)
    plan = handle.plan_retention()
    assert [each.reasons for each in plan.checkpoints] == [
        ("not backed up yet",),
        ("not backed up yet",),
        ("saved last", "newest 1 of 1", "not backed up yet"),
    ]
    handle.push_backup(nas)
    handle.save({"n": "d"}, "d")
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["d"]
    assert str(policy) == "newest 1 or not backed up yet"


@pytest.mark.sqlite
def test_machines_of_one_name_that_share_a_server_are_told_apart(monkeypatch):
    text = "/proc/sys/kernel/random/boot_id"
    assert _here(is_shared=True) == _here(is_shared=True)
    ours, read = _here(is_shared=True), Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path: "another" if str(path) == text else read(path)
    )
    assert _here(is_shared=True) != ours
    assert not _is_dead(f"{ours} 999999999 x", _here(is_shared=True))
    assert _is_dead(f"{ours} 999999999 x", ours)
