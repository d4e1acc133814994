"""What directories and files are made and flushed by, and what their errors say."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from checkpointdb import directories


def full(descriptor, *_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def refused(monkeypatch):
    """A flush fails; the system's error of it says no file."""
    if sys.platform == "darwin":
        monkeypatch.setattr("fcntl.fcntl", full)
    else:
        monkeypatch.setattr(os, "fsync", full)


@pytest.mark.skipif(os.name == "nt", reason="Windows flushes no directories")
def test_a_directory_that_cannot_be_flushed_is_named(refused, tmp_path):
    with pytest.raises(OSError, match=r"No space") as caught:
        directories.make_directories(tmp_path / "above" / "store", durable=True)
    assert caught.value.filename == str(tmp_path)


def test_a_small_file_that_cannot_be_flushed_is_named_and_leaves_nothing(refused, tmp_path):
    with pytest.raises(OSError, match=r"No space") as caught:
        directories.write_private(tmp_path / "key", b"a key", is_new=True)
    assert caught.value.filename == str(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
