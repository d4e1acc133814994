"""An encrypted store beside one in the clear: the same saves and loads, by the same code.

Three states: 10 MB of text, 50 MB of random floats (both saved whole each round), and ten small
keys of which one changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from checkpointdb import PipelineCheckpoint, generate_encryption_key

from .corpus import documents, pieces
from .figures import Figure, Setting, costlier, race, size, stored
from .stores import Stores, opened

TEXT_BYTES = 10_000_000
COUNT = 50_000_000 // 8
SMALL_BYTES = 1000

State = dict[str, Any]


def run(setting: Setting) -> Iterator[Figure]:
    text = {"text": "".join(documents(TEXT_BYTES).values())}
    array = {"weights": np.random.default_rng(0).standard_normal(COUNT)}
    small = dict(enumerate(pieces(10, SMALL_BYTES)))

    def changed(number: int) -> State:
        small[number % 10] = f"{number} {small[number % 10]}"[:SMALL_BYTES]
        return {str(key): value for key, value in small.items()}

    yield from compared(setting, "text, 10 MB", 10, lambda _: text, is_full=True)
    yield from compared(setting, "array, 50 MB", 7, lambda _: array, is_full=True)
    yield from compared(setting, "1 of 10 small keys", 300, changed, is_full=False)


def compared(
    setting: Setting, what: str, rounds: int, change: Callable[[int], State], *, is_full: bool
) -> Iterator[Figure]:
    with opened(setting) as stores:
        clear, sealed = stores.ours(), _sealed(stores)
        saves = race(
            setting.rounds(rounds),
            change,
            warm_up=2,
            ours=lambda given: sealed.save(given, force_full=is_full),
            clear=lambda given: clear.save(given, force_full=is_full),
        )
        loads = race(
            setting.rounds(rounds),
            lambda _: None,
            ours=lambda _: sealed.load_latest(),
            clear=lambda _: clear.load_latest(),
        )
        ours, theirs = (stored(each.checkpoint_dir / "payloads") for each in (sealed, clear))
    yield costlier(f"{what}, save", saves, "clear", at_most=1.3)
    yield costlier(f"{what}, load", loads, "clear")
    more = (ours / theirs - 1) * 100
    # What is fixed for a file (46 bytes, and 20 for each member) is much beside a small one.
    yield Figure(
        f"{what}, bytes", more, "% more", size(ours), size(theirs), at_most=1 if is_full else None
    )


def _sealed(stores: Stores) -> PipelineCheckpoint:
    return stores.ours(encryption_key=generate_encryption_key(), enable_encryption=True)
