"""Python values to parts of bytes and back: pickle protocol 5, large buffers out of band.

A value is a list of parts: the in-band stream, then each buffer. Buffers (numpy arrays, the
blocks of a data frame) are never copied nor pickled on the way out.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

from checkpointdb.errors import CorruptionError, InvalidStateError

PICKLE = "pickle5"
# A smaller buffer stays in band: a value of one part takes two rows, each further part more.
_IN_BAND_BYTES = 4 << 10
_WITHOUT_BUFFERS = {str, bytes, int, float, bool, type(None)}


class Serialized(NamedTuple):
    """A value as bytes: `parts[0]` is the stream, the others are its buffers, not copied.

    `layout` holds the bytes of each part.
    """

    serializer: str
    type_name: str
    parts: tuple[memoryview, ...]
    layout: tuple[int, ...]


def dump(key: str, value: object) -> Serialized:
    """Serialize the value of `key`.

    Raises InvalidStateError, naming the key, if it cannot be pickled.
    """
    if type(value) in _WITHOUT_BUFFERS:
        plain = pickle.dumps(value, protocol=5)
        return Serialized(PICKLE, type(value).__name__, (memoryview(plain),), (len(plain),))
    buffers: list[memoryview] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous: pickle copies it
            return True
        if raw.nbytes < _IN_BAND_BYTES:
            return True
        buffers.append(raw)
        return False

    try:
        stream = pickle.dumps(value, protocol=5, buffer_callback=keep_in_band)
    except MemoryError:
        raise
    except Exception as error:  # __reduce__ and __getstate__ may raise anything
        raise InvalidStateError(
            f"the value of key {key!r} cannot be pickled ({type(error).__name__}: {error}); "
            "leave it out of the state or give its class a __getstate__",
            key=key,
        ) from error
    parts = (memoryview(stream), *buffers)
    return Serialized(PICKLE, type_name(value), parts, tuple(part.nbytes for part in parts))


def restore(serializer: str, parts: Sequence[bytes | bytearray | memoryview]) -> Any:
    """Return the value that `dump` was given; its arrays use `parts[1:]` as their memory.

    Raises CorruptionError for an unknown serializer; whatever unpickling raises passes through.
    """
    if serializer != PICKLE:
        raise CorruptionError(
            f"the serializer {serializer!r} is not known here: "
            "the value was written by a newer version or with a serializer of your own"
        )
    return pickle.loads(parts[0], buffers=parts[1:])


def type_name(value: object) -> str:
    """Return the name of the value's type, without its module for a builtin."""
    cls = type(value)
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"
