"""A state becomes a file not yet published: serialized, cut, compared by digest, packed.

Nothing is read back from disk: what the pipeline already has is known by its digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import TypeVar

from checkpointdb import serialize
from checkpointdb.database import Database
from checkpointdb.manifest import Value
from checkpointdb.sealing import Cipher
from checkpointdb.serialize import Serialized
from checkpointdb.store.cutting import Cut, cut, is_fixed, uncut
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
from checkpointdb.store.likeness import is_small, unlike
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
    known: dict[str, KnownValue] = field(default_factory=dict)  # by key, as those above
    noted: list[str] = field(default_factory=list)  # keys that were not seen at once to be the same
    new_values: dict[bytes, Value] = field(default_factory=dict)
    reused_chunks: dict[bytes, KnownChunk] = field(default_factory=dict)
    own_chunks: dict[bytes, int] = field(default_factory=dict)
    member_bytes: dict[int, int] = field(default_factory=dict)
    has_waste: bool = False  # chunks were stored that no value has
    objects: dict[str, object] = field(default_factory=dict)
    streams: dict[bytes, Stream] = field(default_factory=dict)
    small: dict[str, bytes] = field(default_factory=dict)
    small_bytes: int = 0
    by_digest: dict[bytes, KnownValue] | None = None  # made when it is asked for
    kept: dict[str, Cut] = field(default_factory=dict)
    kept_bytes: int = 0

    @property
    def state_bytes(self) -> int:
        return sum(self.sizes.values())

    def stage(self, items: Mapping[str, object]) -> None:
        """Store what the pipeline lacks of a state: if that is too much, all of it."""
        if self.head is not None and not self.is_full:
            self._assume(self.head, items)
        self._add(items)
        if not self.is_full and self._is_too_large():
            self._make_full(items)

    def note(self, key: str, digest: bytes, raw_bytes: int) -> bool:
        """Note what value a key has, and say whether nothing of it has to be stored."""
        self.noted.append(key)
        self.digests[key] = digest
        self.sizes[key] = raw_bytes
        self.known.pop(key, None)
        if digest in self.new_values:
            return True
        if self.head is None or self.is_full:
            return False
        before = self.head.values.get(key)
        if before is None or before.digest != digest:
            before = self._known_by_digest().get(digest)
        if before is not None:
            self.known[key] = before
        return before is not None

    def find(self, digests: Mapping[str, bytes]) -> None:
        """Note which of these keys have a value that the pipeline has, under another key maybe."""
        with self.database.read() as connection:
            found = find_values(
                connection, self.pipeline_id, {*digests.values()}, self.member_bytes
            )
        self._known_by_digest().update(found)
        self.known |= {key: found[each] for key, each in digests.items() if each in found}

    def _known_by_digest(self) -> dict[bytes, KnownValue]:
        """Return the values that keys of this state have or had, and those found in the pipeline.

        What a key had, it may no longer have: it lives as long as what is compared with.
        """
        if self.by_digest is None:
            self.by_digest = {value.digest: value for value in self.known.values()}
        return self.by_digest

    def _assume(self, head: Head, items: Mapping[str, object]) -> None:
        """Take each key to have what it had, until another value of it is noted."""
        has_same_keys = head.digests.keys() == items.keys()

        def chosen(before: Mapping[str, _T]) -> dict[str, _T]:
            if has_same_keys:
                return dict(before)
            return {key: before[key] for key in items if key in before}

        memory = head.memory
        self.digests, self.known = chosen(head.digests), chosen(head.values)
        self.sizes, self.small = chosen(memory.sizes), chosen(memory.small)
        self.small_bytes = sum(map(len, self.small.values()))
        self.streams = dict(memory.streams)

    def _add(self, items: Mapping[str, object]) -> None:
        """Store what the pipeline lacks of these keys' values (in a full: all)."""
        for group in self._groups(items):
            unknown = [
                each for each in group if not self.note(each.key, each.digest, each.raw_bytes)
            ]
            if not self.is_full and sum(each.raw_bytes for each in unknown) > _LOOK_UP_BYTES:
                self.find({each.key: each.digest for each in unknown})
                unknown = [each for each in unknown if each.key not in self.known]
                self._find_chunks(unknown)
            for each in unknown:
                if each.digest not in self.new_values:
                    value = self.new_values[each.digest] = self._define(each)
                    if self.reused_chunks and _is_elsewhere(value):
                        self._keep(each)

    def _is_too_large(self) -> bool:
        """Say whether this should rather be a full: by its delta, or by what a load reads."""
        state_bytes, delta = self.state_bytes, self.packer.raw_bytes
        if delta and delta >= _FULL_SHARE * state_bytes:
            return True
        most_bytes = max(_MOST_READ * state_bytes, _FEW_BYTES)
        if delta + self._most_read_bytes() <= most_bytes:
            return False
        return delta + self._read_bytes() > most_bytes

    def _make_full(self, items: Mapping[str, object]) -> None:
        """Store here too what was found elsewhere, so that this payload alone is enough."""
        self.is_full = True
        if self.reused_chunks:
            values = self.new_values.items()
            self.new_values = {each: value for each, value in values if not _is_elsewhere(value)}
        self.known.clear()
        self.reused_chunks.clear()
        before = {
            key: self.digests[key] for key in items if self.digests[key] not in self.new_values
        }
        self._add({key: self.kept.get(key, items[key]) for key in before})
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
        streams = self.streams
        if streams:
            streams = {each: streams[each] for each in streams.keys() & {*self.digests.values()}}
        return Memory(objects, self.sizes, streams, self.small)

    # --- comparing

    def _groups(self, items: Mapping[str, object]) -> Iterator[list[Cut]]:
        """Yield what is not seen at once to be what it was, but streams, which are staged here."""
        memory = Memory() if self.head is None or self.is_full else self.head.memory
        group: list[Cut] = []
        held_bytes = 0
        for key, found in unlike(items, memory, self.serializer, self.objects):
            # Of what the key had before, or was pickled into before in this save.
            self.small_bytes -= len(self.small.pop(key, b""))
            if isinstance(found, StreamedValue):  # one by one: they are never held whole
                stage(self, key, found)
                continue
            each = found if isinstance(found, Cut) else self._cut(key, found)
            group.append(each)
            held_bytes += each.serialized.layout[0]
            if len(group) >= _GROUP_VALUES or held_bytes >= _GROUP_BYTES:
                yield group
                group, held_bytes = [], 0
        if group:
            yield group

    def _cut(self, key: str, serialized: Serialized) -> Cut:
        if is_small(serialized, self.serializer):
            stream = serialized.parts[0]
            if self.small_bytes + len(stream) <= _HELD_STREAM_BYTES:  # else by digest, next time
                self.small_bytes += len(stream)
                self.small[key] = bytes(stream)
            return uncut(key, serialized, self.cipher.digests)
        found = cut(key, serialized, self._stream_before(key), self.cipher, self.pool)
        if found.stream is not None:
            self.streams[found.digest] = found.stream
        return found

    def _stream_before(self, key: str) -> Stream | None:
        if self.head is None or key not in self.head.values:
            return None
        return self.head.memory.streams.get(self.head.values[key].digest)

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
        chunks: tuple[int | bytes, ...]
        if len(each.lengths) > 1:
            chunks = tuple(self._refs(each))
        else:  # a chunk of its own, without a row
            [data], [digest] = each.chunks(), each.digests
            chunks = (self._store(data, digest, each, is_shared=False),)
        serialized = each.serialized
        return Value(
            each.digest, serialized.type_name, serialized.serializer, serialized.layout, chunks
        )

    def _keep(self, each: Cut) -> None:
        """Keep what would have to be serialized and hashed again for a full, if there is room.

        An array that is changed until then is not what its digests say: the packer sees that.
        """
        if not self.is_full and self.kept_bytes + each.raw_bytes <= _KEPT_BYTES:
            self.kept[each.key] = each
            self.kept_bytes += each.raw_bytes

    def _refs(self, each: Cut) -> Iterator[int | bytes]:
        for data, digest in zip(each.chunks(), each.digests, strict=True):
            if digest in self.reused_chunks:
                yield digest
                continue
            number = self.own_chunks.get(digest)
            if number is None:
                number = self.own_chunks[digest] = self._store(data, digest, each, is_shared=True)
            yield number

    def _store(self, data: bytes | memoryview, digest: bytes, each: Cut, *, is_shared: bool) -> int:
        return self.packer.add(Chunk(data, digest, each.key, is_shared, is_fixed(data)))

    def _most_read_bytes(self) -> int:
        """No less than `_read_bytes`, and known sooner: that of all members there may be."""
        known = self.head.member_bytes if self.head else {}
        sizes = known | self.member_bytes
        return sum(sizes.values()) + _OPENING_BYTES * len(sizes)

    def _read_bytes(self) -> int:
        """The raw bytes of all members of other payloads that a load would decompress."""
        used = members_used(self.known.values())
        used |= {
            self.reused_chunks[ref].member_id
            for value in self.new_values.values()
            for ref in value.chunks
            if isinstance(ref, bytes)
        }
        known = self.head.member_bytes if self.head else {}
        return sum((self.member_bytes.get(each) or known[each]) + _OPENING_BYTES for each in used)


def _is_elsewhere(value: Value) -> bool:
    """Say whether another payload stores a chunk of a value."""
    return any(isinstance(ref, bytes) for ref in value.chunks)
