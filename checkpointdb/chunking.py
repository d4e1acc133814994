"""Where values are cut into chunks, and what names chunks, values and states: digests.

BLAKE3 names content; SHA-256, in `format`, guards bytes on disk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from math import isqrt

from blake3 import blake3
from pyfastcdc import FastCDC

Buffer = bytes | bytearray | memoryview

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


def cut_stream(stream: Buffer) -> list[int]:
    """Return the lengths of the content-defined chunks of a stream.

    An insertion moves no boundary behind the chunk that it lies in. Average, minimum and
    maximum are a function of the length alone, so that equal streams have equal chunks
    whatever came before. FastCDC: https://ieeexplore.ieee.org/document/9055082
    """
    if len(stream) <= _WHOLE_STREAM:
        return [len(stream)]
    average = _between(_MIN_AVERAGE, _AVERAGE_FACTOR * isqrt(len(stream)), _MAX_AVERAGE)
    # Made for each call: a FastCDC object must not be used by two threads at once.
    cutter = FastCDC(average, min_size=average // 4, max_size=average * 4)
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


def chunk_digest(chunk: Buffer) -> bytes:
    """Return the digest of a chunk's bytes."""
    return blake3(chunk).digest()


def value_digest(serializer: str, layout: Sequence[int], chunks: Iterable[bytes]) -> bytes:
    """Return the digest of a value: how it was serialized, its parts, its chunks in order."""
    head = serializer.encode()
    parts = struct.pack(f"<B{len(layout) + 1}Q", len(head), len(layout), *layout)
    return blake3(b"".join((b"value", parts, head, *chunks))).digest()


def state_digest(values: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the digest of a state: its keys in order, each with its value's digest."""
    hasher = blake3(b"state")
    hasher.update(b"".join(_keyed(key, digest) for key, digest in values))
    return hasher.digest()


def _keyed(key: str, digest: bytes) -> bytes:
    name = key.encode()
    return struct.pack("<Q", len(name)) + name + digest
