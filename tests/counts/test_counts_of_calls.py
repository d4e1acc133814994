"""How often each hot path flushes, opens, renames and unlinks, and what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from counting import expect
from traced import AVAILABLE, PATHS

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="calls are traced on Linux on x86-64 alone")

FILED = {"openat new payload": 1, "rename new payload": 1, "unlink payload": 1}
FLUSHED = {"fsync payload": 1, "openat directory": 1, "fsync directory": 1, "fdatasync log": 1}
EXPECTED = {
    "save": {**FILED, **FLUSHED},
    "save unchanged": {**FILED, **FLUSHED},
    "replace": {**FILED, **FLUSHED},
    "full": {**FILED, **FLUSHED, "unlink payload": 2},
    "background": {**FILED, **FLUSHED},
    "load": {"openat payload": 2},
    "load one key": {"openat payload": 1},
    "latest": {"openat payload": 2},
    "list": {},
    "delete": {"fdatasync log": 1},
    "pin": {"fdatasync log": 1},
}


def counted(directory, kind):
    program = Path(__file__).with_name("traced.py")
    done = subprocess.run(
        [sys.executable, program, directory / "store", kind],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["durable", "encrypted"])
def test_a_path_of_a_durable_store_flushes_opens_and_unlinks_what_it_did(tmp_path, kind):
    found = counted(tmp_path, kind)
    for path in PATHS:
        expect(path, found[path], EXPECTED[path])


def test_a_store_that_is_not_durable_flushes_nothing_and_does_the_same_else(tmp_path):
    found = counted(tmp_path, "not-durable")
    for path in PATHS:
        kept = {call: count for call, count in EXPECTED[path].items() if call not in FLUSHED}
        expect(f"{path}, not durable,", found[path], kept)
