"""Any call of an operation fails: the error is ours, what was there is there, the next one works.

Here a sample of the calls of some operations; `make test-faults` takes every one of all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from effort import some

from tests.crash.tracing import AVAILABLE

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="calls are traced on Linux on x86-64")

# Of `make test`. One command for several: it takes as long to start as ten faults.
GROUPS = {
    "saving": ["replace"],
    "loading": ["load a stream"],
    "forgetting": ["prune"],
    "rewriting": ["compact", "re-encrypt"],
    "backups": ["push", "pull"],
}


def assert_nothing_lost(*arguments):
    failing = [sys.executable, Path(__file__).parent]
    done = subprocess.run(
        [*failing, *arguments], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost" in done.stdout
    print(done.stdout)


@pytest.mark.parametrize("operations", GROUPS.values(), ids=GROUPS)
def test_a_call_that_fails_loses_nothing_and_is_told_in_our_words(operations):
    assert_nothing_lost("--calls", str(some(1, long=10)), *operations)


def test_a_file_that_cannot_be_looked_at_is_told_in_our_words():
    operations = ["load", "save", "delete", "create encrypted"]
    kinds = ["--kind", "failed stat", "--kind", "refused stat"]
    assert_nothing_lost(*kinds, "--calls", str(some(4, long=100)), *operations)


def test_a_flush_that_is_refused_is_told_or_done_again():
    """Of our own: what is left out by it, no file system shows."""
    operations = ["save", "export encrypted", "push first"]
    calls = str(some(6, long=100))
    assert_nothing_lost("--kind", "failed flush", "--calls", calls, *operations)
