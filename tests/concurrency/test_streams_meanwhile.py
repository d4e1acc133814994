"""Streams while something else happens: lost races, forks, threads."""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from breaking import KEEP_ALL

from checkpointdb import PipelineCheckpoint, StreamedValue

MIB = 1 << 20
LONG = random.Random(11).randbytes(3 * MIB)


def assert_sound(directory):
    with PipelineCheckpoint(directory) as handle:
        assert handle.check(read_data=True).problems == ()


def read(handle, checkpoint_id, key="stream"):
    return b"".join(handle.load(checkpoint_id)[key])


def test_a_save_that_lost_a_race_reads_its_streams_again(tmp_path):
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as one, PipelineCheckpoint(tmp_path) as other:
        one.save({"stream": StreamedValue(LONG), "once": StreamedValue(iter([LONG]))}, "base")
        opened = []

        def changed():
            if not opened:
                other.delete_checkpoint("base")
            opened.append(1)
            return iter([LONG, b"more"])

        state = {"stream": StreamedValue(changed), "once": StreamedValue(iter([LONG, b"once"]))}
        one.save(state, "next")
        assert len(opened) > 1
        assert read(one, "next") == LONG + b"more"
        assert read(one, "next", "once") == LONG + b"once"
    assert_sound(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no fork, or not a safe one")
def test_an_open_stream_is_read_on_in_a_child(tmp_path):
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        handle.save({"stream": StreamedValue(LONG)}, "one")
        with handle.load("one")["stream"].open() as stream:
            start = stream.read(10)
            child = os.fork()
            if not child:
                os._exit(0 if start + stream.read() == LONG else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert start + stream.read() == LONG


def test_threads_save_and_read_streams_through_one_handle(tmp_path):
    with PipelineCheckpoint(tmp_path, durable=False, **KEEP_ALL) as handle:
        handle.save({"stream": StreamedValue(LONG)}, "common")
        common = handle.load("common")["stream"]

        def save_and_read(number):
            own = bytes([number]) * 1_000 + LONG
            handle.save({"own": StreamedValue(iter([own])), "common": common}, f"{number}")
            return read(handle, f"{number}", "own") == own and b"".join(common) == LONG

        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(save_and_read, range(6)))
    assert_sound(tmp_path)
