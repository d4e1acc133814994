"""An operation, and another that does something whole before one of its calls: both are right."""

from __future__ import annotations

import logging
import shutil
import traceback
from pathlib import Path
from typing import NamedTuple

from calls import Meanwhile, OtherAt
from loads import OPERATIONS
from maintenance import REWRITTEN
from operations import Operation, nothing
from others import FOUND, is_refusal, others_of, tags_of_another
from trying import prepared


class Tried(NamedTuple):
    """Before how many calls the other came, and how often one was told of the other."""

    count: int
    refused: int


def tried_on(
    pair: tuple[str, str], *, sample: int | None, is_every: bool = False
) -> tuple[Tried | None, str]:
    """Let another do its thing before calls of an operation.

    Before the first and the last by each line, or before every one; or before a sample of these.
    Return how many those were, or None and what was wrong.
    """
    logging.getLogger("checkpointdb").addHandler(logging.NullHandler())  # or it is written out
    name, other = pair
    count = refused = 0
    try:
        with prepared(OPERATIONS[name]) as place:
            points = _points(OPERATIONS[name], place, is_every=is_every)
            if sample is not None and len(points) > sample:
                points = [
                    points[(2 * at + 1) * len(points) // (2 * sample)] for at in range(sample)
                ]
            for point in points:
                outcome = _both(name, other, place, point)
                count += outcome is not None
                refused += bool(outcome)
        assert count, "the other never came"
    except AssertionError as error:
        return None, str(error)
    return Tried(count, refused), ""


def _both(name: str, other: str, place: Path, point: int) -> int | None:
    """Return how many of the two were refused, None if there were fewer calls this time."""
    operation, refused = OPERATIONS[name], 0
    act = others_of(name)[other]
    room = shutil.copytree(place / "room", place / "both")
    meanwhile = OtherAt(point, lambda: act(room))
    try:
        error: BaseException | None = None
        try:
            with meanwhile:
                operation.act(room, lambda: nothing(room))
        except Exception as raised:  # noqa: BLE001 - judged below
            error = raised
        if not meanwhile.has_come:
            return None
        where = f"before call {point}, {meanwhile.calls[point]}"
        for who, each in (("it", error), ("the other", meanwhile.error)):
            if each is not None:
                told = "".join(traceback.format_exception(each))[-2_000:]
                assert is_refusal(name, other, each), f"{where}: {who} failed: {told}"
                refused += 1
        assert refused < 2, f"{where}: both failed, {error} and {meanwhile.error}"
        is_done = error is None or other == "the same"
        wrong = _verdict(name, other, room, is_done=is_done, is_other_done=meanwhile.error is None)
        assert wrong is None, f"{where}: {wrong}"
    finally:
        shutil.rmtree(room)
    return refused


def _verdict(
    name: str, other: str, room: Path, *, is_done: bool, is_other_done: bool
) -> str | None:
    """Return what is wrong with what both have left."""
    operation = OPERATIONS[name]
    expected = [operation.after] if is_done else [operation.before, operation.after]
    if name.startswith("compact") and other in FOUND:  # with more to compact, by now
        expected.append((REWRITTEN, False))
    try:
        found = operation.look(room)
        assert found in expected, f"found {found!s:.2000}"
        if other in FOUND and is_other_done:
            assert tags_of_another(name, room) == FOUND[other]
        operation.go_on(room)
    except Exception:  # noqa: BLE001 - told
        return traceback.format_exc()[-4_000:]
    return None


def _points(operation: Operation, place: Path, *, is_every: bool) -> list[int]:
    """Return the numbers of calls, as they are when what is made only once has been made."""
    for _ in range(2):
        meanwhile = Meanwhile()
        _acted(operation, place, meanwhile)
    return list(range(len(meanwhile.calls))) if is_every else meanwhile.points()


def _acted(operation: Operation, place: Path, meanwhile: Meanwhile) -> None:
    room = shutil.copytree(place / "room", place / "counted")
    with meanwhile:
        operation.act(room, lambda: nothing(room))
    shutil.rmtree(room)
