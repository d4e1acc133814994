"""A state becomes a file not yet published: serialized, cut, compared by digest, packed.

Nothing is read back from disk: what the pipeline already has is known by its digests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import TypeVar

from checkpointdb import serialize
from checkpointdb.chunking import WHOLE_STREAM_BYTES
from checkpointdb.database import Database
from checkpointdb.manifest import Value
from checkpointdb.sealing import Cipher
from checkpointdb.serialize import Serialized
from checkpointdb.store.cutting import Cut, cut, uncut
from checkpointdb.store.head import (
    Head,
    KnownChunk,
    KnownValue,
    Memory,
    Stream,
    find_chunks,
    find_values,
    members_used,
)
from checkpointdb.store.packer import Chunk, Packer
from checkpointdb.store.pool import Pool
from checkpointdb.store.stream_staging import stage
from checkpointdb.streamed import StreamedValue

# Values are compared in groups, so that ten thousand small ones take few queries; a group's
# in-band streams are held in memory.
_GROUP_VALUES = 500
_GROUP_BYTES = 1 << 20
# Objects that a writer holds on to until its next save, to see at once that they are the same.
_HELD_BYTES = 32 << 20
# Streams of small values that it holds on to, to see so without a digest.
_HELD_STREAM_BYTES = 16 << 20
UNCHANGEABLE = {str, bytes, int, float, complex, bool}
# Of these, two that are equal are the same value too: 0.0 equals -0.0, and 1 equals True.
_SAME_IF_EQUAL = {str, bytes, int}

_COMPARED_OTHERWISE = UNCHANGEABLE | {Serialized}

# Serialized values that are kept until it is known whether the state is stored as a full. Buffers
# count too: a serializer may have made them, and then they are no memory of the state.
_KEPT_BYTES = 16 << 20

# To ask whether the pipeline has a value under another key, or had it before, takes longer than
# to store less than this again.
_LOOK_UP_BYTES = 16 << 10

# A smaller chunk is stored again rather than looked for: what is pickled beside an array is the
# same from array to array. A load would open another payload for it; and where all else changed,
# a full would serialize and hash the whole value again, to have it too.
_LEAST_SHARED_BYTES = 1 << 10

_FULL_SHARE = 0.7  # of the state: a larger delta is stored as a full
_MOST_READ = 2.0  # times the state: what a load may have to decompress
# To open one more file and member takes as long as to decompress so much.
_OPENING_BYTES = 16 << 10
# Less than this is read in a millisecond: a small state need not be a full every few saves.
_FEW_BYTES = 512 << 10


_T = TypeVar("_T")


@dataclass(slots=True)
class Staged:
    """A state being stored: each key's value, and what of it this payload stores."""

    database: Database
    pipeline_id: int
    serializer: serialize.Serializer
    cipher: Cipher
    pool: Pool
    packer: Packer
    head: Head | None
    is_full: bool
    digests: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    new_values: dict[bytes, Value] = field(default_factory=dict)
    reused_values: dict[bytes, KnownValue] = field(default_factory=dict)
    reused_chunks: dict[bytes, KnownChunk] = field(default_factory=dict)
    own_chunks: dict[bytes, int] = field(default_factory=dict)
    member_bytes: dict[int, int] = field(default_factory=dict)
    has_waste: bool = False  # chunks were stored that no value has
    objects: dict[str, object] = field(default_factory=dict)
    streams: dict[bytes, Stream] = field(default_factory=dict)
    small: dict[str, bytes] = field(default_factory=dict)
    small_bytes: int = 0
    kept: dict[str, Cut] = field(default_factory=dict)
    kept_bytes: int = 0

    @property
    def state_bytes(self) -> int:
        return sum(self.sizes.values())

    def add(self, items: Mapping[str, object]) -> None:
        """Store what the pipeline lacks of these keys' values (in a full: all)."""
        for group in self._groups(self._changed(items)):
            unknown = [each for each in group if not self._is_known(each)]
            if not self.is_full and sum(each.raw_bytes for each in unknown) > _LOOK_UP_BYTES:
                unknown = self._without_found(unknown)
                self._find_chunks(unknown)
            for each in unknown:
                if each.digest not in self.new_values and each.digest not in self.reused_values:
                    value = self.new_values[each.digest] = self._define(each)
                    if _is_elsewhere(value):
                        self._keep(each)

    def is_too_large(self) -> bool:
        """Say whether this should rather be a full: by its delta, or by what a load reads."""
        state_bytes, delta = self.state_bytes, self.packer.raw_bytes
        if delta and delta >= _FULL_SHARE * state_bytes:
            return True
        most_read_bytes = max(_MOST_READ * state_bytes, _FEW_BYTES)
        return delta + self._reused_member_bytes() > most_read_bytes

    def make_full(self, items: dict[str, object]) -> None:
        """Store here too what was found elsewhere, so that this payload alone is enough."""
        self.is_full = True
        elsewhere = {digest for digest, value in self.new_values.items() if _is_elsewhere(value)}
        elsewhere |= self.reused_values.keys()
        for digest in elsewhere:
            self.new_values.pop(digest, None)
        self.reused_values.clear()
        self.reused_chunks.clear()
        before = {key: digest for key, digest in self.digests.items() if digest in elsewhere}
        self.add({key: self.kept.get(key, items[key]) for key in before})
        self.kept.clear()
        # A value that pickles differently each time has left chunks of its first pickle here.
        self.has_waste |= any(self.digests[key] != digest for key, digest in before.items())

    def memory(self) -> Memory:
        """Return what to remember of the state for the next one.

        Objects are held until then: of at most `_HELD_BYTES`, measured by what they serialize to.
        """
        objects: dict[str, object] = {}
        left_bytes = _HELD_BYTES
        for key, value in self.objects.items():
            if self.sizes[key] <= left_bytes:
                left_bytes -= self.sizes[key]
                objects[key] = value
        return Memory(objects, self.sizes, self.streams, self.small)

    # --- comparing

    def _changed(self, items: Mapping[str, object]) -> Iterator[tuple[str, Serialized | Cut]]:
        """Yield, serialized, what is not seen at once to be what its key had before.

        Streams are staged here, one by one: they are never held whole.
        """
        memory = Memory() if self.head is None or self.is_full else self.head.memory
        small = memory.small if self.serializer.name == serialize.PICKLE else {}
        buffers: list[memoryview] = []
        pickled = serialize.pickler(buffers)
        same: list[str] = []
        for key, value in items.items():
            if isinstance(value, StreamedValue):
                stage(self, key, value)
                continue
            changed: Serialized | Cut | None = None
            if (before := small.get(key)) is None or type(value) in _COMPARED_OTHERWISE:
                changed = self._unlike(key, value, memory)
            else:  # as below, in fewer steps: of ten thousand keys most of the time is steps
                try:
                    stream = pickled(value)
                except Exception as error:  # noqa: BLE001 - of code that is not ours
                    serialize.refuse(key, self.serializer, error)
                if stream != before:
                    parts: list[serialize.Buffer] = [stream, *buffers]
                    buffers.clear()
                    changed = serialize.described(key, value, self.serializer, parts)
            if changed is None:
                same.append(key)
                continue
            self._reuse(same)
            same.clear()
            yield key, changed
        self._reuse(same)

    def _unlike(self, key: str, value: object, memory: Memory) -> Serialized | Cut | None:
        """Return a value, serialized; None if it is seen to be what its key had before.

        That is seen by the object, if it cannot change, or by its bytes, if these are few.
        """
        kind, small = type(value), memory.small
        if kind in UNCHANGEABLE:
            self.objects[key] = value
            before = memory.objects.get(key)
            if before is value or (
                kind in _SAME_IF_EQUAL and type(before) is kind and before == value
            ):
                return None
        if isinstance(value, Cut):  # kept, for a full
            return value
        if isinstance(value, Serialized):
            is_same = key in small and self._is_small(value) and value.parts[0] == small[key]
            return None if is_same else value
        parts = serialize.dump_parts(key, value, self.serializer)
        # A view of numbers would be compared by these.
        is_compared = key in small and len(parts) == 1 and type(parts[0]) is bytes
        if is_compared and parts[0] == small[key]:
            return None
        return serialize.described(key, value, self.serializer, parts)

    def _reuse(self, keys: list[str]) -> None:
        """Note that each of these keys has what it had before."""
        if self.head is None or not keys:
            return
        memory = self.head.memory
        digests = _chosen(self.head.digests, keys)
        self.digests |= digests
        self.sizes |= _chosen(memory.sizes, keys)
        values = map(self.head.values.__getitem__, keys)
        self.reused_values |= zip(digests.values(), values, strict=True)
        if memory.streams:
            streams = memory.streams
            self.streams |= {each: streams[each] for each in digests.values() if each in streams}
        small = _chosen(memory.small, [*filter(memory.small.__contains__, keys)])
        small_bytes = sum(map(len, small.values()))
        if self.small_bytes + small_bytes <= _HELD_STREAM_BYTES:  # else by digest, next time
            self.small |= small
            self.small_bytes += small_bytes

    def _groups(self, items: Iterable[tuple[str, Serialized | Cut]]) -> Iterator[list[Cut]]:
        group: list[Cut] = []
        held_bytes = 0
        for key, found in items:
            each = found if isinstance(found, Cut) else self._cut(key, found)
            group.append(each)
            held_bytes += each.serialized.layout[0]
            if len(group) >= _GROUP_VALUES or held_bytes >= _GROUP_BYTES:
                yield group
                group, held_bytes = [], 0
        if group:
            yield group

    def _cut(self, key: str, serialized: Serialized) -> Cut:
        if self._is_small(serialized):
            self._hold(key, serialized.parts[0])
            return uncut(key, serialized, self.cipher.digests)
        # Of a value that was pickled before, in this save, into less.
        self.small.pop(key, None)
        return cut(key, serialized, self._stream_before(key), self.cipher, self.pool)

    def _is_small(self, serialized: Serialized) -> bool:
        """Say whether a value is one chunk, of the one serializer whose small ones are remembered.

        A copy has values of others too: the same bytes need not be the same value there.
        """
        return (
            len(serialized.layout) == 1
            and serialized.layout[0] <= WHOLE_STREAM_BYTES
            and serialized.serializer == self.serializer.name
        )

    def _hold(self, key: str, stream: bytes | memoryview) -> None:
        self.small.pop(key, None)  # of a value that was pickled before, in this save
        if self.small_bytes + len(stream) <= _HELD_STREAM_BYTES:
            self.small_bytes += len(stream)
            self.small[key] = bytes(stream)

    def _stream_before(self, key: str) -> Stream | None:
        if self.head is None or key not in self.head.values:
            return None
        return self.head.memory.streams.get(self.head.values[key].digest)

    def _is_known(self, each: Cut) -> bool:
        self.digests[each.key] = each.digest
        self.sizes[each.key] = each.raw_bytes
        if each.stream is not None:
            self.streams[each.digest] = each.stream
        if each.digest in self.new_values or each.digest in self.reused_values:
            return True
        if self.head is None or self.is_full:
            return False
        before = self.head.values.get(each.key)
        if before is None or before.digest != each.digest:
            return False
        self.reused_values[each.digest] = before
        return True

    def _without_found(self, unknown: list[Cut]) -> list[Cut]:
        with self.database.read() as connection:
            found = find_values(
                connection,
                self.pipeline_id,
                {each.digest for each in unknown},
                self.member_bytes,
            )
        self.reused_values |= found
        return [each for each in unknown if each.digest not in found]

    def _find_chunks(self, unknown: list[Cut]) -> None:
        wanted: set[bytes] = set()
        for each in unknown:
            if len(each.lengths) > 1:
                large = [length >= _LEAST_SHARED_BYTES for length in each.lengths]
                digests = set(compress(each.digests, large))
                before = self.head.values.get(each.key) if self.head else None
                if before is not None:
                    same = before.chunks.keys() & digests
                    self.reused_chunks.update((digest, before.chunks[digest]) for digest in same)
                wanted |= digests
        wanted -= self.own_chunks.keys() | self.reused_chunks.keys()
        self.look_up_chunks(wanted)

    def look_up_chunks(self, digests: set[bytes]) -> None:
        """Note which of these chunks the pipeline has."""
        if digests:
            with self.database.read() as connection:
                self.reused_chunks |= find_chunks(
                    connection, self.pipeline_id, digests, self.member_bytes
                )

    # --- storing

    def _define(self, each: Cut) -> Value:
        return Value(
            digest=each.digest,
            type_name=each.serialized.type_name,
            serializer=each.serialized.serializer,
            layout=each.serialized.layout,
            chunks=tuple(self._refs(each)),
        )

    def _keep(self, each: Cut) -> None:
        """Keep what would have to be serialized and hashed again for a full, if there is room.

        An array that is changed until then is not what its digests say: the packer sees that.
        """
        if not self.is_full and self.kept_bytes + each.raw_bytes <= _KEPT_BYTES:
            self.kept[each.key] = each
            self.kept_bytes += each.raw_bytes

    def _refs(self, each: Cut) -> Iterator[int | bytes]:
        is_shared = len(each.lengths) > 1
        for data, digest in zip(each.chunks(), each.digests, strict=True):
            if is_shared and digest in self.reused_chunks:
                yield digest
                continue
            number = self.own_chunks.get(digest) if is_shared else None
            if number is None:
                is_fixed = type(data.obj) is bytes  # a pickle; an array's buffer is the array's
                number = self.packer.add(Chunk(data, digest, each.key, is_shared, is_fixed))
                if is_shared:
                    self.own_chunks[digest] = number
            yield number

    def _reused_member_bytes(self) -> int:
        """The raw bytes of all members of other payloads that a load would decompress."""
        used = members_used(self.reused_values.values())
        used |= {
            self.reused_chunks[ref].member_id
            for value in self.new_values.values()
            for ref in value.chunks
            if isinstance(ref, bytes)
        }
        known = self.head.member_bytes if self.head else {}
        return sum((self.member_bytes.get(each) or known[each]) + _OPENING_BYTES for each in used)


def _chosen(items: Mapping[str, _T], keys: Collection[str]) -> dict[str, _T]:
    return dict(zip(keys, map(items.__getitem__, keys), strict=True))


def _is_elsewhere(value: Value) -> bool:
    """Say whether another payload stores a chunk of a value."""
    return any(isinstance(ref, bytes) for ref in value.chunks)
