"""Where values are cut into chunks."""

from __future__ import annotations

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
_WHOLE_STREAM = 16 << 10
_BLOCK_FACTOR = 16
_MIN_BLOCK = 4 << 10  # arrays hardly shrink: what is stored again counts for more
_MAX_BLOCK = 1 << 20


def cut_stream(stream: Buffer, seed: int = 0) -> list[int]:
    """Return the lengths of the content-defined chunks of a stream.

    An insertion moves no boundary behind the chunk that it lies in. Average, minimum and
    maximum are a function of the length alone, so that equal streams have equal chunks
    whatever came before; and of `seed`, which an encrypted store keeps secret, since where text
    is cut tells what it is. FastCDC: https://ieeexplore.ieee.org/document/9055082
    """
    if len(stream) <= _WHOLE_STREAM:
        return [len(stream)]
    average = _between(_MIN_AVERAGE, _AVERAGE_FACTOR * isqrt(len(stream)), _MAX_AVERAGE)
    # Made for each call: a FastCDC object must not be used by two threads at once.
    cutter = FastCDC(average, min_size=average // 4, max_size=average * 4, seed=seed)
    return [chunk.length for chunk in cutter.cut_buf(stream)]


def cut_buffer(length: int) -> list[int]:
    """Return the lengths of the fixed blocks of an out-of-band buffer.

    What changes in an array changes in place, so that fixed blocks find the same and cost
    nothing to cut.
    """
    block = _between(_MIN_BLOCK, _BLOCK_FACTOR * isqrt(length), _MAX_BLOCK)
    whole, rest = divmod(length, block)
    return [block] * whole + ([rest] if rest else [])


def _between(least: int, wanted: int, most: int) -> int:
    """Return the power of two at or below `wanted`, within bounds."""
    return min(max(1 << max(wanted.bit_length() - 1, 0), least), most)
