"""The same pipeline without interruption, with the checkpoints people write by hand:
`gzip.compress(pickle.dumps(state))`, one file per stage.
"""

from __future__ import annotations

import gzip
import pickle
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from .stages import STAGES, Item, State, advance, digest

# As the command `gzip` does. Python's own default, 9, would take some six times as long here
# and store 1 % less.
LEVEL = 6


@dataclass(frozen=True, slots=True)
class NaiveRun:
    """What the uninterrupted run came to, and what its files cost."""

    digest: str
    stored_bytes: int
    save_seconds: float
    load_seconds: float


def run(directory: Path, began: Callable[[int], None]) -> NaiveRun:
    """Run all stages in this process; `began` is told the number of each."""
    directory.mkdir(parents=True)
    state: State = {}
    spent = 0.0
    for number in range(1, len(STAGES) + 1):
        began(number)
        state = advance(state, number, _silently)
        start = time.perf_counter()
        _path(directory, number).write_bytes(gzip.compress(pickle.dumps(state), LEVEL))
        spent += time.perf_counter() - start
    start = time.perf_counter()
    pickle.loads(gzip.decompress(_path(directory, len(STAGES)).read_bytes()))
    loading = time.perf_counter() - start
    stored = sum(path.stat().st_size for path in directory.iterdir())
    return NaiveRun(digest(state), stored, spent, loading)


def _path(directory: Path, number: int) -> Path:
    return directory / f"stage_{number}.pickle.gz"


def _silently(items: Collection[Item], /) -> Iterator[Item]:
    return iter(items)
