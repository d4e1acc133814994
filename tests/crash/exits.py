"""End an operation by `os._exit` at each of its steps that Python and SQLite tell of.

A step is a file opened, renamed, linked or removed in the room, by what `sys.addaudithook` hears,
or the beginning of a statement of SQL. Nothing is traced: it runs where there is `fork`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from kills import Kills, evenly
from operations import Operation
from sqlalchemy import Pool, event
from trying import acknowledging, prepared, verdict

ENDING = (
    "save",
    "replace",
    "delete",
    "prune",
    "compact",
    "merge",
    "re-encrypt",
    "upgrade",
    "push",
    "pull",
)
_FILES = {
    "open",
    "os.chmod",
    "os.link",
    "os.listdir",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.scandir",
    "os.truncate",
}
_ENDED = 77  # no other exit code of such a process


def exited_everywhere(operation: Operation, sample: int | None) -> tuple[Kills, int]:
    """End it at so many steps between the first and the last, or at each, whose count is told."""
    with prepared(operation) as place:
        count = _steps(operation, shutil.copytree(place / "room", place / "counted"))
        points = evenly(range(1, count + 1), sample)
        happened = 0
        for point in points:
            room = shutil.copytree(place / "room", place / f"exited-{point}")
            code = _code_of(_ending(acknowledging(operation, room), room, point))
            assert code in (0, _ENDED), f"it fails by itself: {code}"
            happened += code == _ENDED
            failed = verdict(operation, room)
            assert failed is None, f"exit at step {point} of {count}: {failed}"
    return Kills(happened, len(points) - happened), count


def _steps(operation: Operation, room: Path) -> int:
    """How many there are if it ends by itself."""
    told = room.with_name("steps")

    def act() -> None:
        steps = _heard(room, None)
        acknowledging(operation, room)()
        told.write_text(str(next(steps) - 1))

    code = _code_of(act)
    assert code == 0, f"it fails by itself: {code}"
    failed = verdict(operation, room)
    assert failed is None, f"it is wrong by itself: {failed}"
    return int(told.read_text())


def _ending(act: Callable[[], None], room: Path, point: int) -> Callable[[], None]:
    def do() -> None:
        _heard(room, point)
        act()

    return do


def _heard(room: Path, last: int | None) -> itertools.count[int]:
    """Count the steps of this process from now on, and end it at the last; it cannot be undone."""
    steps = itertools.count(1)

    def step(_statement: str = "") -> None:
        if next(steps) == last:
            os._exit(_ENDED)

    def hear(what: str, arguments: tuple[object, ...]) -> None:
        if what in _FILES and str(arguments[0]).startswith(f"{room}/"):
            step()

    sys.addaudithook(hear)
    event.listen(Pool, "connect", lambda connection, _: connection.set_trace_callback(step))
    return steps


def _code_of(do: Callable[[], None]) -> int:
    """Run a function in a process of its own; return its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
        except BaseException:  # noqa: BLE001 - told by the parent
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
