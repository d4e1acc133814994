"""Streams of a store whose payloads are objects."""

from __future__ import annotations

import random

import pytest

from checkpointdb import NotFoundError, StreamedValue

LONG = random.Random(12).randbytes(4 << 20)


def test_streams_go_to_the_bucket_and_come_back(placed, tmp_path):
    handle = placed()
    handle.save({"stream": StreamedValue(iter([LONG, b"end"]))}, "one")
    value = handle.load("one")["stream"]
    with value.open() as stream:
        stream.seek(3 << 20)
        assert stream.read(9) == LONG[3 << 20 :][:9]
    assert value.save_to(tmp_path / "out") == len(LONG) + 3
    assert (tmp_path / "out").read_bytes() == LONG + b"end"
    handle.merge("one")
    handle.delete_checkpoint("one")
    with pytest.raises(NotFoundError):
        value.open()
