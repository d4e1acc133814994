"""Kill an operation before each of its effects, one after the other, and look at what is left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from operations import Operation
from tracing import Child
from trying import acknowledging, prepared, verdict

_TOLERATED = 20  # one effect of so many may not be reached, and one more


class Kills(NamedTuple):
    """How many there were, and how many effects were not reached: it ended before, by itself."""

    happened: int
    unreached: int


def killed_everywhere(operation: Operation, sample: int | None) -> Kills:
    """Kill it at so many effects; without a sample, at each.

    Threads and random names let a few effects come or not come: more than these fail.
    """
    with prepared(operation) as place:
        count = _effects(operation, shutil.copytree(place / "room", place / "counted"))
        points = spread(count, sample)
        unreached = []
        for point in points:
            room = shutil.copytree(place / "room", place / f"killed-{point}")
            call = _killed_before(operation, room, point)
            if call is None:
                unreached.append(point)
            failed = verdict(operation, room)
            where = f"killed before effect {point} of {count}, {call or 'which it had not'}"
            assert failed is None, f"{where}: {failed}"
    most = 1 + len(points) // _TOLERATED
    assert len(unreached) <= most, f"of {count} effects these were not reached: {unreached}"
    return Kills(len(points) - len(unreached), len(unreached))


def spread(count: int, sample: int | None) -> list[int]:
    """Numbers from 1 to `count`, evenly, both ends among them."""
    if sample is None or count <= sample:
        return list(range(1, count + 1))
    return sorted({1 + round(at * (count - 1) / max(1, sample - 1)) for at in range(sample)})


def _effects(operation: Operation, room: Path) -> int:
    child = Child(acknowledging(operation, room))
    count = sum(1 for _ in child.stops())
    assert child.exit == 0, f"it fails by itself: {child.exit}"
    failed = verdict(operation, room)
    assert failed is None, f"it is wrong by itself: {failed}"
    return count


def _killed_before(operation: Operation, room: Path, point: int) -> str | None:
    """Return the call that it was killed before; None if it ended without so many."""
    child = Child(acknowledging(operation, room))
    for at, stop in enumerate(child.stops(), 1):
        if at == point:
            child.kill()
            return stop.call
    assert child.exit == 0, f"it fails by itself: {child.exit}"
    return None
