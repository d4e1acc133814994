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
from itertools import pairwise
from threading import get_ident, main_thread
from types import FrameType, GeneratorType
from typing import Any

from checkpointdb.contexts import Context

_ENDS = {
    _GeneratorContextManager.__enter__.__code__,
    _GeneratorContextManager.__exit__.__code__,
    Context.__exit__.__code__,
}


def end_abandoned() -> None:
    """End what the exceptions that are being handled have left open, the innermost first.

    What has been left through an exception is never entered again: it is ended now rather than
    when the traceback is dropped. Raises what its end raises, as that of any transaction does.
    """
    handled = sys.exc_info()[1]
    # Signals are handled in the main thread. Another one, which was handed what their handler
    # raised, must not end it: it could not release the lock, which would be held for ever.
    if handled is None or get_ident() != main_thread().ident:
        return
    for error in _with_what_is_behind(handled):
        for generator in _left_open(error):
            generator.close()


def _with_what_is_behind(handled: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and those that it wraps or in whose wake it was raised, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [handled]
    while waiting:
        error = waiting.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            yield error
            waiting += [error.__cause__, error.__context__]
            if isinstance(error, BaseExceptionGroup):
                waiting += error.exceptions


def _left_open(error: BaseException) -> Iterator[GeneratorType[Any, Any, Any]]:
    """Yield what stands still in blocks of this library's; a user's own are the user's."""
    for block, end in reversed(list(pairwise(_frames(error)))):
        if end.f_code in _ENDS:
            # No manager if somebody has cleared the frame; what it manages may be any iterator.
            generator = getattr(end.f_locals.get("self"), "gen", None)
            if isinstance(generator, GeneratorType) and not generator.gi_running:
                stands = generator.gi_frame  # None of what has ended
                if stands is not None and (_is_ours(block) or _is_ours(stands)):
                    yield generator


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "checkpointdb"


def _frames(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next
