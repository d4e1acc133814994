"""Context managers by generators, which let go of an error that they replace.

`contextlib` leaves a replaced error with a traceback that leads, by way of the generator's frame,
to the frame of its own `__exit__`, where the error is again: since Python 3.12 only the garbage
collector ends that circle. Until then all frames between live on, with the state that could not
be saved, and with cursors that still read, so that their connection sees what was there before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import _GeneratorContextManager
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Context(_GeneratorContextManager[T]):
    """A block by a generator."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        try:
            return _GeneratorContextManager.__exit__(self, kind, error, traceback)
        except BaseException:
            if error is not None:
                error.__traceback__ = traceback  # as contextlib has it of one that is not replaced
            raise


def contextmanager(function: Callable[P, Iterator[T]]) -> Callable[P, Context[T]]:
    """Make a context manager of a generator function, as `contextlib.contextmanager` does."""

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> Context[T]:
        return Context(function, args, kwargs)  # type: ignore[arg-type]  # any iterator does

    return made
