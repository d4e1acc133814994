"""SIGKILL just before system calls of a script that saves, and adds, removes and replaces keys.

Afterwards the keys that open the store are those before or after the step under way (or, within a
rotation, both), and with them every acknowledged save is loaded. Calls are sampled.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from breaking import HARMLESS, inject, needs_strace, run, run_well, strace, tag_of
from effort import some
from victims import KEY_SCRIPT, KEYS, keys_after

from checkpointdb import EncryptionError, PipelineCheckpoint

pytestmark = needs_strace

SAMPLES = {
    "fsync": some(3, long=6),
    "fdatasync": some(2, long=5),
    "rename": some(3, long=6),
    "pwrite64": some(3, long=8),
    "openat": some(2, long=3),
    "write": some(2, long=5),
}


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """How many calls of each kind the script makes."""
    folder = tmp_path_factory.mktemp("counted")
    kinds = ",".join(SAMPLES)
    run_well("change_keys", folder / "store", under=strace(f"-etrace={kinds}", log=folder / "log"))
    return Counter(re.findall(r"^\d+ +(\w+)\(", (folder / "log").read_text(), re.MULTILINE))


def saves_after(steps):
    """What is acknowledged after so many steps: id to tag."""
    done = enumerate(KEY_SCRIPT[:steps])
    return {which: str(number) for number, (what, which) in done if what == "save"}


def opening(directory):
    """The numbers of the keys that open a store."""
    found = set()
    for number, key in enumerate(KEYS):
        try:
            PipelineCheckpoint(directory, key, enable_encryption=True).close()
        except EncryptionError:
            continue
        found.add(number)
    return found


def assert_survives(directory, syscall, number):
    lines = run("change_keys", directory, under=inject(syscall, "signal=SIGKILL", number))
    done = len(lines)
    where = f"killed at {syscall} {number}, after step {done} of {len(KEY_SCRIPT)}"
    assert lines == [f"done {step}" for step in range(done)], where
    if done == 0 and not (directory / "keyring.json").exists():
        return  # nothing was acknowledged, and the next opening makes the store
    before, after = keys_after(done), keys_after(done + 1)
    found = opening(directory)
    assert found in (before, after, before | after), (where, found)
    key = KEYS[min(found)]
    with PipelineCheckpoint(directory, key, enable_encryption=True) as handle:
        tags = {
            each.checkpoint_id: tag_of(handle.load(each.checkpoint_id))
            for each in handle.list_checkpoints()
        }
        assert tags in (saves_after(done), saves_after(done + 1)), where
        problems = handle.check(read_data=True).problems
        assert {each.kind for each in problems} <= HARMLESS, (where, problems)
        handle.rotate_key(KEYS[min(set(range(len(KEYS))) - found)])
        handle.save({"tag": 1}, "next")


@pytest.mark.parametrize("syscall", SAMPLES)
def test_a_kill_leaves_the_keys_before_or_after_and_every_save(tmp_path, calls, syscall):
    count, wanted = calls[syscall], SAMPLES[syscall]
    numbers = sorted({1 + round(i * (count - 1) / (wanted - 1)) for i in range(wanted)})
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tried = [
            pool.submit(assert_survives, tmp_path / f"{syscall}-{number}", syscall, number)
            for number in numbers
            if count
        ]
        for each in tried:
            each.result()
