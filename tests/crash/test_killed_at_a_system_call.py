"""SIGKILL just before each system call of a script of saves, replaces, deletes and retention.

What is found afterwards must be the script's state before or after the step under way. By
default a sample of the calls of each kind; with `-m slow` every one.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from breaking import assert_sound, inject, needs_strace, run, run_well, strace, tags_of
from effort import some
from victims import SCRIPT, expected_after

from checkpointdb import PipelineCheckpoint

pytestmark = needs_strace

# How many calls of a kind are tried; a name stands for what the machine calls it.
SAMPLES = {
    "fsync": some(4, long=6),
    "fdatasync": some(4, long=7),
    "rename": 4,
    "unlink": some(3, long=5),
    "pwrite64": some(5, long=8),
    "write": 3,
    "writev": some(3, long=5),
    "ftruncate": 2,
    "mkdir": 2,
}


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """How many calls of each kind the script makes."""
    folder = tmp_path_factory.mktemp("counted")
    kinds = ",".join(SAMPLES)
    run_well(
        "save_and_forget", folder / "store", under=strace(f"-etrace={kinds}", log=folder / "log")
    )
    return Counter(re.findall(r"^\d+ +(\w+)\(", (folder / "log").read_text(), re.MULTILINE))


def sample(count, wanted):
    """Numbers from 1 to `count`, evenly, both ends among them."""
    if count <= wanted:
        return list(range(1, count + 1))
    return sorted({1 + round(i * (count - 1) / (wanted - 1)) for i in range(wanted)})


def assert_survives(directory, syscall, number):
    lines = run("save_and_forget", directory, under=inject(syscall, "signal=SIGKILL", number))
    done = len(lines)
    where = f"killed at {syscall} {number}, after step {done} of {len(SCRIPT)}"
    assert lines == [f"done {step}" for step in range(done)], where
    with PipelineCheckpoint(directory) as handle:
        found = tags_of(handle)
    assert found in (expected_after(done), expected_after(done + 1)), where
    try:
        assert_sound(directory)
    except AssertionError as error:
        raise AssertionError(where) from error


def assert_survives_each(tmp_path, syscall, numbers):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tried = [
            pool.submit(assert_survives, tmp_path / f"{syscall}-{number}", syscall, number)
            for number in numbers
        ]
        for each in tried:
            each.result()


@pytest.mark.parametrize("syscall", SAMPLES)
def test_a_kill_at_a_sample_of_system_calls_leaves_the_state_before_or_after(
    tmp_path, calls, syscall
):
    assert_survives_each(tmp_path, syscall, sample(calls[syscall], SAMPLES[syscall]))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    not os.environ.get("CHECKPOINTDB_ALL_CRASHES"),
    reason="it takes minutes: set CHECKPOINTDB_ALL_CRASHES",
)
@pytest.mark.parametrize("syscall", SAMPLES)
def test_a_kill_at_every_system_call_leaves_the_state_before_or_after(tmp_path, calls, syscall):
    assert_survives_each(tmp_path, syscall, range(1, calls[syscall] + 1))
