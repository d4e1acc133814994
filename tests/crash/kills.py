"""Kill an operation before each of its effects, one after the other, and look at what is left."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from effects import WRITES, files_of
from operations import Operation
from tracing import Child, Stop
from trying import ACKNOWLEDGED, acknowledging, prepared, verdict

_TOLERATED = 20  # one effect of so many may not be reached, and one more

_FLUSHES = {"fsync", "fdatasync"}
_RENAMES = {"rename", "renameat", "renameat2", "link", "linkat"}
_NAMES = _RENAMES | {"mkdir", "mkdirat", "rmdir", "unlink", "unlinkat"}

T = TypeVar("T")


class Kills(NamedTuple):
    """How many there were, and how many effects were not reached: it ended before, by itself."""

    happened: int
    unreached: int


class Effects(NamedTuple):
    """The calls of an operation's effects in their order; how many before it is acknowledged."""

    calls: list[str]
    before: int


def killed_everywhere(operation: Operation, sample: int | None) -> Kills:
    """Kill it at so many effects before it is acknowledged; without a sample, at each of all.

    Threads and random names let a few effects come or not come: more than these fail.
    """
    with prepared(operation) as place:
        effects = _effects(operation, shutil.copytree(place / "room", place / "counted"))
        count = len(effects.calls)
        points = list(range(1, count + 1)) if sample is None else telling(effects, sample)
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


def telling(effects: Effects, sample: int) -> list[int]:
    """Choose effects to be killed before, none of them after the acknowledgement.

    What a kill leaves is another than before where a name has changed, and where all is written
    that is flushed next. Most is decided where something was given its name: up to half of the
    sample is killed there, and the others evenly.
    """
    pairs = list(enumerate(zip(effects.calls, effects.calls[1:], strict=False), 2))
    pairs = pairs[: effects.before]  # the last: when all is done, and nobody has heard it
    renamed = [at for at, (last, _) in pairs if last in _RENAMES]
    others = [
        at
        for at, (last, call) in pairs
        if last in _NAMES - _RENAMES or (last in WRITES and call in _FLUSHES)
    ]
    rest = sorted({at for at, _ in pairs} - {*renamed, *others})
    points: list[int] = []
    for group, most in ((renamed, sample // 2), (others, sample), (rest, sample)):
        points += evenly(group, most - len(points))
    return sorted(points)


def evenly(items: Sequence[T], sample: int | None) -> list[T]:
    """Return so many of some items, or all, evenly, and neither end if some are left out."""
    if sample is None or len(items) <= sample:
        return list(items)
    return [items[(2 * at + 1) * len(items) // (2 * sample)] for at in range(sample)]


def _effects(operation: Operation, room: Path) -> Effects:
    child = Child(acknowledging(operation, room))
    calls: list[str] = []
    before = None
    for stop in child.stops():
        if before is None and _acknowledges(stop, room):
            before = len(calls)
        calls.append(stop.call)
    assert child.exit == 0, f"it fails by itself: {child.exit}"
    failed = verdict(operation, room)
    assert failed is None, f"it is wrong by itself: {failed}"
    assert before is not None, "it is never acknowledged"
    return Effects(calls, before)


def _acknowledges(stop: Stop, room: Path) -> bool:
    return stop.call == "openat" and files_of(stop) == [room / ACKNOWLEDGED]


def _killed_before(operation: Operation, room: Path, point: int) -> str | None:
    """Return the call that it was killed before; None if it ended without so many."""
    child = Child(acknowledging(operation, room))
    for at, stop in enumerate(child.stops(), 1):
        if at == point:
            child.kill()
            return stop.call
    assert child.exit == 0, f"it fails by itself: {child.exit}"
    return None
