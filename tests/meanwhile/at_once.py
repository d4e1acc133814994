"""Two calls at once, on one pipeline, have the outcome of one after the other, in some order.

An outcome is what each returned, or raised, and what is there afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from breaking import KEEP_ALL, array_state_of, tag_of, tags_of
from calls import Meanwhile, OtherAt

from checkpointdb import CheckpointError, KeepNewest, PipelineCheckpoint

Act = Callable[[PipelineCheckpoint], object]
Outcome = tuple[object, object, object]


def opened(room: Path) -> PipelineCheckpoint:
    return PipelineCheckpoint(room / "store", **KEEP_ALL)


def latest(handle: PipelineCheckpoint) -> tuple[str, str]:
    found = handle.load_latest()
    assert found is not None
    return found[0].checkpoint_id, tag_of(found[1])


ACTS: dict[str, Act] = {
    "save": lambda handle: handle.save(array_state_of("new"), "n"),
    "save in full": lambda handle: handle.save(array_state_of("whole"), "w", force_full=True),
    "replace b": lambda handle: handle.save(array_state_of("another"), "b"),
    "replace d": lambda handle: handle.save(array_state_of("other"), "d"),
    "delete a": lambda handle: handle.delete_checkpoint("a", missing_ok=False),
    "delete b": lambda handle: handle.delete_checkpoint("b", missing_ok=False),
    "delete d": lambda handle: handle.delete_checkpoint("d", missing_ok=False),
    "prune": lambda handle: done(handle.prune(KeepNewest(1))),
    "pin b": lambda handle: handle.pin("b"),
    "merge d": lambda handle: done(handle.merge("d")),
    "compact": lambda handle: done(handle.compact(min_dead=0.01)),
    "sweep": lambda handle: done(handle.sweep()),
    "load b": lambda handle: tag_of(handle.load("b")),
    "load d": lambda handle: tag_of(handle.load("d")),
    "load the latest": latest,
    "list": lambda handle: [each.checkpoint_id for each in handle.list_checkpoints()],
}


def done(_report: object) -> None:
    """What a report says of bytes and times is another each time."""


def four_saved(room: Path) -> None:
    """Three upon one another, and one beside the third."""
    with opened(room) as handle:
        for each in "abc":
            handle.save(array_state_of(each * 3), each)
        handle.save(array_state_of("ddd"), "d", base="b")


def wrong_orders(place: Path, it: str, other: str, sample: int | None) -> tuple[int, list[str]]:
    """Return before how many calls the other came, and which outcomes no order explains.

    In a `place` whose `room` is as `four_saved` makes it.
    """
    allowed = [_one_after_the_other(place, it, other, is_it_first=each) for each in (True, False)]
    points = _points(place, it)
    if sample is not None and len(points) > sample:
        points = [points[(2 * at + 1) * len(points) // (2 * sample)] for at in range(sample)]
    count, wrong = 0, []
    for point in points:
        outcome, where = _at_once(place, it, other, point)
        if outcome is None:
            continue
        count += 1
        if outcome not in allowed:
            wrong.append(f"{it} / {other}, {where}: {outcome} is none of {allowed}")
    return count, wrong


def _one_after_the_other(place: Path, it: str, other: str, *, is_it_first: bool) -> Outcome:
    room = shutil.copytree(place / "room", place / "ordered")
    said: dict[bool, object] = {}
    with opened(room) as ours, opened(room) as theirs:
        for is_it in (is_it_first, not is_it_first):
            said[is_it] = _said(ACTS[it], ours) if is_it else _said(ACTS[other], theirs)
    return said[True], said[False], _left(room)


def _at_once(place: Path, it: str, other: str, point: int) -> tuple[Outcome | None, str]:
    room = shutil.copytree(place / "room", place / "at-once")
    said: list[object] = []
    with opened(room) as ours, opened(room) as theirs:
        meanwhile = OtherAt(point, lambda: said.append(_said(ACTS[other], theirs)))
        with meanwhile:
            ours_said = _said(ACTS[it], ours)
    assert meanwhile.error is None, meanwhile.error
    if not said:  # there were fewer calls this time
        shutil.rmtree(room)
        return None, ""
    return (ours_said, said[0], _left(room)), f"before call {point}, {meanwhile.calls[point]}"


def _points(place: Path, it: str) -> list[int]:
    """Return numbers of calls, as they are when what is imported has been."""
    for _ in range(2):
        room = shutil.copytree(place / "room", place / "counted")
        meanwhile = Meanwhile()
        with opened(room) as handle, meanwhile:
            _said(ACTS[it], handle)
        shutil.rmtree(room)
    return meanwhile.points()


def _said(act: Act, handle: PipelineCheckpoint) -> object:
    try:
        return act(handle)
    except CheckpointError as error:
        return type(error)


def _left(room: Path) -> object:
    """Return what is there, nothing of it wrong; the room is removed."""
    with opened(room) as handle:
        assert handle.check(read_data=True).problems == ()
        pinned = {each.checkpoint_id for each in handle.list_checkpoints() if each.pinned}
        found = tags_of(handle), pinned
    shutil.rmtree(room)
    return found
