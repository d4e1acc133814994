"""Saves per second of small states by several writers in one pipeline, retention 10.

`python -m tests.benchmarks.bench_writers FOLDER SAVES DURABLE` is one process of several.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from checkpointdb import PipelineCheckpoint

from .corpus import pieces
from .figures import Figure, Setting
from .stores import opened

THREADS = (1, 2, 4, 8)
PROCESSES = 4
SAVES = 800


def run(setting: Setting) -> Iterator[Figure]:
    saves = setting.size(SAVES, quick=160)
    with opened(setting) as stores:
        for threads in THREADS:
            store = stores.ours(keep=10)
            begun = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                each = [saves // threads] * threads
                list(pool.map(lambda count, store=store: save_some(store, count), each))
            rate = saves / (time.perf_counter() - begun)
            yield Figure(f"{threads} thread{'s' * (threads > 1)}", rate, "saves/s")
        folder = stores.ours(keep=10).checkpoint_dir
    rate = saves / processes(folder, saves // PROCESSES, setting.durable)
    yield Figure(f"{PROCESSES} processes", rate, "saves/s")


def save_some(store: PipelineCheckpoint, count: int) -> None:
    """Save states of ten keys, 10 KB, of which one changes."""
    state = {str(number): text for number, text in enumerate(pieces(10, 1000))}
    for number in range(count):
        state[str(number % 10)] = f"{number}{state[str(number % 10)][-1000:]}"
        store.save(state)


def processes(folder: Path, count: int, durable: bool) -> float:
    """Return the seconds that processes take, counted from when all are ready."""
    command = [sys.executable, "-m", __name__, str(folder), str(count), str(int(durable))]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for each in started:
        each.stdout.readline()
    begun = time.perf_counter()
    for each in started:
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in started:
        each.stdout.readline()
    spent = time.perf_counter() - begun
    for each in started:
        each.communicate()
        assert each.returncode == 0
    return spent


def main(folder: Path, count: int, durable: bool) -> None:
    with PipelineCheckpoint(folder, durable=durable, retention_count=10) as store:
        pieces(10, 1000)
        print("ready", flush=True)
        sys.stdin.readline()
        save_some(store, count)
        print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1")
