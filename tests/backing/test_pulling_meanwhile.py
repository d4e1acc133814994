"""What others do while a backup is pulled."""

from __future__ import annotations

from datetime import timedelta

import pytest
from backed import ids_in, once
from breaking import KEEP_ALL

from checkpointdb import (
    InvalidInputError,
    KeepNewest,
    PipelineCheckpoint,
    StoreBusyError,
)
from checkpointdb.backup import retaining
from checkpointdb.store import backing


@pytest.fixture
def pushed(apart, nas):
    """A store that was pushed."""
    apart.push_backup(nas)
    return apart


def test_a_pull_goes_on_with_what_was_pushed_where_its_snapshot_is_pruned(
    pushed, nas, tmp_path, monkeypatch
):
    monkeypatch.setattr(retaining, "GRACE", timedelta(0))
    monkeypatch.setattr(backing, "_THREADS", 1)
    old = pushed.list_backups(nas)[0].name

    def push_and_prune():
        for name in "abc":
            pushed.delete_checkpoint(name)
        pushed.save({"n": 1}, "d")
        pushed.push_backup(nas)
        pushed.prune_backup(KeepNewest(1), remote=nas)

    moved = once(push_and_prune)
    report = PipelineCheckpoint.pull_backup(nas, tmp_path / "back", progress=moved)
    assert report.snapshot == pushed.list_backups(nas)[0].name != old
    assert ids_in(tmp_path / "back") == ["d"]
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        back.push_backup(nas)


def test_two_pulls_into_one_directory_do_not_meet(pushed, nas, tmp_path):
    caught = []

    def pull():
        with pytest.raises(StoreBusyError) as error:
            PipelineCheckpoint.pull_backup(nas, tmp_path / "back", checkpoint_ids=["a"])
        caught.append(error)

    PipelineCheckpoint.pull_backup(nas, tmp_path / "back", progress=once(pull))
    assert len(caught) == 1
    assert ids_in(tmp_path / "back") == ["a", "b", "c"]


def test_a_pull_to_where_a_disk_is_mounted_is_refused_before_anything_is_fetched(
    pushed, nas, tmp_path, monkeypatch
):
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "disk")
    with pytest.raises(InvalidInputError, match="is mounted"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "disk")
    PipelineCheckpoint.pull_backup(nas, tmp_path / "disk" / "store")
    assert ids_in(tmp_path / "disk" / "store") == ["a", "b", "c"]


@pytest.mark.parametrize("moment", ["before its room", "with its room", "with the other's room"])
def test_a_pull_beside_which_another_has_ended_overwrites_nothing_and_leaves_nothing(
    pushed, nas, tmp_path, monkeypatch, moment
):
    make = backing.make_directories
    if moment == "with the other's room":
        (tmp_path / ".back.pull").mkdir()

    def make_beside_another(path, **options):
        monkeypatch.undo()
        if moment == "with its room":
            make(path, **options)
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
        if moment != "with its room":
            make(path, **options)

    monkeypatch.setattr(backing, "make_directories", make_beside_another)
    told = "exists, and a pull overwrites nothing|another process pulls into"
    with pytest.raises((InvalidInputError, StoreBusyError), match=told):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    assert ids_in(tmp_path / "back") == ["a", "b", "c"]
    assert not (tmp_path / ".back.pull").exists()
