"""The bytes of a streamed value as a save reads them: what goes wrong names the key."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

from checkpointdb.contexts import contextmanager
from checkpointdb.errors import (
    CheckpointError,
    InvalidInputError,
    InvalidStateError,
    StateChangedError,
)
from checkpointdb.sources import Source

ReadInto = Callable[[memoryview], int]


@contextmanager
def opened(key: str, source: Source) -> Iterator[ReadInto]:
    """Open a source and return what reads from it.

    Raises InvalidStateError, naming the key, for whatever the source raises, StateChangedError if
    it saw that it was changed. Errors of a store that it reads from pass through.
    """
    with explained(key):
        stream: io.RawIOBase = source.open()

    def read_into(target: memoryview) -> int:
        with explained(key):
            return stream.readinto(target) or 0

    try:
        yield read_into
    finally:
        with explained(key):
            stream.close()


def is_once(key: str, source: Source) -> bool:
    """Say whether a source can be read only once. Raises InvalidStateError, naming the key."""
    with explained(key):
        return source.is_once


@contextmanager
def explained(key: str) -> Iterator[None]:
    """Name the key in whatever goes wrong with its source."""
    try:
        yield
    except StateChangedError as error:
        raise StateChangedError(
            f"the value of key {key!r} was not saved: {error}; save it again when nobody writes "
            "to it",
            key=key,
        ) from error
    except InvalidInputError as error:
        raise InvalidStateError(
            f"the value of key {key!r} cannot be saved: {error}", key=key
        ) from error
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:  # the source is the caller's code
        raise InvalidStateError(
            f"the value of key {key!r} cannot be saved, since its stream cannot be read "
            f"({type(error).__name__}: {error}): nothing was saved",
            key=key,
        ) from error
