"""Kill an operation before each of its effects, one after the other, and look at what is left."""

from __future__ import annotations

import shutil
from pathlib import Path

from operations import Operation
from tracing import Child
from trying import acknowledging, prepared, verdict


def killed_everywhere(operation: Operation, sample: int | None) -> int:
    """Return at how many effects it was killed; without a sample, at each."""
    with prepared(operation) as place:
        count = _effects(operation, shutil.copytree(place / "room", place / "counted"))
        points = spread(count, sample)
        for point in points:
            room = shutil.copytree(place / "room", place / f"killed-{point}")
            call = _killed_before(operation, room, point)
            failed = verdict(operation, room)
            assert failed is None, f"killed before effect {point} of {count}, {call}: {failed}"
    return len(points)


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


def _killed_before(operation: Operation, room: Path, point: int) -> str:
    child = Child(acknowledging(operation, room))
    for at, stop in enumerate(child.stops(), 1):
        if at == point:
            child.kill()
            return stop.call
    return "which it had not this time"  # threads, and random names
