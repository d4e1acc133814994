"""A process that ends by `os._exit` in the middle of an operation: the state before or after.

Here a sample of the steps of each; `make test-long` takes every one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from effort import LONG
from exits import ENDING

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="it needs a process to end")


@pytest.mark.timeout(1_200 if LONG else 300)
def test_what_ends_itself_anywhere_leaves_the_state_before_or_after():
    sample = [] if LONG else ["--kills", "2"]
    command = [sys.executable, Path(__file__).parent, "--exits", *sample]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    tried = re.findall(r"^([\w-]+) +(\d+) exits, of (\d+) steps$", done.stdout, re.MULTILINE)
    assert [name for name, _, _ in tried] == list(ENDING)
    for name, exits, steps in tried:
        wanted = int(steps) * 9 // 10 if LONG else 2
        assert int(exits) >= wanted, f"{name} was ended {exits} times of {wanted}"
