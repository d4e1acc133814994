"""What a save sees at once to be what its key had before: by the object, or by its few bytes.

The rest is compared by digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pickle import dumps

from checkpointdb import serialize
from checkpointdb.chunking import WHOLE_STREAM_BYTES
from checkpointdb.serialize import Serialized, Serializer
from checkpointdb.store.cutting import Cut
from checkpointdb.store.head import Memory
from checkpointdb.streamed import StreamedValue

UNCHANGEABLE = {str, bytes, int, float, complex, bool}
# Of these, two that are equal are the same value too: 0.0 equals -0.0, and 1 equals True.
_SAME_IF_EQUAL = {str, bytes, int}

_NOT_PICKLED = (Serialized, Cut, StreamedValue)

Unlike = Serialized | Cut | StreamedValue


def unlike(
    items: Mapping[str, object],
    memory: Memory,
    serializer: Serializer,
    objects: dict[str, object],
) -> Iterator[tuple[str, Unlike]]:
    """Yield, serialized, each value that is not seen to be what its key had before.

    Streams are yielded as they are. What cannot change is noted in `objects`.
    """
    small = memory.small if serializer.name == serialize.PICKLE else {}
    kinds = set(map(type, items.values())) if small else set()
    by_bytes = {kind for kind in kinds - UNCHANGEABLE if not issubclass(kind, _NOT_PICKLED)}
    buffers: list[memoryview] = []
    is_in_band = serialize.kept_in_band(buffers)
    for key, value, before in zip(items, items.values(), map(small.get, items), strict=True):
        if before is None or type(value) not in by_bytes:
            found = _unlike(key, value, memory, serializer, objects)
        else:  # as there, in fewer steps: of ten thousand keys most of the time is steps
            try:
                stream = dumps(value, serialize.PROTOCOL, buffer_callback=is_in_band)
            except Exception as error:  # noqa: BLE001 - of code that is not ours
                serialize.refuse(key, serializer, error)
            if stream == before:
                continue
            found = serialize.described(key, value, serializer, [stream, *buffers])
            buffers.clear()
        if found is not None:
            yield key, found


def _unlike(
    key: str,
    value: object,
    memory: Memory,
    serializer: Serializer,
    objects: dict[str, object],
) -> Unlike | None:
    """Return what `unlike` yields for a key, None if its value is seen to be what it had before."""
    kind, small = type(value), memory.small
    if kind in UNCHANGEABLE:
        objects[key] = value
        before = memory.objects.get(key)
        if before is value or (kind in _SAME_IF_EQUAL and type(before) is kind and before == value):
            return None
    if isinstance(value, Cut | StreamedValue):  # a Cut was kept, for a full
        return value
    if isinstance(value, Serialized):
        is_compared = key in small and is_small(value, serializer)
        return None if is_compared and value.parts[0] == small[key] else value
    parts = serialize.dump_parts(key, value, serializer)
    # A view of numbers would be compared by these.
    is_compared = key in small and len(parts) == 1 and type(parts[0]) is bytes
    if is_compared and parts[0] == small[key]:
        return None
    return serialize.described(key, value, serializer, parts)


def is_small(value: Serialized, serializer: Serializer) -> bool:
    """Say whether a value is one chunk, of the one serializer whose small ones are remembered.

    A copy has values of others too: the same bytes need not be the same value there.
    """
    return (
        len(value.layout) == 1
        and value.layout[0] <= WHOLE_STREAM_BYTES
        and value.serializer == serializer.name
    )
