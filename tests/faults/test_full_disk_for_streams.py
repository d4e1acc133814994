"""A full disk while a stream is saved."""

from __future__ import annotations

import random

import pytest
from breaking import KEEP_ALL

from checkpointdb import PipelineCheckpoint, StoreUnavailableError, StreamedValue

LONG = random.Random(6).randbytes(6 << 20)


def test_a_full_disk_leaves_nothing_of_a_stream(disk, tree):
    with PipelineCheckpoint(disk.path / "store", **KEEP_ALL) as handle:
        handle.save({"n": 1}, "before")
        before = tree(handle.checkpoint_dir)
        for source in (LONG, (LONG[at : at + 99_999] for at in range(0, len(LONG), 99_999))):
            with pytest.raises(StoreUnavailableError, match=rf"{disk.path}.*full"):
                handle.save({"stream": StreamedValue(source)}, "too much")
        files = {key for key, size in tree(handle.checkpoint_dir).items() if size is not None}
        assert files <= before.keys() | {"checkpoints.db-wal", "checkpoints.db-shm"}
        assert handle.save({"stream": StreamedValue(LONG[:99_999])}, "small") == "small"
        assert handle.check(read_data=True).problems == ()


def test_a_file_that_a_full_disk_does_not_take_is_named_and_leaves_nothing(disk, tmp_path, tree):
    with PipelineCheckpoint(tmp_path / "store", **KEEP_ALL) as handle:
        handle.save({"stream": StreamedValue(bytes(64 << 20))}, "large")
        target = disk.path / "target"
        with pytest.raises(OSError, match=r"No space") as caught:
            handle.load("large")["stream"].save_to(target)
    assert caught.value.filename == str(target)
    assert "target" not in "".join(tree(disk.path))
