"""A process killed, or the power cut, at any effect of an operation: the state before or after.

Here a sample of the effects of most operations; `make test-crashes` takes every one of all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from effort import LONG, some
from further import EVERY, FURTHER
from sealed import SEALED
from tracing import AVAILABLE

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="effects are traced on Linux on x86-64")


# Of these, `make test` takes a few: each of them takes as long as a hundred other tests.
FEW = (
    "prune a remote",
    "remove a key",
    "save a stream",
    "save to a file",
    "import by command",
    "rebuild",
    "rebuild elsewhere",
)


@pytest.mark.parametrize(
    "operation",
    [name for name in EVERY if LONG or name not in {*FURTHER, *SEALED} or name in FEW],
    ids=lambda name: name.replace(" ", "-"),
)
def test_what_is_stopped_anywhere_leaves_the_state_before_or_after(operation):
    kills, cuts = str(some(5, long=50)), str(some(2, long=50))
    command = [sys.executable, Path(__file__).parent, "--kills", kills, "--cuts", cuts]
    done = subprocess.run(
        [*command, operation], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost" in done.stdout
