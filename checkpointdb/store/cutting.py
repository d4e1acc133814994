"""A serialized value cut into chunks, with the digests that name it and them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, TypeVar

from checkpointdb import serialize
from checkpointdb.chunking import WHOLE_STREAM_BYTES, average_of, cut_buffer, cut_rest, cut_stream
from checkpointdb.digests import Digests
from checkpointdb.sealing import Cipher
from checkpointdb.store.head import Stream
from checkpointdb.store.pool import Pool

_Part = TypeVar("_Part", bytes | memoryview, memoryview)

# Of less, the digests are taken before a thread has begun.
_THREAD_PAYS_BYTES = 4 << 20


class Cut(NamedTuple):
    """A serialized value in chunks, with every digest.

    `lengths` are those of its chunks. `stream` is how its in-band stream was cut, None if that is
    the value's only chunk.
    """

    key: str
    serialized: serialize.Serialized
    lengths: list[int]
    digests: list[bytes]
    digest: bytes
    raw_bytes: int
    stream: Stream | None

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Yield the chunks; of several none is a copy."""
        parts = self.serialized.parts
        if len(self.lengths) > 1:
            parts = tuple([memoryview(part) for part in parts])
        return _chunks(parts, self.lengths)


def uncut(key: str, serialized: serialize.Serialized, digests: Digests) -> Cut:
    """Return a value that is too small to be cut: one chunk."""
    [chunk], layout = serialized.parts, serialized.layout
    of_chunk = [digests.chunk(chunk)]
    digest = digests.value(serialized.serializer, layout, of_chunk)
    return Cut(key, serialized, [len(chunk)], of_chunk, digest, layout[0], None)


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
    first, *buffers = [memoryview(part) for part in serialized.parts]
    is_short = WHOLE_STREAM_BYTES < len(first) < _THREAD_PAYS_BYTES
    of_whole = cipher.digests.chunk(first) if is_short else None
    if before is not None and of_whole is not None and before.whole == of_whole:
        stream = before
    elif before is not None and _may_share_cuts(len(first), sum(before.lengths)):
        stream = _cut_again(first, of_whole, before, cipher, pool)
    else:
        lengths = cut_stream(first, cipher.seed)
        of_chunks = _digests_of([first], lengths, cipher.digests, pool)
        stream = Stream(lengths, of_chunks, of_whole)
    blocks = [length for part in buffers for length in cut_buffer(part.nbytes)]
    digests = stream.digests + _digests_of(buffers, blocks, cipher.digests, pool)
    digest = cipher.digests.value(serialized.serializer, serialized.layout, digests)
    raw_bytes = sum(serialized.layout)
    known = stream if len(stream.lengths) > 1 else None
    return Cut(key, serialized, stream.lengths + blocks, digests, digest, raw_bytes, known)


def _may_share_cuts(length: int, before: int) -> bool:
    return min(length, before) > WHOLE_STREAM_BYTES and average_of(length) == average_of(before)


def _cut_again(
    first: memoryview, of_whole: bytes | None, before: Stream, cipher: Cipher, pool: Pool
) -> Stream:
    """Cut a stream that begins, and ends, as it did before: there it needs only to be compared.

    The result is that of `cut_stream`: at equal averages a chunk ends where its own bytes and the
    one after them say so, wherever it lies; and from a boundary on, equal bytes have equal chunks.
    """
    same = _Same(0, len(before.lengths))
    if len(first) < _THREAD_PAYS_BYTES:
        _compare_starts(first, before, cipher.digests, same)
        _compare_ends(first, before, cipher.digests, same)
    else:
        other = pool.submit(_compare_ends, first, before, cipher.digests, same)
        _compare_starts(first, before, cipher.digests, same)
        other.result()
    if same.until >= same.since and len(first) == sum(before.lengths):
        return before

    # The last chunk was cut by the end of the stream; and of the others the cutter has looked at
    # one byte more: each must be followed by one that is the same.
    start_to = max(min(same.until, len(before.lengths) - 1) - 1, 0)
    # Where the chunks at the end begin, as their distance from it.
    distances = accumulate(reversed(before.lengths[same.since :]))
    numbers = {at: len(before.lengths) - count for count, at in enumerate(distances, 1)}
    differs = first[sum(before.lengths[:start_to]) :]
    rest = len(differs)
    new: list[int] = []
    for length in cut_rest(differs, average_of(len(first)), cipher.seed):
        if rest in numbers:
            break
        new.append(length)
        rest -= length
    until, since = slice(start_to), slice(numbers.get(rest, len(before.lengths)), None)
    lengths = [*before.lengths[until], *new, *before.lengths[since]]
    of_new = _digests_of([differs[: sum(new)]], new, cipher.digests, pool)
    digests = [*before.digests[until], *of_new, *before.digests[since]]
    return Stream(lengths, digests, of_whole)


@dataclass(slots=True)
class _Same:
    """Which chunks of a stream are the same: those until a number, and those since another.

    Two threads may look from both ends, until they meet.
    """

    until: int
    since: int


def _compare_starts(stream: memoryview, before: Stream, digests: Digests, same: _Same) -> None:
    start = 0
    for number, length in enumerate(before.lengths):
        end = start + length
        if number >= same.since or digests.chunk(stream[start:end]) != before.digests[number]:
            return
        start, same.until = end, number + 1


def _compare_ends(stream: memoryview, before: Stream, digests: Digests, same: _Same) -> None:
    end = len(stream)
    for number in range(len(before.lengths) - 1, -1, -1):
        start = end - before.lengths[number]
        if number < same.until or start < 0:
            return
        if digests.chunk(stream[start:end]) != before.digests[number]:
            return
        end, same.since = start, number


def is_fixed(data: bytes | memoryview) -> bool:
    """Say whether nobody can change bytes: a pickle's; an array's buffer is the array's own."""
    return type(data) is bytes or (type(data) is memoryview and type(data.obj) is bytes)


def _chunks(parts: Sequence[_Part], lengths: Iterable[int]) -> Iterator[_Part]:
    """Yield what parts consist of; one by one, since a list of all would be as many objects."""
    rest = iter(lengths)
    for part in parts:
        end = 0
        while end < len(part):
            start, end = end, end + next(rest)
            yield part[start:end]


def _digests_of(
    parts: Sequence[memoryview], lengths: Sequence[int], digests: Digests, pool: Pool
) -> list[bytes]:
    """Return the digest of each chunk; of a large value the half is left to another thread."""

    def take(some: Iterable[memoryview]) -> list[bytes]:
        return [digests.chunk(chunk) for chunk in some]

    if len(lengths) <= 1 or sum(lengths) < _THREAD_PAYS_BYTES:
        return take(_chunks(parts, lengths))
    chunks, half = [*_chunks(parts, lengths)], len(lengths) // 2
    other = pool.submit(take, chunks[half:])
    return take(chunks[:half]) + other.result()
