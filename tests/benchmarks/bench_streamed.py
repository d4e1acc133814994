"""A file of 4 GB saved and loaded as a stream: peak memory, and MB/s beside cp and fsync.

Each measurement is a process of its own, as in `bench_memory`; the file holds random bytes, half
of them twice in a row, so that a part of it shrinks.
`python -m tests.benchmarks.bench_streamed WHAT FOLDER FILE` is such a process.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from checkpointdb import PipelineCheckpoint, StreamedValue

from .bench_memory import peak_beyond
from .figures import Figure, Setting

MB = 1_000_000
MOST_MB = 100


def run(setting: Setting) -> Iterator[Figure]:
    megabytes = setting.size(4_000, quick=200)
    folder = setting.new_folder("ours")
    file = folder.parent / "large"
    write(file, megabytes)
    for what in ("save", "load"):
        peak, seconds = measured(what, folder, file)
        copying = copied(file, folder.parent / "copy")
        yield Figure(
            f"{what} of a {megabytes} MB stream: memory",
            peak,
            "MB",
            f"{peak:.0f} MB",
            at_most=MOST_MB,
        )
        yield Figure(
            f"{what} of a {megabytes} MB stream: speed",
            megabytes / seconds,
            "MB/s",
            f"{megabytes / seconds:.0f} MB/s",
            f"cp and fsync {megabytes / copying:.0f} MB/s",
        )


def write(file: Path, megabytes: int) -> None:
    bytes_of = random.Random(0).randbytes
    with file.open("wb") as out:
        for number in range(megabytes):
            block = bytes_of(MB // 2)
            out.write(block + (block if number % 2 else bytes_of(MB // 2)))
        os.fsync(out.fileno())


def copied(file: Path, target: Path) -> float:
    begun = time.perf_counter()
    shutil.copyfile(file, target)
    with target.open("rb") as copy:
        os.fsync(copy.fileno())
    seconds = time.perf_counter() - begun
    target.unlink()
    return seconds


def measured(what: str, folder: Path, file: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", __name__, what, str(folder), str(file)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peak, seconds = map(float, out.split())
    return peak, seconds


def main(what: str, folder: Path, file: Path) -> None:
    """Print the peak of one call in MB, and its seconds."""
    store = PipelineCheckpoint(folder)
    out = folder.parent / "out"

    def call() -> object:
        if what == "save":
            return store.save({"large": StreamedValue(file)}, "one")
        return store.load("one")["large"].save_to(out, overwrite=True)

    begun = time.perf_counter()
    peak = peak_beyond(call)
    print(peak / MB, time.perf_counter() - begun)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
