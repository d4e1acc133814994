"""Where values are cut into chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt

from pyfastcdc import FastCDC

from checkpointdb.digests import Buffer

# A change stores one chunk again (text shrinks to a quarter) and names the n / c others, at some
# 60 bytes each in rows and manifest: least at c = √(4 · 60 · n), about 16·√n. Smaller averages
# than 8 KiB were measured: for 8 MB of text in documents, 4 KiB made saves and loads a third
# slower, for the time that rows take.
_AVERAGE_FACTOR = 16
_MIN_AVERAGE = 8 << 10
_MAX_AVERAGE = 256 << 10
WHOLE_STREAM_BYTES = 16 << 10
_BLOCK_FACTOR = 16
_MIN_BLOCK = 4 << 10  # arrays hardly shrink: what is stored again counts for more
_MAX_BLOCK = 1 << 20
# The longest of a flow's chunks fits a member.
_MAX_FLOW_CHUNK = 4 * _MAX_AVERAGE
_WINDOW_BYTES = 4 * _MAX_FLOW_CHUNK


def cut_stream(stream: Buffer, seed: int = 0) -> list[int]:
    """Return the lengths of the content-defined chunks of a stream.

    An insertion moves no boundary behind the chunk that it lies in. Average, minimum and
    maximum are a function of the length alone, so that equal streams have equal chunks
    whatever came before; and of `seed`, which an encrypted store keeps secret, since where text
    is cut tells what it is. FastCDC: https://ieeexplore.ieee.org/document/9055082
    """
    if len(stream) <= WHOLE_STREAM_BYTES:
        return [len(stream)]
    return list(cut_rest(stream, average_of(len(stream)), seed))


def average_of(length: int) -> int:
    """Return the average length of the chunks of a stream, one that is cut."""
    return _between(_MIN_AVERAGE, _AVERAGE_FACTOR * isqrt(length), _MAX_AVERAGE)


def cut_rest(rest: Buffer, average: int, seed: int) -> Iterator[int]:
    """Yield the lengths of the chunks of a stream from a boundary on: what is before says nothing.

    A chunk ends where its own bytes and the one after them say so, or where the stream does.
    """
    # Made for each call: a FastCDC object must not be used by two threads at once.
    cutter = FastCDC(average, min_size=average // 4, max_size=average * 4, seed=seed)
    return (chunk.length for chunk in cutter.cut_buf(rest))


def cut_buffer(length: int) -> list[int]:
    """Return the lengths of the fixed blocks of an out-of-band buffer.

    What changes in an array changes in place, so that fixed blocks find the same and cost
    nothing to cut.
    """
    block = _between(_MIN_BLOCK, _BLOCK_FACTOR * isqrt(length), _MAX_BLOCK)
    whole, rest = divmod(length, block)
    return [block] * whole + ([rest] if rest else [])


def cut_flow(read_into: Callable[[memoryview], int], seed: int = 0) -> Iterator[list[memoryview]]:
    """Yield the content-defined chunks of what flows in, some at a time: they last until the next.

    `read_into` fills a part of what it is given and says how much, 0 at the end. The length is
    not known yet, so the average is always the largest: equal bytes have equal chunks, however
    they flow in.
    """
    average = _MAX_AVERAGE
    cutter = FastCDC(average, min_size=average // 4, max_size=_MAX_FLOW_CHUNK, seed=seed)
    window = memoryview(bytearray(_WINDOW_BYTES))
    filled, is_last = 0, False
    while not is_last:
        count = 1
        while count and filled < len(window):
            count = read_into(window[filled:])
            filled += count
        is_last = not count
        # Where the longest chunk would not fit, more bytes could move the boundary.
        end, sure = 0, filled if is_last else filled - _MAX_FLOW_CHUNK
        chunks = []
        for chunk in cutter.cut_buf(window[:filled]):
            if not is_last and end > sure:
                break
            chunks.append(window[end : end + chunk.length])
            end += chunk.length
        yield chunks
        rest = bytes(window[end:filled])
        filled = len(rest)
        window[:filled] = rest


def _between(least: int, wanted: int, most: int) -> int:
    """Return the power of two at or below `wanted`, within bounds."""
    return min(max(1 << max(wanted.bit_length() - 1, 0), least), most)
