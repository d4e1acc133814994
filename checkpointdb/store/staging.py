"""A state becomes a file not yet published: serialized, cut, compared by digest, packed.

Nothing is read back from disk: what the pipeline already has is known by its digests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress

from checkpointdb import queries, serialize
from checkpointdb.chunking import WHOLE_STREAM_BYTES, cut_buffer, cut_stream
from checkpointdb.database import Database
from checkpointdb.digests import Digests
from checkpointdb.manifest import Value
from checkpointdb.queries import batches
from checkpointdb.sealing import Cipher
from checkpointdb.store.head import (
    Head,
    KnownChunk,
    KnownValue,
    Memory,
    Stream,
    find_values,
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

# Serialized values that are kept until it is known whether the state is stored as a full. Buffers
# count too: a serializer may have made them, and then they are no memory of the state.
_KEPT_BYTES = 16 << 20

# Of less, the digests are taken before a thread has begun.
_THREAD_PAYS_BYTES = 4 << 20

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


@dataclass(slots=True)
class Cut:
    """A serialized value in chunks, with every digest; `stream` are those of its in-band stream."""

    key: str
    serialized: serialize.Serialized
    chunks: list[memoryview]
    digests: list[bytes]
    digest: bytes
    raw_bytes: int
    stream: Stream


def whole(key: str, serialized: serialize.Serialized, digest: bytes, cipher: Cipher) -> Cut:
    """Return a value that is one chunk, whose digest is known."""
    of_value = cipher.digests.value(serialized.serializer, serialized.layout, [digest])
    length = serialized.layout[0]
    stream = Stream([length], [digest])
    return Cut(key, serialized, [serialized.parts[0]], stream.digests, of_value, length, stream)


def cut(
    key: str,
    serialized: serialize.Serialized,
    before: Stream | None,
    cipher: Cipher,
    pool: Pool,
) -> Cut:
    """Cut a serialized value and take its digests.

    Where the stream is what it was `before` it need not be cut to see that.
    """
    first, *buffers = serialized.parts
    if before is not None and before.is_in(first, cipher.digests):
        stream, chunks = before, _slices(first, before.lengths)
    else:
        lengths = cut_stream(first, cipher.seed)
        chunks = _slices(first, lengths)
        stream = Stream(lengths, _digests_of(chunks, cipher.digests, pool))
    blocks = [block for part in buffers for block in _slices(part, cut_buffer(part.nbytes))]
    digests = stream.digests + _digests_of(blocks, cipher.digests, pool)
    digest = cipher.digests.value(serialized.serializer, serialized.layout, digests)
    raw_bytes = sum(serialized.layout)
    return Cut(key, serialized, chunks + blocks, digests, digest, raw_bytes, stream)


def _slices(part: memoryview, lengths: list[int]) -> list[memoryview]:
    if len(lengths) == 1:
        return [part]
    ends = accumulate(lengths)
    return [part[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _digests_of(chunks: list[memoryview], digests: Digests, pool: Pool) -> list[bytes]:
    """Return the digest of each chunk; of a large value the half is left to another thread."""

    def take(some: list[memoryview]) -> list[bytes]:
        return [digests.chunk(chunk) for chunk in some]

    if len(chunks) <= 1 or sum(map(len, chunks)) < _THREAD_PAYS_BYTES:
        return take(chunks)
    half = len(chunks) // 2
    other = pool.submit(take, chunks[half:])
    return take(chunks[:half]) + other.result()


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
    kept: dict[str, serialize.Serialized] = field(default_factory=dict)
    kept_bytes: int = 0

    @property
    def state_bytes(self) -> int:
        return sum(self.sizes.values())

    def add(self, items: Iterable[tuple[str, object]]) -> None:
        """Store what the pipeline lacks of these keys' values (in a full: all)."""
        for group in self._groups(self._looked_at(items)):
            unknown = [each for each in group if not self._is_known(each)]
            if not self.is_full and sum(each.raw_bytes for each in unknown) > _LOOK_UP_BYTES:
                unknown = self._without_found(unknown)
                self._find_chunks(unknown)
            for each in unknown:
                if each.digest not in self.new_values and each.digest not in self.reused_values:
                    self.new_values[each.digest] = self._define(each)
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
        elsewhere = {
            digest
            for digest, value in self.new_values.items()
            if any(isinstance(ref, bytes) for ref in value.chunks)
        }
        elsewhere |= self.reused_values.keys()
        for digest in elsewhere:
            self.new_values.pop(digest, None)
        self.reused_values.clear()
        self.reused_chunks.clear()
        before = {key: digest for key, digest in self.digests.items() if digest in elsewhere}
        self.add((key, self.kept.get(key, items[key])) for key in before)
        self.kept.clear()
        # A value that pickles differently each time has left chunks of its first pickle here.
        self.has_waste |= any(self.digests[key] != digest for key, digest in before.items())

    def memory(self) -> Memory:
        """Return what to remember of the state for the next one.

        Objects are held until then: of at most `_HELD_BYTES`, measured by what they serialize to.
        """
        objects: dict[str, object] = {}
        sizes: dict[str, int] = {}
        left_bytes = _HELD_BYTES
        for key, value in self.objects.items():
            if self.sizes[key] <= left_bytes:
                left_bytes -= self.sizes[key]
                objects[key], sizes[key] = value, self.sizes[key]
        return Memory(objects, sizes, self.streams, self.small)

    # --- comparing

    def _looked_at(self, items: Iterable[tuple[str, object]]) -> Iterator[tuple[str, object]]:
        """Yield all items but those whose very object was saved before and cannot change.

        Streams are staged here, one by one: they are never held whole.
        """
        head = None if self.is_full else self.head
        for key, value in items:
            if type(value) in UNCHANGEABLE:
                self.objects[key] = value
                if head is not None and self._is_held(head, key, value):
                    continue
            elif isinstance(value, StreamedValue):
                stage(self, key, value)
                continue
            yield key, value

    def _is_held(self, head: Head, key: str, value: object) -> bool:
        before = head.values.get(key)
        if before is None or head.memory.objects.get(key) is not value:
            return False
        self.digests[key] = before.digest
        self.sizes[key] = head.memory.sizes[key]
        self.reused_values[before.digest] = before
        if (stream := head.memory.streams.get(before.digest)) is not None:
            self.streams[before.digest] = stream
        if (small := head.memory.small.get(key)) is not None:
            self._hold(key, small)
        return True

    def _groups(self, items: Iterable[tuple[str, object]]) -> Iterator[list[Cut]]:
        group: list[Cut] = []
        held_bytes = 0
        for key, value in items:
            if isinstance(value, serialize.Serialized):
                serialized = value
                if self._is_small(value) and self._is_same(key, value.parts):
                    continue
            else:
                parts = serialize.dump_parts(key, value, self.serializer)
                if self._is_same(key, parts):
                    continue
                serialized = serialize.described(key, value, self.serializer, parts)
            if self._is_small(serialized):
                self._hold(key, serialized.parts[0])
                digest = self.cipher.digests.chunk(serialized.parts[0])
                group.append(whole(key, serialized, digest, self.cipher))
            else:
                # Of a value that was pickled before, in this save, into less.
                self.small.pop(key, None)
                before = self._stream_before(key)
                group.append(cut(key, serialized, before, self.cipher, self.pool))
            held_bytes += serialized.layout[0]
            if len(group) >= _GROUP_VALUES or held_bytes >= _GROUP_BYTES:
                yield group
                group, held_bytes = [], 0
        if group:
            yield group

    def _is_small(self, serialized: serialize.Serialized) -> bool:
        """Say whether a value is one chunk, of the one serializer whose small ones are remembered.

        A copy has values of others too: the same bytes need not be the same value there.
        """
        return (
            len(serialized.layout) == 1
            and serialized.layout[0] <= WHOLE_STREAM_BYTES
            and serialized.serializer == self.serializer.name
        )

    def _is_same(self, key: str, parts: Sequence[serialize.Buffer]) -> bool:
        """Say whether a small value is what its key had before, byte for byte."""
        if self.head is None or self.is_full:
            return False
        stream = self.head.memory.small.get(key)
        if stream is None or len(parts) != 1 or not isinstance(parts[0], bytes | memoryview):
            return False
        before = self.head.values.get(key)
        if before is None or parts[0] != stream:
            return False
        self.digests[key] = before.digest
        self.sizes[key] = len(stream)
        self.reused_values[before.digest] = before
        self._hold(key, stream)
        return True

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
        if len(each.stream.lengths) > 1:
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
            if len(each.chunks) > 1:
                large = [len(chunk) >= _LEAST_SHARED_BYTES for chunk in each.chunks]
                digests = set(compress(each.digests, large))
                before = self.head.values.get(each.key) if self.head else None
                if before is not None:
                    same = before.chunks.keys() & digests
                    self.reused_chunks.update((digest, before.chunks[digest]) for digest in same)
                wanted |= digests
        wanted -= self.own_chunks.keys() | self.reused_chunks.keys()
        if not wanted:
            return
        with self.database.read() as connection:
            for batch in batches(wanted):
                for row in connection.execute(queries.chunks_by_digest(self.pipeline_id, batch)):
                    self.reused_chunks[row.digest] = KnownChunk(row.id, row.member_id)
                    self.member_bytes[row.member_id] = row.member_bytes

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
        """Keep what would have to be serialized again for a full, as far as there is room."""
        if not self.is_full and self.kept_bytes + each.raw_bytes <= _KEPT_BYTES:
            self.kept[each.key] = each.serialized
            self.kept_bytes += each.raw_bytes

    def _refs(self, each: Cut) -> Iterator[int | bytes]:
        is_shared = len(each.chunks) > 1
        for data, digest in zip(each.chunks, each.digests, strict=True):
            if is_shared and digest in self.reused_chunks:
                yield digest
                continue
            number = self.own_chunks.get(digest) if is_shared else None
            if number is None:
                number = self.packer.add(Chunk(data, digest, each.key, is_shared))
                if is_shared:
                    self.own_chunks[digest] = number
            yield number

    def _reused_member_bytes(self) -> int:
        """The raw bytes of all members of other payloads that a load would decompress."""
        used = {member for value in self.reused_values.values() for member in value.members}
        used |= {
            self.reused_chunks[ref].member_id
            for value in self.new_values.values()
            for ref in value.chunks
            if isinstance(ref, bytes)
        }
        known = self.head.member_bytes if self.head else {}
        return sum((self.member_bytes.get(each) or known[each]) + _OPENING_BYTES for each in used)
