"""How many bytes of a save and a load are hashed, and how many are allocated meanwhile."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from blake3 import blake3
from counting import Hashing, expect, most_allocated

from checkpointdb import PipelineCheckpoint, RetentionPolicy, format
from checkpointdb.store import file_hash, loading, packer

MIB = 1 << 20
NOISE = np.random.default_rng(3).random(MIB)  # 8 MiB that do not shrink
OTHER = NOISE + 1
EDITED = NOISE.copy()
EDITED[MIB // 2] = 0  # one block of 32 KiB
TEXT = "".join(
    f"line {number} of a text that is not the same everywhere\n" for number in range(150_000)
)
REVISED = TEXT.replace("line 75000 ", "line 75000 and a half ")


@pytest.fixture
def handle(tmp_path):
    keep_all = {"retention_policy": RetentionPolicy.KEEP_ALL, "durable": False}
    with PipelineCheckpoint(tmp_path, **keep_all) as handle:
        handle.save({"noise": NOISE, "text": TEXT, "step": 0}, "first")
        handle.load("first")
        yield handle


@pytest.fixture
def content(handle, monkeypatch):
    """Counts what is hashed to name it: all of a state once, and new arrays once more, packed."""
    counting = Hashing(blake3)
    monkeypatch.setattr(handle._engine.cipher.digests, "_new", counting)
    return counting


@pytest.fixture
def stored(monkeypatch):
    """Counts what is hashed as it lies on the disk: by its member, and by its file if it is new."""
    counting = Hashing(hashlib.sha256)
    for module in (packer, file_hash, format, loading):
        monkeypatch.setattr(module, "sha256", counting)
    return counting


def saving(**changed):
    state = {"noise": NOISE, "text": TEXT, "step": 1, **changed}
    return lambda handle: handle.save(state, "next")


# MiB of content hashed, of stored bytes, and what is allocated at most. Where an array and a text
# are packed side by side, their peaks may meet or not, as threads run: it is bounded by their sum.
PATHS = {
    "a save of what did not change": (saving(), 8.0, 0.0, 1),
    "a save of an array of which one number changed": (saving(noise=EDITED), 8.0, 0.1, 1),
    "a save of an array that is another": (saving(noise=OTHER), 16.0, 16.0, 12),
    "a save of a text of which a line changed": (saving(text=REVISED), 15.8, 0.0, 12),
    "a save of a text that is another": (saving(text=TEXT[::-1]), 15.8, 0.5, 19),
    "a save of which everything changed": (saving(noise=OTHER, text=TEXT[::-1]), 23.8, 16.6, 27),
    "a load": (lambda handle: handle.load("first"), 15.6, 8.4, 33),
    "a load of a small key": (lambda handle: handle.load("first", keys=["step"]), 0, 0, 1),
}


@pytest.mark.parametrize("path", PATHS)
def test_bytes_are_hashed_as_often_as_they_were(handle, content, stored, path):
    act, *expected, _ = PATHS[path]
    before = content.total, stored.total
    act(handle)
    found = [mib(content.total - before[0]), mib(stored.total - before[1])]
    expect(f"{path} (MiB of content hashed, of stored bytes)", found, expected)


@pytest.mark.parametrize("path", PATHS)
def test_no_more_is_allocated_than_was(handle, path):
    act, *_, most = PATHS[path]
    found = most_allocated(lambda: act(handle)) / MIB
    assert found <= most, f"{path} allocates {found:.1f} MiB, where {most} were enough"


def mib(count):
    return round(count / MIB, 1)
