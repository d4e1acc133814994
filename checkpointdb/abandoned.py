"""Transactions that an interrupt has left open.

A signal's handler may raise between any two steps of the interpreter, the first of the
`__exit__` that would have ended a transaction among them. The generator behind it then stands
where it was, with the transaction and its locks, for as long as somebody has the traceback. A
program that saves once more before it leaves does so while it handles the exception, and would
wait for itself. (A class with an `__exit__` of its own, in place of a generator, is interrupted at
the same step.)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import _GeneratorContextManager
from types import FrameType, GeneratorType
from typing import Any

_ENDS = {
    _GeneratorContextManager.__enter__.__code__,
    _GeneratorContextManager.__exit__.__code__,
}
_OURS = {"checkpointdb", "sqlalchemy"}  # a user's own are the user's


def end_abandoned() -> None:
    """End what the exceptions that are being handled have left open, the innermost first.

    What has been left through an exception is never entered again: it is ended now rather than
    when the traceback is dropped. Raises what its end raises, as that of any transaction does.
    """
    for error in _chain(sys.exc_info()[1]):
        for frame in reversed(list(_frames(error))):
            if frame.f_code in _ENDS:
                manager = frame.f_locals.get("self")  # unless somebody has cleared the frame
                if manager is not None and _is_ours(manager.gen):
                    manager.gen.close()


def _is_ours(generator: GeneratorType[Any, Any, Any]) -> bool:
    """Say whether one stands still in this library's code, or in SQLAlchemy's."""
    frame = generator.gi_frame
    if frame is None or generator.gi_running:  # it has ended, or it is what calls this
        return False
    return frame.f_globals["__name__"].partition(".")[0] in _OURS


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__context__


def _frames(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next
