"""What `test_counts_of_calls.py` runs under strace: paths, each after a call that marks it.

python traced.py DIRECTORY durable|not-durable
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from checkpointdb import KeepNewest, PipelineCheckpoint

VALUES = {f"key {number}": f"value {number} " * 2_000 for number in range(10)}


def state(number: int) -> dict[str, object]:
    return {**VALUES, "key 3": f"changed {number} " * 2_000}


PATHS = {
    "save": lambda handle: handle.save(state(10), "s10"),
    "save unchanged": lambda handle: handle.save(state(10), "s11"),
    "replace": lambda handle: handle.save(state(12), "s11"),
    "full": lambda handle: handle.save(state(13), "s13", force_full=True),
    "background": lambda handle: handle.save(state(14), "s14", wait=False).result(),
    "load": lambda handle: handle.load("s14"),
    "load one key": lambda handle: handle.load("s14", keys=["key 1"]),
    "latest": lambda handle: handle.load_latest(),
    "list": lambda handle: handle.list_checkpoints(),
    "delete": lambda handle: handle.delete_checkpoint("s13"),
    "pin": lambda handle: handle.pin("s14"),
}


def await_errands(handle: PipelineCheckpoint) -> None:
    """Wait until the other thread has unlinked what a save freed."""
    done = threading.Event()
    handle._engine.pool.send(done.set)
    done.wait()


def mark(name: str) -> None:
    with suppress(FileNotFoundError):
        os.open(f"/mark/{name}", os.O_RDONLY)


def main() -> None:
    directory, durable = sys.argv[1:]
    policy = KeepNewest(3)
    with PipelineCheckpoint(
        Path(directory), retention_policy=policy, durable=durable == "durable"
    ) as handle:
        for number in range(10):
            handle.save(state(number), f"s{number}")
            handle.load(f"s{number}")
        handle.load_latest()
        handle.list_checkpoints()
        handle.save(state(9), "s9", wait=False).result()
        for name, act in PATHS.items():
            mark(name)
            act(handle)
            await_errands(handle)
            mark("between")


if __name__ == "__main__":
    main()
