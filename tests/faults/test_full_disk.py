"""A full disk: an error that says so, nothing half visible, and all that was acknowledged."""

from __future__ import annotations

import os

import numpy as np
import pytest
from breaking import KEEP_ALL, assert_sound, leftovers, open_files, run_well, tags_of

from checkpointdb import PipelineCheckpoint, StoreUnavailableError


def fill(directory, count, size):
    """Return what was acknowledged, and the errors."""
    lines = [line.split(maxsplit=3) for line in run_well("fill", directory, count, size)]
    failed = [line for line in lines if line[0] == "failed"]
    assert {line[2] for line in failed} <= {"StoreUnavailableError"}, failed
    return [line[1] for line in lines if line[0] == "saved"], [line[3] for line in failed]


def assert_noise(directory, saved):
    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        assert [each.checkpoint_id for each in handle.list_checkpoints(reverse=False)] == saved
        for each in saved:
            state = handle.load(each)
            expected = np.random.default_rng(state["seed"]).random(state["noise"].size)
            assert each == f"s{state['seed']}"
            assert (state["noise"] == expected).all()
        return handle.check(read_data=True).problems


@pytest.mark.parametrize("size", [20_000, 300_000, 6_000_000])
def test_saves_to_a_full_disk_say_so_and_lose_nothing(disk, size):
    directory = disk.path / "store"
    saved, errors = fill(directory, 8_000_000 // size + 3, size)
    assert errors
    assert all("full" in each for each in errors), errors
    assert {each.kind for each in assert_noise(directory, saved)} <= {"orphan"}
    assert leftovers(directory) == []


def test_failed_saves_leave_no_files_that_fill_the_disk_further(disk):
    directory = disk.path / "store"
    saved, errors = fill(directory, 400, 20_000)
    files = list(directory.glob("payloads/p-*/*"))
    assert len(errors) > 100
    assert len(files) <= len(saved) + 1


def test_a_full_disk_on_which_room_is_made_takes_saves_and_forgetting_again(disk):
    directory, ballast = disk.path / "store", disk.path / "ballast"
    ballast.write_bytes(bytes(600_000))
    saved, _ = fill(directory, 40, 300_000)
    ballast.unlink()
    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        for each in saved[:-1]:
            handle.delete_checkpoint(each)
        handle.sweep()
    assert {each.kind for each in assert_noise(directory, saved[-1:])} <= {"orphan"}
    assert fill(directory, 3, 300_000)[1] == []


def test_a_store_cannot_be_made_on_a_full_disk_and_can_once_there_is_room(disk):
    ballast = disk.path / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(5_000_000))
    with pytest.raises(StoreUnavailableError) as refused:
        PipelineCheckpoint(disk.path / "store")
    assert open_files(disk.path) == []
    del refused  # which has kept alive what was begun
    ballast.unlink()
    PipelineCheckpoint(disk.path / "store").close()
    assert_sound(disk.path / "store")


@pytest.mark.skipif(os.name == "nt", reason="there is no such limit here")
@pytest.mark.parametrize("limit", [3_000, 500_000, 700_000])
def test_a_limit_of_file_length_says_so_and_loses_nothing(tmp_path, limit):
    lines = [line.split(maxsplit=3) for line in run_well("starve_of_file_size", tmp_path, limit)]
    failed = [line for line in lines if line[0] == "failed"]
    assert {line[2] for line in failed} == {"StoreUnavailableError"}
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        assert list(tags_of(handle)) == [line[1] for line in lines if line[0] == "saved"]
    assert leftovers(tmp_path) == []
    assert_sound(tmp_path)
