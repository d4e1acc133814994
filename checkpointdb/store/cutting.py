"""A serialized value cut into chunks, with the digests that name it and them."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from checkpointdb import serialize
from checkpointdb.chunking import WHOLE_STREAM_BYTES, average_of, cut_buffer, cut_rest, cut_stream
from checkpointdb.digests import Digests
from checkpointdb.sealing import Cipher
from checkpointdb.store.head import Stream
from checkpointdb.store.pool import Pool

# Of less, the digests are taken before a thread has begun.
_THREAD_PAYS_BYTES = 4 << 20


class Cut(NamedTuple):
    """A serialized value in chunks, with every digest.

    `stream` is how its in-band stream was cut, None if that is the value's only chunk.
    """

    key: str
    serialized: serialize.Serialized
    chunks: list[memoryview]
    digests: list[bytes]
    digest: bytes
    raw_bytes: int
    stream: Stream | None


def uncut(key: str, serialized: serialize.Serialized, digests: Digests) -> Cut:
    """Return a value that is too small to be cut: one chunk."""
    [chunk], layout = serialized.parts, serialized.layout
    of_chunk = [digests.chunk(chunk)]
    digest = digests.value(serialized.serializer, layout, of_chunk)
    return Cut(key, serialized, [chunk], of_chunk, digest, layout[0], None)


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
    of_whole = cipher.digests.chunk(first)
    if before is not None and before.whole == of_whole:
        stream, chunks = before, _slices(first, before.lengths)
    elif before is not None and _may_share_cuts(len(first), sum(before.lengths)):
        stream, chunks = _cut_again(first, of_whole, before, cipher, pool)
    else:
        lengths = cut_stream(first, cipher.seed)
        chunks = _slices(first, lengths)
        of_chunks = _digests_of(chunks, cipher.digests, pool) if len(chunks) > 1 else [of_whole]
        stream = Stream(of_whole, lengths, of_chunks)
    blocks = [block for part in buffers for block in _slices(part, cut_buffer(part.nbytes))]
    digests = stream.digests + _digests_of(blocks, cipher.digests, pool)
    digest = cipher.digests.value(serialized.serializer, serialized.layout, digests)
    raw_bytes = sum(serialized.layout)
    known = stream if len(stream.lengths) > 1 else None
    return Cut(key, serialized, chunks + blocks, digests, digest, raw_bytes, known)


def _may_share_cuts(length: int, before: int) -> bool:
    return min(length, before) > WHOLE_STREAM_BYTES and average_of(length) == average_of(before)


def _cut_again(
    first: memoryview, of_whole: bytes, before: Stream, cipher: Cipher, pool: Pool
) -> tuple[Stream, list[memoryview]]:
    """Cut a stream that begins, and ends, as it did before: there it needs only to be compared.

    The result is that of `cut_stream`: at equal averages a chunk ends where its own bytes and the
    one after them say so, wherever it lies; and from a boundary on, equal bytes have equal chunks.
    """
    if len(first) < _THREAD_PAYS_BYTES:
        end_from = _same_at_the_end(first, before, cipher.digests)
        start_to = _same_at_the_start(first, before, cipher.digests)
    else:
        other = pool.submit(_same_at_the_end, first, before, cipher.digests)
        start_to = _same_at_the_start(first, before, cipher.digests)
        end_from = other.result()

    # Where the chunks at the end begin, as their distance from it.
    distances = accumulate(reversed(before.lengths[end_from:]))
    numbers = {at: len(before.lengths) - count for count, at in enumerate(distances, 1)}
    rest = len(first) - sum(before.lengths[:start_to])
    new: list[int] = []
    for length in cut_rest(first[len(first) - rest :], average_of(len(first)), cipher.seed):
        if rest in numbers:
            break
        new.append(length)
        rest -= length
    until, since = slice(start_to), slice(numbers.get(rest, len(before.lengths)), None)
    lengths = [*before.lengths[until], *new, *before.lengths[since]]
    chunks = _slices(first, lengths)
    of_new = _digests_of(chunks[start_to : start_to + len(new)], cipher.digests, pool)
    digests = [*before.digests[until], *of_new, *before.digests[since]]
    return Stream(of_whole, lengths, digests), chunks


def _same_at_the_start(stream: memoryview, before: Stream, digests: Digests) -> int:
    """Return how many chunks, each followed by one that is the same, and not the last.

    The last was cut by the end of the stream; and the cutter has looked at one byte more.
    """
    start = 0
    for number, length in enumerate(before.lengths[:-1]):
        if digests.chunk(stream[start : start + length]) != before.digests[number]:
            return max(number - 1, 0)
        start += length
    return len(before.lengths) - 2


def _same_at_the_end(stream: memoryview, before: Stream, digests: Digests) -> int:
    """Return the number of the first of the chunks at the end that are the same."""
    end = len(stream)
    for number in range(len(before.lengths) - 1, -1, -1):
        start = end - before.lengths[number]
        if start < 0 or digests.chunk(stream[start:end]) != before.digests[number]:
            return number + 1
        end = start
    return 0


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
