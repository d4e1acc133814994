"""Backups of which something is damaged, at the remote or in the store: what comes back of them."""

from __future__ import annotations

import gzip
import json
import shutil
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from backed import payloads_at, state_of, states_of
from breaking import KEEP_ALL

from checkpointdb import (
    CorruptionError,
    InvalidInputError,
    MissingKeyError,
    NotFoundError,
    PipelineCheckpoint,
    generate_encryption_key,
)
from checkpointdb.backup import snapshots
from checkpointdb.backup.layout import Pointer, encode_pointer, new_snapshot

pytestmark = pytest.mark.databases


def forge(nas, content):
    """Let the backup be another snapshot, with the right hash."""
    forged = new_snapshot(datetime.now(UTC), sha256(content).hexdigest())
    (nas / forged.path).write_bytes(content)
    (nas / "latest.json").write_bytes(encode_pointer(Pointer(forged, len(content))))


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_payload_at_the_remote_is_named_with_its_checkpoints(saved, nas, tmp_path):
    saved.push_backup(nas)
    assert saved.verify_backup(nas, read_data=True).problems == ()
    damage(payloads_at(nas)[2])
    assert saved.verify_backup(nas).problems == ()
    [problem] = saved.verify_backup(nas, read_data=True).problems
    assert (problem.kind, problem.checkpoint_ids) == ("damaged", ("s2",))
    with pytest.raises(CorruptionError, match="s2") as caught:
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    assert caught.value.payload == problem.subject
    assert not (tmp_path / "back").exists()
    PipelineCheckpoint.pull_backup(nas, tmp_path / "part", checkpoint_ids=["s0", "s1"])
    assert saved.push_backup(nas).copied_payloads == 0
    assert saved.push_backup(nas, read_remote=True).copied_payloads == 1
    assert saved.verify_backup(nas, read_data=True).is_ok


def test_what_is_whole_comes_back_where_other_payloads_are_damaged(saved, store, nas, tmp_path):
    store(pipeline="other", **KEEP_ALL).save({"n": 1}, "o")
    saved.push_backup(nas)
    damage(payloads_at(nas)[1])
    payloads_at(nas)[3].unlink()
    with pytest.raises(CorruptionError, match=r"2 payloads .*skip_damaged"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    report = PipelineCheckpoint.pull_backup(nas, tmp_path / "back", skip_damaged=True)
    left_out = set(report.left_out)
    assert left_out >= {"s1", "o"}
    assert report.checkpoints == 4 - len(left_out)
    whole = {f"s{n}": state_of(n) for n in range(3) if f"s{n}" not in left_out}
    assert states_of(tmp_path / "back") == whole
    with (
        PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back,
        pytest.raises(InvalidInputError, match="another store"),
    ):
        back.push_backup(nas)


def test_what_is_short_or_gone_at_the_remote_is_told_and_pushed_again(saved, nas):
    saved.push_backup(nas)
    [first, second, _] = payloads_at(nas)
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    report = saved.verify_backup(nas)
    assert {each.kind for each in report.problems} == {"length", "missing"}
    assert {each for problem in report.problems for each in problem.checkpoint_ids} == {
        "s0",
        "s1",
        "s2",
    }
    assert saved.push_backup(nas).copied_payloads == 2
    assert saved.verify_backup(nas, read_data=True).is_ok


def test_what_an_interrupted_pull_left_is_read_before_it_is_relied_on(saved, nas, tmp_path):
    saved.push_backup(nas)
    whole = PipelineCheckpoint.pull_backup(nas, tmp_path / "whole")
    left = tmp_path / ".back.pull" / "payloads"
    shutil.copytree(tmp_path / "whole" / "payloads", left)
    damage(min(left.glob("p-*/*")))
    report = PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    assert 0 < report.fetched_bytes < whole.fetched_bytes
    assert states_of(tmp_path / "back") == {f"s{n}": state_of(n) for n in range(3)}


def test_another_snapshot_in_the_place_of_the_latest_is_refused(saved, nas, tmp_path):
    """It is whole: by its name alone it is not what was pushed last."""
    saved.push_backup(nas)
    saved.save(state_of(3), "s3")
    saved.push_backup(nas)
    older, latest = sorted((nas / "snapshots").iterdir())
    latest.write_bytes(older.read_bytes())
    with pytest.raises(CorruptionError, match="is damaged"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_damaged_snapshot_is_refused_and_the_database_is_rebuilt(saved, nas, tmp_path):
    saved.push_backup(nas)
    [snapshot] = (nas / "snapshots").iterdir()
    damage(snapshot)
    for call in (
        lambda: PipelineCheckpoint.pull_backup(nas, tmp_path / "back"),
        lambda: saved.verify_backup(nas),
    ):
        with pytest.raises(CorruptionError, match="rebuild"):
            call()
    (nas / "latest.json").unlink()
    with pytest.raises(NotFoundError, match="rebuild"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    report = PipelineCheckpoint.pull_backup(nas, tmp_path / "back", rebuild=True)
    assert (report.snapshot, report.checkpoints, report.left_out) == (None, 3, ())
    assert states_of(tmp_path / "back") == {f"s{n}": state_of(n) for n in range(3)}


def test_a_rebuild_names_what_is_damaged_and_takes_nothing_of_another_pull(
    saved, store, nas, tmp_path
):
    other = store("other", **KEEP_ALL)
    other.save({"n": "of another store"}, "x")
    other.push_backup(tmp_path / "others")
    key = generate_encryption_key()
    with PipelineCheckpoint(tmp_path / "sealed", key, True) as sealed:
        sealed.save({"n": 1}, "secret")
        sealed.push_backup(tmp_path / "sealed remote")
    with pytest.raises(MissingKeyError):
        PipelineCheckpoint.pull_backup(tmp_path / "sealed remote", tmp_path / "back", rebuild=True)
    damage(payloads_at(tmp_path / "others")[0])
    for options in ({}, {"rebuild": True}):
        with pytest.raises((CorruptionError, NotFoundError)):
            PipelineCheckpoint.pull_backup(tmp_path / "others", tmp_path / "back", **options)
    saved.push_backup(nas)
    damage(payloads_at(nas)[2])
    report = PipelineCheckpoint.pull_backup(nas, tmp_path / "back", rebuild=True)
    [name] = report.left_out
    assert (report.checkpoints, report.payloads, "s2" in name) == (2, 2, True)
    assert states_of(tmp_path / "back") == {f"s{n}": state_of(n) for n in range(2)}


def test_a_rebuild_that_brings_nothing_back_makes_no_store(saved, nas, tmp_path):
    saved.push_backup(nas)
    first, *others = payloads_at(nas)
    first.unlink()
    for path in others[1:]:
        path.unlink()
    with pytest.raises(CorruptionError, match="none brings"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back", rebuild=True)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"no json", b'{"format": 1, "snapshot": "../../etc", "stored_bytes": 1}'],
)
def test_a_pointer_that_is_none_is_refused(saved, nas, tmp_path, content):
    saved.push_backup(nas)
    (nas / "latest.json").write_bytes(content)
    with pytest.raises(CorruptionError, match=r"latest\.json"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "it is empty"), (b"x", "it is empty"), (b"no rows" * 999, "not a database")],
)
def test_a_forged_snapshot_that_is_no_database_is_refused(saved, nas, tmp_path, content, words):
    saved.push_backup(nas)
    forge(nas, gzip.compress(content))
    with pytest.raises(CorruptionError, match=words):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_forged_snapshot_that_grows_without_end_is_given_up(saved, nas, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "_SMALL_BYTES", 1 << 20)
    saved.push_backup(nas)
    forge(nas, gzip.compress(bytes(8 << 20), 9))
    with pytest.raises(CorruptionError, match="damaged"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    left = [path.stat().st_size for path in tmp_path.rglob("snapshot.db")]
    assert max(left) < 4 << 20


def test_a_backup_of_a_newer_format_is_refused(saved, nas, tmp_path):
    saved.push_backup(nas)
    facts = json.loads((nas / "latest.json").read_text()) | {"format": 2}
    (nas / "latest.json").write_text(json.dumps(facts))
    with pytest.raises(RuntimeError, match="upgrade checkpointdb"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back")


@pytest.mark.damages
def test_a_damaged_payload_of_the_store_costs_the_backup_only_what_needs_it(saved, nas, tmp_path):
    [_, _, last] = sorted(saved.checkpoint_dir.glob("payloads/p-*/*"))
    damage(last)
    report = saved.push_backup(nas)
    assert [name for name, _ in report.unreadable] == [last.relative_to(last.parents[1]).as_posix()]
    assert (report.is_ok, report.checkpoints) == (False, 2)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "part", checkpoint_ids=["s0", "s1"])
    assert states_of(tmp_path / "part") == {f"s{n}": state_of(n) for n in range(2)}
