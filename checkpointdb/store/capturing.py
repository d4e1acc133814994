"""A state captured: bytes of its own, that nobody changes while they wait to be saved."""

from __future__ import annotations

import mmap
from contextlib import suppress

from checkpointdb import serialize
from checkpointdb.errors import InvalidStateError
from checkpointdb.serialize import Serialized, Serializer
from checkpointdb.store.cutting import is_fixed
from checkpointdb.store.likeness import UNCHANGEABLE
from checkpointdb.store.stored_stream import StoredStream
from checkpointdb.streamed import StreamedValue

_LARGE_BYTES = 4 << 20  # two of the kernel's large pages, wherever they begin


def capture(state: dict[str, object], serializer: Serializer) -> dict[str, object]:
    """Return the state as it is now: values that cannot change themselves, others serialized.

    Raises InvalidStateError, naming the key, for a value that cannot be.
    """
    return {
        key: value if _stays(key, value) else _captured(key, value, serializer)
        for key, value in state.items()
    }


def can_be_captured(state: dict[str, object]) -> bool:
    """Say whether all streams of a state are stored already: another has to be read to be saved."""
    return not any(map(_is_unread, state.values()))


def _is_unread(value: object) -> bool:
    return isinstance(value, StreamedValue) and not isinstance(value._source, StoredStream)


def _stays(key: str, value: object) -> bool:
    """Say whether a value cannot change. Raises InvalidStateError for a stream that may."""
    if _is_unread(value):
        raise InvalidStateError(
            f"the value of key {key!r} is a stream that was not saved yet, which cannot be "
            "captured without being read: save it with wait=True",
            key=key,
        )
    return type(value) in UNCHANGEABLE or isinstance(value, StreamedValue)


def held_bytes(captured: dict[str, object]) -> int:
    """Return how much memory a captured state takes that its owner would not take otherwise."""
    return sum(sum(each.layout) for each in captured.values() if isinstance(each, Serialized))


def _captured(key: str, value: object, serializer: Serializer) -> Serialized:
    found = value if isinstance(value, Serialized) else serialize.dump(key, value, serializer)
    # The buffers of an array are the array's own memory; a pickle is nobody else's.
    parts = (part if is_fixed(part) else _copy(memoryview(part)) for part in found.parts)
    return found._replace(parts=tuple(parts))


def _copy(part: memoryview) -> memoryview:
    """Return a copy of bytes that the caller waits for.

    The first touch of each of its pages takes the kernel longer than to copy them: so in large
    ones, where there are such.
    """
    if part.nbytes < _LARGE_BYTES or not hasattr(mmap, "MADV_HUGEPAGE"):
        return memoryview(bytes(part))
    try:
        room = mmap.mmap(-1, part.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:  # no more mappings are to be had
        return memoryview(bytes(part))
    with suppress(OSError):  # a kernel that was built without
        room.madvise(mmap.MADV_HUGEPAGE)
    room[:] = part
    return memoryview(room).toreadonly()
