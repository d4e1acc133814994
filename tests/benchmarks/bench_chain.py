"""A load after 100 saves with a few keys changed each, beside the load of a full."""

from __future__ import annotations

from collections.abc import Iterator

from .corpus import pieces
from .figures import Figure, Setting, costlier, race
from .stores import opened

SAVES = 100
SHAPES = ((100, 100_000, 3), (1000, 1000, 5), (20, 1_000_000, 1))  # keys, bytes each, changed


def run(setting: Setting) -> Iterator[Figure]:
    for keys, key_bytes, changed in SHAPES:
        yield from loads(setting, keys, key_bytes, changed)


def loads(setting: Setting, keys: int, key_bytes: int, changed: int) -> Iterator[Figure]:
    texts = pieces(keys, key_bytes)
    state = {f"key-{number}": text for number, text in enumerate(texts)}
    with opened(setting) as stores:
        ours, full = stores.ours(), stores.ours()
        ours.save(state, "0")
        for number in range(1, SAVES + 1):
            for each in range(changed):
                place = (number * changed + each) * 7
                # Another text altogether: nothing of it can be shared with the one before.
                state[f"key-{place % keys}"] = f"{number}{texts[(place * 3 + number) % keys][::-1]}"
            ours.save(state, str(number))
        full.save(state, "full", force_full=True)
        times = race(
            setting.rounds(21),
            lambda _: None,
            warm_up=2,
            ours=lambda _: ours.load(str(SAVES)),
            full=lambda _: full.load("full"),
        )
        assert ours.load(str(SAVES)) == full.load("full") == state
    what = f"{keys:,} keys of {key_bytes // 1000} kB, {changed} changed"
    yield costlier(f"load after {SAVES} saves, {what}", times, "full", at_most=1.3)
