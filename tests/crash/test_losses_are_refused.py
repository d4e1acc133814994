"""What was acknowledged and never done gets no good verdict, of whatever operation.

By default of those that change nothing that a load shows: what they are for has to be looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from effort import LONG
from further import EVERY
from maintenance import UPKEEP

UNSEEN = [*UPKEEP, "prune a remote"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a verdict is given in a forked process")
def test_what_is_acknowledged_and_lost_is_refused():
    names = [] if LONG else UNSEEN
    command = [sys.executable, Path(__file__).parent, "--losses", *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    count = len(names or EVERY)
    assert done.stdout == f"{count} of {count} losses are refused\n"
