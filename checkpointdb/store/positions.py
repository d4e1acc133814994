"""Where keys stand in a state: numbers with gaps, so that few of them ever change."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import eq

GAP = 1 << 20


def place_keys(keys: Sequence[str], before: Mapping[str, int]) -> Mapping[str, int]:
    """Give each key a position, in the order of `keys`, keeping as many as can be kept.

    Keys that are new or were moved get positions between their neighbours; where there is no
    room left, all are numbered anew. Where the keys are the same, so is what is returned: `before`.
    """
    if len(keys) == len(before) and all(map(eq, keys, before)):
        return before
    kept = _longest_increasing([before[key] for key in keys if key in before])
    result: dict[str, int] = {}
    waiting: list[str] = []
    last = -GAP
    for key in keys:
        position = before.get(key)
        if position is None or position not in kept:
            waiting.append(key)
            continue
        if not _fill(result, waiting, last, position):
            return {each: number * GAP for number, each in enumerate(keys)}
        result[key] = last = position
        waiting = []
    _fill(result, waiting, last, last + GAP * (len(waiting) + 1))
    return {key: result[key] for key in keys}


def _fill(result: dict[str, int], waiting: Sequence[str], low: int, high: int) -> bool:
    """Spread `waiting` evenly between two positions; False if there is no room."""
    step = (high - low) // (len(waiting) + 1)
    if waiting and step == 0:
        return False
    result.update((key, low + step * number) for number, key in enumerate(waiting, 1))
    return True


def _longest_increasing(numbers: Sequence[int]) -> set[int]:
    """Return the longest increasing subsequence of distinct numbers (patience sorting)."""
    if all(a < b for a, b in pairwise(numbers)):
        return set(numbers)
    tops: list[int] = []
    previous: dict[int, int | None] = {}
    for number in numbers:
        place = bisect_left(tops, number)
        previous[number] = tops[place - 1] if place else None
        tops[place : place + 1] = [number]
    found: set[int] = set()
    each: int | None = tops[-1] if tops else None
    while each is not None:
        found.add(each)
        each = previous[each]
    return found
