"""Text: 8 MB of sources, saved for the first time, one document edited per stage, loaded.

In three shapes: the naive way stores again whole keys, so the more keys the better for it; with a
key per document it has nothing left to do but to compare each with itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .corpus import documents, paragraph
from .figures import Figure, Setting, faster, race
from .stores import opened

TOTAL_BYTES = 8_000_000
FASTEST = 1  # of gzip's levels: what a naive way in a hurry would choose

State = dict[str, Any]


def run(setting: Setting) -> Iterator[Figure]:
    yield from first_saves(setting)
    yield from stages(setting, "all in one key", keys=1, at_least=5)
    yield from stages(setting, "16 keys", keys=16, at_least=5)
    yield from stages(setting, "a key per document", keys=len(documents(TOTAL_BYTES)))


def state_of(keys: int) -> State:
    """Return the documents in so many keys, each a dictionary of texts by name."""
    state: State = {f"documents-{number}": {} for number in range(keys)}
    for number, (name, text) in enumerate(documents(TOTAL_BYTES).items()):
        state[f"documents-{number % keys}"][name] = text
    return state


def edited(state: State, number: int) -> State:
    """Return a state with a paragraph put into the middle of one document."""
    key = f"documents-{number * 7 % len(state)}"
    texts = dict(state[key])
    name = list(texts)[number * 5 % len(texts)]
    half = len(texts[name]) // 2
    texts[name] = texts[name][:half] + paragraph(number) + texts[name][half:]
    return state | {key: texts}


def first_saves(setting: Setting) -> Iterator[Figure]:
    state = state_of(1)
    with opened(setting) as stores:
        times = race(
            setting.rounds(9),
            lambda _: (stores.ours(), stores.naive(), stores.naive(FASTEST)),
            ours=lambda each: each[0].save(state),
            naive=lambda each: each[1].save(state),
            fastest=lambda each: each[2].save(state),
        )
    yield faster("first save, 8 MB", times, at_least=15)
    yield faster(f"the same, naive at gzip -{FASTEST}", times, other="fastest")


def stages(
    setting: Setting, name: str, keys: int, at_least: float | None = None
) -> Iterator[Figure]:
    with opened(setting) as stores:
        ours, naive = stores.ours(), stores.naive()
        state = state_of(keys)
        ours.save(state, "full")
        naive.save(state)
        loads = race(
            setting.rounds(15),
            lambda _: None,
            ours=lambda _: ours.load("full"),
            naive=lambda _: naive.load(),
        )

        def next_stage(number: int) -> State:
            nonlocal state
            state = edited(state, number)
            return state

        saves = race(
            setting.rounds(15),
            next_stage,
            ours=lambda given: ours.save(given),
            naive=lambda given: naive.save(given),
        )
        assert ours.load_latest()[1] == naive.load() == state
        yield faster(f"later stages, {name}", saves, at_least=at_least)
        yield faster(f"loads, {name}", loads, at_least=at_least and 1.5)
