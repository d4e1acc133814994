"""Peak memory beyond the state, while an array of 500 MB is saved and loaded.

Each measurement is a process of its own: the resident set's high-water mark during the call,
less what was resident before it (for a load also less the state that it returns).
`python -m tests.benchmarks.bench_memory WHO WHAT FOLDER MEGABYTES` is such a process.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from checkpointdb import PipelineCheckpoint

from .figures import Figure, Setting
from .naive import Naive

MB = 1_000_000
MOST_MB = 64


def run(setting: Setting) -> Iterator[Figure]:
    megabytes = setting.size(500, quick=100)
    folders = {who: setting.new_folder(who) for who in ("ours", "naive")}
    for what in ("save", "load"):
        beyond = {
            who: measured(who, what, folder, megabytes)
            for who, folder in folders.items()
            if who == "ours" or not setting.quick
        }
        yield Figure(
            f"{what} of a {megabytes} MB array, beyond it",
            beyond["ours"],
            "MB",
            f"{beyond['ours']:.0f} MB",
            f"{beyond['naive']:.0f} MB" if "naive" in beyond else "",
            at_most=MOST_MB if what == "save" else None,
        )


def measured(who: str, what: str, folder: Path, megabytes: int) -> float:
    command = [sys.executable, "-m", __name__, who, what, str(folder), str(megabytes)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(who: str, what: str, folder: Path, megabytes: int) -> None:
    """Print the peak of one call in MB."""
    if who == "ours":
        store = PipelineCheckpoint(folder)
        save, load = lambda state: store.save(state, "one"), lambda: store.load("one")
    else:
        naive = Naive(folder, durable=True)
        naive.full = naive.newest = 0 if what == "load" else -1
        save, load = naive.save, naive.load
    if what == "save":
        state = {"array": np.random.default_rng(0).standard_normal(megabytes * MB // 8)}
        print(peak_beyond(lambda: save(state)) / MB)
    else:
        print(peak_beyond(load) / MB - megabytes)


def peak_beyond(call: Callable[[], object]) -> int:
    """Return how many bytes the resident set grew at most during a call."""
    before = resident("VmRSS")
    forget_peak()
    kept = call()
    grown = resident("VmHWM") - before
    del kept
    return grown


def resident(name: str) -> int:
    """Return a figure of this process's memory in bytes; without /proc the peak so far."""
    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def forget_peak() -> None:
    """Begin the high-water mark anew, where the kernel can."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
