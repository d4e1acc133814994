"""What a traced process does to files is known, or the trace fails: nothing is missed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tracing import AVAILABLE

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="effects are traced on Linux on x86-64")

# In a process of its own: a trace takes every child that ends for one of its own.
TRACING = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
from tracing import Child

path, libc = sys.argv[2], ctypes.CDLL(None)
file = os.open(path, os.O_RDWR | os.O_CREAT)
for act in sys.argv[3:]:
    child = Child(lambda: eval(act))
    try:
        print([stop.call for stop in child.stops()], child.exit)
    except AssertionError as error:
        print(error)
"""
MISSED = {
    "symlink": "os.symlink('there', path + ' of a link')",
    "truncate": "os.truncate(path, 3)",
    "pwritev2": "os.pwritev(file, [b'a'], 0, os.RWF_DSYNC)",
    "creat": "libc.syscall(85, path.encode(), 0o600)",
    "open": "libc.syscall(2, path.encode(), os.O_WRONLY | os.O_CREAT, 0o600)",
    "openat2": "libc.syscall(437, -100, path.encode(), 0, 24)",
    "ioctl": "libc.ioctl(file, 0x40049409, file)",  # FICLONE
    "io_uring_setup": "libc.syscall(425, 1, 0)",
}


def traced(tmp_path, *acts):
    command = [sys.executable, "-c", TRACING, Path(__file__).parent, tmp_path / "file", *acts]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_call_whose_effect_would_be_missed_ends_the_trace(tmp_path):
    found = traced(tmp_path, *MISSED.values())
    assert found == [f"an effect that is not known: {call}" for call in MISSED]


def test_calls_without_an_effect_are_let_through_and_the_others_seen(tmp_path):
    assert traced(tmp_path, "os.isatty(file), os.write(file, b'a'), os.fsync(file)") == [
        "['write', 'fsync'] 0"
    ]
