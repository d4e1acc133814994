"""A float array: 50 MB of random normal numbers, saved, changed by 1 % at one place, loaded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .figures import Figure, Setting, faster, race
from .stores import opened

COUNT = 50_000_000 // 8
FASTEST = 1  # of gzip's levels

State = dict[str, np.ndarray]


def run(setting: Setting) -> Iterator[Figure]:
    source = np.random.default_rng(0)
    state: State = {"weights": source.standard_normal(COUNT)}

    def changed(number: int) -> State:
        nonlocal state
        weights = state["weights"].copy()
        start = number * 17 % 100 * (COUNT // 100)
        weights[start : start + COUNT // 100] = source.standard_normal(COUNT // 100)
        state = {"weights": weights}
        return state

    with opened(setting) as stores:
        ours, naive = stores.ours(), stores.naive()
        fastest = stores.naive(FASTEST)
        ours.save(state, "full")
        fulls = race(
            setting.rounds(5),
            lambda _: state,
            ours=lambda given: ours.save(given, force_full=True),
            naive=lambda given: naive.save(given, force_full=True),
            fastest=lambda given: fastest.save(given, force_full=True),
        )
        loads = race(
            setting.rounds(10),
            lambda _: None,
            ours=lambda _: ours.load("full"),
            naive=lambda _: naive.load(),
        )
        deltas = race(
            setting.rounds(5),
            changed,
            ours=lambda given: ours.save(given),
            naive=lambda given: naive.save(given),
        )
        assert np.array_equal(ours.load_latest()[1]["weights"], state["weights"])
    yield faster("full, 50 MB", fulls, at_least=15)
    yield faster(f"the same, naive at gzip -{FASTEST}", fulls, other="fastest")
    yield faster("1 % changed", deltas, at_least=60)
    yield faster("loads", loads, at_least=3)
