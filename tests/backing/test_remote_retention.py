"""What a remote keeps: snapshots by a policy of times, and the payloads that these name."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from breaking import KEEP_ALL

from checkpointdb import (
    AtMostBytes,
    CorruptionError,
    InvalidInputError,
    KeepBest,
    KeepDaily,
    KeepNewest,
    PipelineCheckpoint,
    StoreBusyError,
)
from checkpointdb.backup import pushing, retaining

pytestmark = pytest.mark.databases


class Clock:
    """What a push takes for `datetime`."""

    time = datetime(2001, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, _zone):
        return cls.time


@pytest.fixture
def pushed(archive, nas):
    """A store that was pushed three times, each time with one checkpoint more and one less."""
    archive.save({"n": 0}, "s0", force_full=True)
    for number in range(1, 4):
        archive.save({"n": number, "text": f"{number} " * 900}, f"s{number}", force_full=True)
        archive.push_backup(nas)
        archive.delete_checkpoint(f"s{number - 1}")
    return archive


@pytest.fixture(autouse=True)
def no_grace(monkeypatch):
    monkeypatch.setattr(retaining, "GRACE", timedelta(0))


def payloads_at(nas):
    return sorted(path.name.split("-")[1][:2] for path in nas.glob("payloads/*/*"))


def test_snapshots_go_and_with_them_what_only_they_named(pushed, nas, tmp_path, tree):
    before = tree(nas)
    plan = pushed.prune_backup(KeepNewest(1), remote=nas, dry_run=True)
    assert [each.is_kept for each in plan.snapshots] == [False, False, True]
    assert tree(nas) == before
    report = pushed.prune_backup(KeepNewest(1), remote=nas)
    assert (report.snapshots, report.deleted_payloads) == (plan.snapshots, 2)
    assert report.freed_bytes == plan.freed_bytes > 0
    assert payloads_at(nas) == ["s2", "s3"]
    assert [each.is_latest for each in pushed.list_backups(nas)] == [True]
    assert pushed.verify_backup(nas, read_data=True).is_ok
    assert pushed.sql("SELECT count(*) FROM backups").rows == ((2,),)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    assert pushed.push_backup(nas).copied_payloads == 0


def test_what_a_kept_snapshot_names_stays_and_the_latest_is_never_forgotten(pushed, nas):
    report = pushed.prune_backup(KeepDaily(1) | KeepNewest(2), remote=nas)
    assert [each.is_kept for each in report.snapshots] == [False, True, True]
    assert report.snapshots[0].reasons == ("not daily 1", "not newest 2")
    assert "saved last" in report.snapshots[2].reasons
    assert payloads_at(nas) == ["s1", "s2", "s3"]
    for each in pushed.list_backups(nas):
        assert pushed.verify_backup(nas, snapshot=each.name, read_data=True).is_ok


def test_what_no_push_made_is_left_alone(pushed, nas, tree):
    """Another store that lies among the files of a backup, and files of somebody else's."""
    with PipelineCheckpoint(nas / "payloads" / "theirs", **KEEP_ALL) as other:
        other.save({"n": 1}, "one")
    with PipelineCheckpoint(nas / "incoming", **KEEP_ALL) as other:
        other.save({"n": 2}, "two")
    for name in (
        "payloads/p-default/notes.txt",
        "payloads/p-default/mine.ckpt.gz",
        "incoming/x.tmp",
    ):
        (nas / name).write_bytes(b"mine")
    before = {path for path in tree(nas) if path.startswith(("payloads/theirs", "incoming"))}
    pushed.prune_backup(KeepNewest(1), remote=nas)
    assert before <= tree(nas).keys()
    assert len(list((nas / "payloads" / "p-default").glob("mine.ckpt.gz"))) == 1
    with PipelineCheckpoint(nas / "payloads" / "theirs") as other:
        assert other.load("one") == {"n": 1}


def test_the_latest_is_never_forgotten_though_a_clock_was_put_back(pushed, nas, monkeypatch):
    monkeypatch.setattr(pushing, "datetime", Clock)
    pushed.push_backup(nas)
    report = pushed.prune_backup(KeepNewest(1), remote=nas)
    assert [each.is_kept for each in report.snapshots][-1]
    assert pushed.verify_backup(nas, read_data=True).is_ok


def test_what_is_young_stays_for_a_day(pushed, nas, monkeypatch):
    monkeypatch.setattr(retaining, "GRACE", timedelta(days=1))
    (nas / "incoming" / f"{7:032x}.tmp").write_bytes(b"by a push that was killed")
    assert pushed.prune_backup(KeepNewest(1), remote=nas).deleted_payloads == 0
    assert len(payloads_at(nas)) == 4
    old = time.time() - 2 * 86_400
    for path in [*nas.glob("payloads/*/*"), *nas.glob("incoming/*")]:
        os.utime(path, (old, old))
    assert pushed.prune_backup(KeepNewest(1), remote=nas).deleted_payloads == 2
    assert list(nas.glob("incoming/*")) == []


def test_a_kept_snapshot_that_is_damaged_stops_it_before_anything_goes(pushed, nas, tree):
    latest = max(nas.glob("snapshots/*"))
    latest.write_bytes(latest.read_bytes()[:-9])
    before = tree(nas)
    with pytest.raises(CorruptionError, match="damaged"):
        pushed.prune_backup(KeepNewest(1), remote=nas)
    assert tree(nas) == before


def test_only_the_store_whose_backup_it_is_prunes_it(pushed, store, nas, tree):
    before = tree(nas)
    with pytest.raises(InvalidInputError, match="another store"):
        store("other").prune_backup(KeepNewest(1), remote=nas)
    assert tree(nas) == before


def test_a_store_that_took_over_meanwhile_loses_nothing(pushed, store, nas, monkeypatch):
    other = store("other", **KEEP_ALL)
    other.save({"n": 1}, "x")
    plan = retaining._plan

    def take_over(*arguments):
        planned = plan(*arguments)
        other.push_backup(nas, takes_over=True)
        return planned

    monkeypatch.setattr(retaining, "_plan", take_over)
    count = len(payloads_at(nas))
    with pytest.raises(InvalidInputError, match="at the same moment"):
        pushed.prune_backup(KeepNewest(1), remote=nas)
    assert len(payloads_at(nas)) == count + 1


def test_a_prune_that_has_lost_its_lease_deletes_nothing(pushed, nas, monkeypatch, alter, tree):
    unneeded = retaining._unneeded

    def stand_still(*arguments):
        found = unneeded(*arguments)
        alter(pushed, "UPDATE leases SET holder = 'another'")
        return found

    monkeypatch.setattr(retaining, "_unneeded", stand_still)
    before = tree(nas)
    with pytest.raises(StoreBusyError, match="stood still"):
        pushed.prune_backup(KeepNewest(1), remote=nas)
    assert tree(nas) == before


@pytest.mark.parametrize(
    "policy", [KeepBest(1, "x"), KeepNewest(1) & AtMostBytes(9), "all"], ids=str
)
def test_a_policy_that_is_not_about_times_is_refused(pushed, nas, policy):
    with pytest.raises(InvalidInputError):
        pushed.prune_backup(policy, remote=nas)
