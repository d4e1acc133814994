"""A file system that became read-only: it opens, loads all, and says why it cannot save."""

from __future__ import annotations

import shutil

import pytest
from breaking import assert_sound, run, run_well, state_of, tags_of

from checkpointdb import CheckpointError, KeepNewest, PipelineCheckpoint, StoreUnavailableError

IDS = ["a", "b", "c"]


def assert_read_only(directory):
    with PipelineCheckpoint(directory) as handle:
        before = tags_of(handle)
        assert list(before) == IDS
        assert handle.check(read_data=True).problems == ()
        assert handle.lazy("a")["tag"] == before["a"]
        assert [each.checkpoint_id for each in handle.plan_retention(KeepNewest(2)).forgotten] == [
            "a"
        ]
        for act in (
            lambda: handle.save(state_of("d"), "d"),
            lambda: handle.delete_checkpoint("a"),
            lambda: handle.pin("a"),
            handle.forget_failures,
            lambda: handle.prune(KeepNewest(2)),
            handle.sweep,
        ):
            with pytest.raises(StoreUnavailableError, match="opened read-only"):
                act()
        assert tags_of(handle) == before


@pytest.mark.parametrize("program", ["try_saves", "save_and_die"], ids=["closed", "killed"])
def test_a_read_only_store_loads_all_and_says_why_it_cannot_save(disk, program):
    run(program, disk.path / "store", *IDS)
    disk.remount("ro")
    assert_read_only(disk.path / "store")
    disk.remount("rw")
    assert_sound(disk.path / "store", allowed=set())


def test_several_processes_may_read_a_read_only_store_at_once(disk):
    run("save_and_die", disk.path / "store", *IDS)
    disk.remount("ro")
    with PipelineCheckpoint(disk.path / "store") as handle:
        assert [line.split()[0] for line in run_well("look", disk.path / "store")] == IDS
        assert tags_of(handle) == {each: each for each in IDS}


def test_a_read_only_copy_whose_log_cannot_be_read_is_refused_and_not_half_shown(disk):
    run("save_and_die", disk.path / "store", *IDS)
    (disk.path / "store" / "checkpoints.db-shm").unlink()
    disk.remount("ro")
    try:
        found = tags_of(PipelineCheckpoint(disk.path / "store"))
    except CheckpointError:
        return
    assert found == {each: each for each in IDS}


def test_a_killed_store_can_be_copied_whole_and_opened_elsewhere(tmp_path):
    run("save_and_die", tmp_path / "store", *IDS)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    with PipelineCheckpoint(tmp_path / "copy") as handle:
        assert tags_of(handle) == {each: each for each in IDS}


def test_a_path_that_is_a_file_or_lies_below_one_is_said_to_be_none(tmp_path):
    (tmp_path / "file").write_text("I am a file")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreUnavailableError):
            PipelineCheckpoint(path)
