"""One operation, stopped everywhere by kills and by power cuts."""

from __future__ import annotations

import os
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy  # noqa: F401 - before the forks, each of which would import it
from further import EVERY
from kills import Kills, killed_everywhere
from operations import Operation
from power_cuts import cut_everywhere


def stopped_everywhere(
    name: str, *, most_kills: int | None, most_cuts: int | None
) -> tuple[Kills, int, str | None]:
    """Return the kills, how many disks were tried, and what was wrong."""
    operation = EVERY[name]
    try:
        warm_up(operation)
        disks = 0 if most_cuts == 0 else cut_everywhere(operation, most_cuts)
        kills = Kills(0, 0) if most_kills == 0 else killed_everywhere(operation, most_kills)
    except AssertionError as error:
        return Kills(0, 0), 0, str(error)
    return kills, disks, None


def fresh_processes() -> ProcessPoolExecutor:
    """A pool of which each process does one piece of work.

    Spawned, since what is forked from a process with threads may hang; and new ones, since what
    has grown to a gigabyte forks slowly.
    """
    return ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("spawn"), max_tasks_per_child=1
    )


def warm_up(operation: Operation) -> None:
    """Do it once in this process: what that imports and compiles, no fork does again."""
    with tempfile.TemporaryDirectory() as name:
        operation.prepare(Path(name))
        operation.act(Path(name), lambda: None)
        operation.look(Path(name))
        operation.go_on(Path(name))
    assert threading.active_count() == 1, "a fork of a process with threads may hang"
