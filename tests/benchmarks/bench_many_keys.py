"""Ten thousand small keys: a first save, saves with three keys changed, loads.

The naive way keeps the last state in memory and compares objects; ours keeps digests, so that it
must serialize and hash every value to know that it is the same. But for texts and numbers: one that
is the very same object is known to be the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from .corpus import pieces
from .figures import Figure, Setting, faster, race
from .stores import opened

KEYS = 10_000
KEY_BYTES = 100
CHANGED = 3

State = dict[str, Any]


def run(setting: Setting) -> Iterator[Figure]:
    texts = pieces(KEYS, KEY_BYTES)
    state: State = {f"key-{each}": {"id": each, "text": text} for each, text in enumerate(texts)}

    def changed(number: int) -> State:
        """Return the next state as equal objects, not the same ones, but for three."""
        for each in range(CHANGED):
            key = f"key-{(number * CHANGED + each) * 7 % KEYS}"
            state[key] = {"id": -number, "text": texts[number * 11 % KEYS][::-1]}
        return copy.deepcopy(state)

    yield from dictionaries(setting, state, changed)
    yield from same_texts(setting, texts)


def same_texts(setting: Setting, texts: list[str]) -> Iterator[Figure]:
    """Save texts of which all but three are the objects that were saved before."""
    state: State = {f"key-{each}": text for each, text in enumerate(texts)}

    def changed(number: int) -> State:
        for each in range(CHANGED):
            key = f"key-{(number * CHANGED + each) * 7 % KEYS}"
            state[key] = f"{number} {each} {state[key]}"[:KEY_BYTES]
        return dict(state)

    with opened(setting) as stores:
        ours, naive = stores.ours(keep=10), stores.naive()
        saves = race(
            setting.rounds(30),
            changed,
            warm_up=2,
            ours=lambda given: ours.save(given),
            naive=lambda given: naive.save(given),
        )
    yield faster(f"{CHANGED} changed, the same texts", saves)


def dictionaries(
    setting: Setting, state: State, changed: Callable[[int], State]
) -> Iterator[Figure]:
    with opened(setting) as stores:
        first = race(
            setting.rounds(9),
            lambda _: (stores.ours(), stores.naive()),
            ours=lambda each: each[0].save(state),
            naive=lambda each: each[1].save(state),
        )
        ours, naive = stores.ours(keep=10), stores.naive()
        ours.save(state)
        naive.save(state)
        saves = race(
            setting.rounds(30),
            changed,
            warm_up=2,
            ours=lambda given: ours.save(given),
            naive=lambda given: naive.save(given),
        )
        newest = ours.list_checkpoints(limit=1)[0].checkpoint_id
        loads = race(
            setting.rounds(15),
            lambda _: None,
            ours=lambda _: ours.load(newest),
            naive=lambda _: naive.load(),
        )
        assert ours.load(newest) == naive.load() == state
    yield faster(f"first save, {KEYS:,} keys", first)
    yield faster(f"{CHANGED} changed", saves)
    yield faster("loads", loads)
