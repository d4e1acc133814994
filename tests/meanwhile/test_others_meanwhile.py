"""Another that does something whole in the middle of an operation: here a sample of both.

`python tests/meanwhile` takes all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from effort import some

PAIRS = [
    ("create elsewhere", "the same"),
    ("replace", "prune"),
    ("merge encrypted", "push"),
    ("pull", "the same"),
    ("upgrade of the oldest", "save"),
]


@pytest.mark.parametrize(("operation", "other"), PAIRS, ids=[f"{a}-{b}" for a, b in PAIRS])
def test_what_another_does_in_the_middle_of_an_operation_leaves_both_right(operation, other):
    command = [sys.executable, Path(__file__).parent, "--points", str(some(5, long=60))]
    done = subprocess.run(
        [*command, "--other", other, operation],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "both were right" in done.stdout
