"""The naive way, which people write first: a gzipped pickle per checkpoint.

Key-level deltas by `!=`; a load reads the last full and every delta behind it. What it compares
with it keeps in memory. No hash is checked, no index is written.
"""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

LEVEL = 9  # the default of gzip.compress


class Naive:
    def __init__(self, folder: Path, *, durable: bool, level: int = LEVEL) -> None:
        self.folder, self.durable, self.level = folder, durable, level
        self.before: dict[str, Any] = {}
        self.full = self.newest = -1

    def save(self, state: dict[str, Any], force_full: bool = False) -> int:
        self.newest += 1
        if force_full or self.full < 0:
            self.full, self.before = self.newest, {}
        old = self.before
        changed = {k: v for k, v in state.items() if k not in old or differ(v, old[k])}
        removed = [key for key in old if key not in state]
        data = gzip.compress(pickle.dumps((changed, removed)), self.level)
        write(self.folder / f"{self.newest}.pickle.gz", data, durable=self.durable)
        self.before = dict(state)
        return self.newest

    def load(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for number in range(self.full, self.newest + 1):
            data = (self.folder / f"{number}.pickle.gz").read_bytes()
            changed, removed = pickle.loads(gzip.decompress(data))
            state = {key: value for key, value in state.items() if key not in removed} | changed
        return state


def differ(new: Any, old: Any) -> bool:
    if isinstance(new, np.ndarray):
        return not np.array_equal(new, old)
    return bool(new != old)


def write(path: Path, data: bytes, *, durable: bool) -> None:
    """Write a file that is there wholly or not at all; durable: it survives a power loss."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        descriptor = os.open(path.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
