"""What is written down of an error that ended a stage."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import PurePath
from types import TracebackType
from typing import NamedTuple

from checkpointdb.serialize import name_of

_DIGITS = 16
_MOST_CAUSES = 20
_OURS = "checkpointdb.pipeline"


class Problem(NamedTuple):
    """An error, as a row holds it: `location` is where it was raised."""

    outcome: str
    error_type: str
    message: str
    location: str | None
    traceback_digest: str


def describe(error: BaseException) -> Problem:
    """Describe an error: an exception has failed, what is no Exception was an interruption."""
    kinds = list(_kinds(error))
    frames = [each for each in _frames(error.__traceback__) if not _is_ours(each)]
    return Problem(
        outcome="failed" if isinstance(error, Exception) else "interrupted",
        error_type=kinds[0],
        message=_message(error),
        location=_location(frames[-1]) if frames else None,
        traceback_digest=_digest([*kinds, *map(_relative, frames)]),
    )


def _message(error: BaseException) -> str:
    """Return the text of an error and of what it is made of; a class may be unable to give one."""
    parts = [f"{_kind(each)}: {_text(each)}" for each in _parts(error)]
    return "; ".join([_text(error), *parts])


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failed:  # noqa: BLE001 - whatever it raises, the error itself matters more
        return f"(an error without text: its __str__ raised {type(failed).__name__})"


def _parts(error: BaseException) -> Iterator[BaseException]:
    """Yield what a group is made of, such as the errors of tasks; not groups within it."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions[:_MOST_CAUSES]:
            if isinstance(each, BaseExceptionGroup):
                yield from _parts(each)
            else:
                yield each


def _kinds(error: BaseException) -> Iterator[str]:
    """Yield the types of an error, of what it is made of, and of what caused it."""
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if cause is None:
            return
        yield _kind(cause)
        yield from map(_kind, _parts(cause))
        cause = cause.__cause__


def _kind(error: BaseException) -> str:
    return name_of(type(error))


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _is_ours(trace: TracebackType) -> bool:
    name: str = trace.tb_frame.f_globals.get("__name__", "")
    return name.startswith(_OURS)


def _location(trace: TracebackType) -> str:
    code = trace.tb_frame.f_code
    return f"{PurePath(code.co_filename).name}:{trace.tb_lineno} in {code.co_qualname}"


def _relative(trace: TracebackType) -> str:
    """A frame by its function and the line within: edits elsewhere in the file do not matter."""
    code = trace.tb_frame.f_code
    return f"{code.co_qualname}+{trace.tb_lineno - code.co_firstlineno}"


def _digest(parts: list[str]) -> str:
    return sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:_DIGITS]
