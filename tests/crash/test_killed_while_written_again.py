"""SIGKILL just before system calls of a script that compacts and merges: no state changes.

Calls are sampled; what is rebuilt from the files that are left is compared, too.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from breaking import assert_sound, inject, needs_strace, run, run_well, strace, tags_of
from victims import REWRITTEN

from checkpointdb import PipelineCheckpoint

pytestmark = needs_strace

SAMPLES = {"fsync": 3, "rename": 3, "pwrite64": 3, "unlink": 3}


@pytest.fixture(scope="module")
def store_before(tmp_path_factory):
    directory = tmp_path_factory.mktemp("before") / "store"
    run_well("save_mostly_dead", directory)
    return directory


@pytest.fixture(scope="module")
def calls(store_before, tmp_path_factory):
    """How many calls of each kind the script makes."""
    folder = tmp_path_factory.mktemp("counted")
    shutil.copytree(store_before, folder / "store")
    kinds = ",".join(SAMPLES)
    log = folder / "log"
    lines = run_well("write_again", folder / "store", under=strace(f"-etrace={kinds}", log=log))
    assert lines == ["rewritten 1", "merged True", "merged True"]
    return Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))


def assert_survives(before, directory, syscall, number):
    shutil.copytree(before, directory)
    run("write_again", directory, under=inject(syscall, "signal=SIGKILL", number))
    rebuilt = directory.with_name(f"{directory.name}-rebuilt")
    shutil.copytree(directory, rebuilt, ignore=shutil.ignore_patterns("*.db*"))
    with PipelineCheckpoint(directory) as handle:
        assert tags_of(handle) == REWRITTEN, (syscall, number)
    PipelineCheckpoint.rebuild(rebuilt)
    with PipelineCheckpoint(rebuilt) as handle:
        assert tags_of(handle).items() >= REWRITTEN.items(), (syscall, number)
    assert_sound(directory)


@pytest.mark.parametrize("syscall", SAMPLES)
def test_a_kill_changes_no_state(tmp_path, store_before, calls, syscall):
    count, wanted = calls[syscall], SAMPLES[syscall]
    numbers = sorted({1 + round(i * (count - 1) / (wanted - 1)) for i in range(wanted)})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tried = [
            pool.submit(
                assert_survives, store_before, tmp_path / f"{syscall}-{number}", syscall, number
            )
            for number in numbers
            if count
        ]
        for each in tried:
            each.result()
