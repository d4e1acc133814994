"""Counts what hot paths ask of the system: each comes after a call that marks it.

python traced.py DIRECTORY durable|not-durable|encrypted
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "crash"))

from counting import await_errands
from effects import files_of
from tracing import AVAILABLE, CALLS, Child

from checkpointdb import KeepNewest, PipelineCheckpoint, generate_encryption_key

__all__ = ["AVAILABLE", "PATHS"]

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


def mark(name: str) -> None:
    with suppress(FileNotFoundError):
        os.open(f"{MARKS}/{name}", os.O_RDONLY)


STORES: dict[str, dict[str, Any]] = {
    "durable": {},
    "not-durable": {"durable": False},
    "encrypted": {"encryption_key": generate_encryption_key(), "enable_encryption": True},
}


def act(directory: Path, kind: str) -> None:
    with PipelineCheckpoint(directory, retention_policy=KeepNewest(3), **STORES[kind]) as handle:
        for number in range(10):
            handle.save(state(number), f"s{number}")
            handle.load(f"s{number}")
        handle.load_latest()
        handle.list_checkpoints()
        handle.save(state(9), "s9", wait=False).result()
        for name, path in PATHS.items():
            mark(name)
            path(handle)
            await_errands(handle)
            mark("between")


# --- counted

MARKS = "/mark"
COUNTED = {
    "fsync",
    "fdatasync",
    "openat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
}
_KINDS = {
    "new payload": r"/payloads/incoming/\w+\.tmp$",
    "payload": r"/payloads/p-[^/]+/[^/]+\.ckpt\.gz$",
    "directory": r"/payloads/[\w-]+$",
    "log": r"checkpoints\.db-wal$",
    "index": r"checkpoints\.db-shm$",
    "database": r"checkpoints\.db$",
}


def counted(directory: Path, kind: str) -> dict[str, Counter[str]]:
    """For each path the calls that it makes, and what they are about: `fsync payload`."""
    found: dict[str, Counter[str]] = {}
    current: Counter[str] = Counter()
    calls = {number: name for number, name in CALLS.items() if name in COUNTED}
    child = Child(lambda: act(directory, kind), calls)
    for stop in child.stops():
        files = files_of(stop)
        if str(files[0].parent) == MARKS:
            current = found[files[0].name] = Counter()
        elif about := _about(files):
            # Flushed by another thread, a payload may have its name already.
            about = about.removeprefix("new ") if stop.call == "fsync" else about
            current[f"{stop.call} {about}"] += 1
    assert child.exit == 0, f"it ended with {child.exit}"
    return found


def _about(files: list[Path]) -> str | None:
    return next(
        (
            kind
            for kind, pattern in _KINDS.items()
            if any(re.search(pattern, str(each)) for each in files)
        ),
        None,
    )


if __name__ == "__main__":
    print(json.dumps(counted(Path(sys.argv[1]), sys.argv[2])))
