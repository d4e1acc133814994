"""Forgetting the oldest of ten checkpoints with 10 000 keys, of which 3 change per save."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator

from .figures import Figure, Setting, ms, seconds
from .stores import opened

KEYS = 10_000
KEPT = 10
CHANGED = 3
MOST_MS = 5


def run(setting: Setting) -> Iterator[Figure]:
    state = {f"key-{number}": number for number in range(KEYS)}
    spent = []
    with opened(setting) as stores:
        store = stores.ours()
        living: deque[str] = deque()
        for number in range(KEPT + setting.rounds(50)):
            for each in range(CHANGED):
                state[f"key-{(number * CHANGED + each) * 7 % KEYS}"] = KEYS + number
            if len(living) == KEPT:
                oldest = living.popleft()
                spent.append(seconds(lambda oldest=oldest: store.delete_checkpoint(oldest)))
            living.append(store.save(state))
        assert store.load(living[0])["key-0"] is not None
    median = statistics.median(spent)
    yield Figure(
        "forget the oldest of ten, 10 000 keys",
        median * 1000,
        "ms",
        ms(median),
        at_most=MOST_MS,
        samples={"ours": spent},
    )
