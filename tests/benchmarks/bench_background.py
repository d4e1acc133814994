"""Saves that nobody waits for: how much of a save's time the caller still waits."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import numpy as np

from .corpus import documents
from .figures import Figure, Setting, seconds
from .stores import opened

COUNT = 50_000_000 // 8


def run(setting: Setting) -> Iterator[Figure]:
    source = np.random.default_rng(0)
    weights = source.standard_normal(COUNT)
    texts = list(documents(8_000_000).values())

    def changed_array() -> dict[str, object]:
        weights[source.integers(COUNT)] = 0
        return {"weights": weights}

    def new_array() -> dict[str, object]:
        weights[:] = source.standard_normal(COUNT)
        return {"weights": weights}

    def changed_texts() -> dict[str, object]:
        texts[int(source.integers(len(texts)))] = f"edited {source.random()}"
        return {"documents": texts}

    yield compared(setting, "50 MB array, all new", new_array)
    yield compared(setting, "50 MB array, 1 number changed", changed_array)
    yield compared(setting, "8 MB of text, 1 document edited", changed_texts)


def compared(setting: Setting, what: str, change: Callable[[], dict[str, object]]) -> Figure:
    """Save by turns: waiting, and not; in between the line is empty."""
    waited: list[float] = []
    captured: list[float] = []
    with opened(setting) as stores:
        ours = stores.ours()
        ours.save(change())
        for _ in range(setting.rounds(5)):
            state = change()
            waited.append(seconds(lambda given=state: ours.save(given)))
            state = change()
            captured.append(seconds(lambda given=state: ours.save(given, wait=False)))
            ours.save(change(), wait=False).result()
    whole, rest = statistics.median(waited), statistics.median(captured)
    return Figure(
        what,
        100 * rest / whole,
        "% waited",
        f"{1000 * rest:,.1f} ms",
        f"{1000 * whole:,.1f} ms: save that waits",
        samples={"ours": captured, "other": waited},
    )
