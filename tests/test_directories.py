"""What directories and files are made and flushed by, and what their errors say."""

from __future__ import annotations

import errno
import gc
import itertools
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


@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger or coverage traces already")
def test_a_room_that_is_interrupted_at_any_line_is_removed(tmp_path):
    made = directories.room_in.__wrapped__
    for line in itertools.count(1):
        lines = itertools.count(1)

        def trace(frame, event, _, lines=lines, line=line):
            if frame.f_code is not made.__code__:
                return None
            if event == "line" and next(lines) == line:
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            with directories.room_in(tmp_path, "room-"):
                pass
        except KeyboardInterrupt:
            continue
        else:
            break
        finally:
            sys.settrace(None)
            gc.collect()
            assert list(tmp_path.iterdir()) == [] or line > 3  # while it is removed
    assert line > 3
