"""Run one contestant through one workload, in a process of its own; print what it took as JSON."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..figures import seconds, stored
from .contestants import CONTESTANTS, State
from .made_of import made_of
from .pictures import OURS
from .workloads import WORKLOADS

_LOADS = 5
_AT_REST_SECONDS = 0.001
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def main(workload: str, contestant: str, folder: str, most_steps: str) -> None:
    with tempfile.TemporaryDirectory(prefix=f"{workload}-", dir=folder) as own:
        print(json.dumps(measured(workload, contestant, Path(own), int(most_steps))))


def measured(workload: str, contestant: str, folder: Path, most_steps: int) -> dict[str, Any]:
    store = CONTESTANTS[contestant](folder)
    saves, peaks = [], []
    state: State = {}
    step = -1
    for step, state in enumerate(islice(WORKLOADS[workload](), most_steps)):
        settle()
        spent, peak = with_peak(partial(store.save, step, state))
        saves.append(spent)
        peaks.append(peak)
    key = list(state)[len(state) // 2]
    check_same(store.load(step), state)
    check_same({key: store.load_key(step, key)}, {key: state[key]})
    settle()
    loads = [seconds(lambda: store.load(step)) for _ in range(_LOADS)]
    keys = [seconds(lambda: store.load_key(step, key)) for _ in range(_LOADS)]
    _, load_peak = with_peak(lambda: store.load(step))
    store.close()
    parts = {"made_of": made_of(folder)} if contestant == OURS else {}
    return {
        **parts,
        "steps": len(saves),
        "save_seconds": sum(saves),
        "first_save_seconds": saves[0],
        "load_seconds": statistics.median(loads),
        "key_seconds": statistics.median(keys),
        "stored_bytes": stored(folder),
        "save_peak_bytes": max(peaks),
        "load_peak_bytes": load_peak,
    }


def settle() -> None:
    """Collect the garbage that others made, and wait until no other thread runs.

    One collection of all that the imports made takes longer than many a save, and would be charged
    to that during which it happens to be due. Threads that trained a model spin on for a while.
    """
    gc.collect()
    spent = _AT_REST_SECONDS
    while spent >= _AT_REST_SECONDS:
        before = time.process_time()
        time.sleep(5 * _AT_REST_SECONDS)
        spent = time.process_time() - before


def with_peak(action: Callable[[], object]) -> tuple[float, int]:
    """Return the seconds of an action and the memory that it took at most, beyond what was held.

    0 where the system does not tell (/proc is Linux's).
    """
    if not _RESET.exists():
        return seconds(action), 0
    _RESET.write_text("5")  # the high-water mark begins anew: man proc
    held = _kilobytes("VmRSS")
    spent = seconds(action)
    return spent, max(0, _kilobytes("VmHWM") - held) << 10


def _kilobytes(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def check_same(loaded: State, saved: State) -> None:
    """Raise AssertionError unless a state came back as it was saved."""
    assert list(loaded) == list(saved)
    for key, value in saved.items():
        assert is_same(loaded[key], value), f"{key} came back different"


def is_same(one: Any, other: Any) -> bool:
    if isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if hasattr(other, "equals"):
        return bool(one.equals(other))
    if hasattr(other, "predict"):
        inputs = np.random.default_rng(0).random((50, other.n_features_in_))
        return np.array_equal(one.predict_proba(inputs), other.predict_proba(inputs))
    return bool(one == other)


if __name__ == "__main__":
    main(*sys.argv[1:])
