"""A user's callback, called from within: what it raises is the user's own, whatever it is.

What it is called from explains errors by their type: an OSError is the disk's, a ValueError comes
of a row that is damaged, a missing file is one that a backup lacks. Those of a callback are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Progress: TypeAlias = Callable[[int, int], object]  # done so far, in all


class _Raised(BaseException):
    """An error on its way through what would explain it. Internal."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def telling(work: Callable[[Progress | None], T], progress: Progress | None) -> T:
    """Do work that calls a callback; what that raises comes out as it was raised."""
    if progress is None:
        return work(None)
    try:
        return work(_through(progress))
    except _Raised as raised:
        error = raised.error
    raise error  # outside of the handler, so that it keeps its own context


def _through(progress: Progress) -> Progress:
    def told(done: int, total: int) -> None:
        try:
            progress(done, total)
        except Exception as error:
            raise _Raised(error) from error

    return told
