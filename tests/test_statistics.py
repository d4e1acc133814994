"""Statistics: what the store says of a pipeline as a whole."""

from __future__ import annotations

import random

import pytest

pytestmark = pytest.mark.databases

BALLAST = random.Random(61).randbytes(50_000)


@pytest.fixture
def handle(archive):
    archive.save({"ballast": BALLAST}, "one")
    archive.save({"ballast": BALLAST, "n": 2}, "two")
    archive.save({"ballast": BALLAST, "n": 3}, "three", force_full=True, pinned=True)
    return archive


def test_kinds_are_counted(handle):
    found = handle.get_statistics()
    assert found["total_checkpoints"] == 3
    assert (found["full_checkpoints"], found["incremental_checkpoints"]) == (2, 1)
    assert (found["encrypted_checkpoints"], found["pinned_checkpoints"]) == (0, 1)


def test_the_total_size_is_that_of_the_files(handle):
    found = handle.get_statistics()
    files = [path.stat().st_size for path in handle.checkpoint_dir.rglob("*.ckpt.gz")]
    assert found["total_size_bytes"] == sum(files)
    assert found["total_size_mb"] == pytest.approx(sum(files) / 2**20)
    assert found["payload_files"] == len(files)


def test_a_file_that_others_need_is_counted_after_its_checkpoint_is_gone(handle):
    before = handle.get_statistics()["total_size_bytes"]
    handle.delete_checkpoint("one")
    found = handle.get_statistics()
    assert (found["total_checkpoints"], found["payload_files"]) == (2, 3)
    assert found["total_size_bytes"] == before


def test_the_ends_are_the_oldest_and_the_newest_with_their_times(handle):
    found = handle.get_statistics()
    assert (found["oldest_checkpoint"], found["newest_checkpoint"]) == ("one", "three")
    for end in ("oldest", "newest"):
        info = handle.get_checkpoint_info(found[f"{end}_checkpoint"])
        assert found[f"{end}_timestamp"] == info.timestamp


def test_the_bytes_of_states_are_what_was_saved(handle):
    found = handle.get_statistics()
    listed = handle.list_checkpoints()
    assert found["state_bytes"] == sum(each.state_bytes for each in listed) >= 3 * len(BALLAST)


def test_statistics_are_of_their_pipeline(handle, store):
    other = store(pipeline="other")
    assert other.get_statistics()["total_checkpoints"] == 0
    other.save({"a": 1}, "x")
    assert other.get_statistics()["oldest_checkpoint"] == "x"
    assert handle.get_statistics()["total_checkpoints"] == 3


def test_a_pipeline_whose_checkpoints_are_all_deleted_has_nothing(handle):
    for name in ("one", "two", "three"):
        handle.delete_checkpoint(name)
    found = handle.get_statistics()
    assert (found["total_checkpoints"], found["total_size_bytes"]) == (0, 0)
    assert (found["oldest_checkpoint"], found["newest_timestamp"]) == (None, None)
