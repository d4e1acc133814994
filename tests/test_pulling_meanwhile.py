"""What others do while a backup is pulled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from checkpointdb import (
    InvalidInputError,
    KeepNewest,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreBusyError,
)
from checkpointdb.backup import retaining
from checkpointdb.store import backing

KEEP_ALL = {"retention_policy": RetentionPolicy.KEEP_ALL}


@pytest.fixture
def nas(tmp_path):
    return tmp_path / "nas"


@pytest.fixture
def saved(archive, nas):
    """A store that was pushed, whose checkpoints share nothing."""
    for name in "abc":
        archive.save({"name": name, "text": f"{name} " * 2_000}, name, force_full=True)
    archive.push_backup(nas)
    return archive


def once(act):
    """A progress callback that acts when it is first called."""
    acts = [act]
    return lambda done, total: acts.pop()() if acts else None


def ids_in(directory):
    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        assert handle.check(read_data=True).problems == ()
        return [each.checkpoint_id for each in handle.list_checkpoints(reverse=False)]


def test_a_pull_goes_on_with_what_was_pushed_where_its_snapshot_is_pruned(
    saved, nas, tmp_path, monkeypatch
):
    monkeypatch.setattr(retaining, "GRACE", timedelta(0))
    monkeypatch.setattr(backing, "_THREADS", 1)
    old = saved.list_backups(nas)[0].name

    def push_and_prune():
        for name in "abc":
            saved.delete_checkpoint(name)
        saved.save({"n": 1}, "d")
        saved.push_backup(nas)
        saved.prune_backup(KeepNewest(1), remote=nas)

    moved = once(push_and_prune)
    report = PipelineCheckpoint.pull_backup(nas, tmp_path / "back", progress=moved)
    assert report.snapshot == saved.list_backups(nas)[0].name != old
    assert ids_in(tmp_path / "back") == ["d"]
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        back.push_backup(nas)


def test_two_pulls_into_one_directory_do_not_meet(saved, nas, tmp_path):
    caught = []

    def pull():
        with pytest.raises(StoreBusyError) as error:
            PipelineCheckpoint.pull_backup(nas, tmp_path / "back", checkpoint_ids=["a"])
        caught.append(error)

    PipelineCheckpoint.pull_backup(nas, tmp_path / "back", progress=once(pull))
    assert len(caught) == 1
    assert ids_in(tmp_path / "back") == ["a", "b", "c"]


def test_a_pull_to_where_a_disk_is_mounted_is_refused_before_anything_is_fetched(
    saved, nas, tmp_path, monkeypatch
):
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "disk")
    with pytest.raises(InvalidInputError, match="is mounted"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "disk")
    PipelineCheckpoint.pull_backup(nas, tmp_path / "disk" / "store")
    assert ids_in(tmp_path / "disk" / "store") == ["a", "b", "c"]
