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

_MIN_AVERAGE = 2 << 10
_MAX_AVERAGE = 256 << 10
_MAX_BLOCK = 1 << 20
# Below this a row for each chunk costs more than storing the value again.
_WHOLE_BYTES = 4 << 10


def cut_stream(stream: Buffer) -> list[int]:
    """Return the lengths of the content-defined chunks of a stream.

    An insertion moves no boundary behind the chunk that it lies in. Average, minimum and
    maximum are a function of the length alone, so that equal streams have equal chunks
    whatever came before. FastCDC: https://ieeexplore.ieee.org/document/9055082
    """
    if len(stream) <= _WHOLE_BYTES:
        return [len(stream)]
    average = min(max(_near_root(len(stream)), _MIN_AVERAGE), _MAX_AVERAGE)
    # Made for each call: a FastCDC object must not be used by two threads at once.
    cutter = FastCDC(average, min_size=average // 4, max_size=average * 4)
    return [chunk.length for chunk in cutter.cut_buf(stream)]


def cut_buffer(length: int) -> list[int]:
    """Return the lengths of the fixed blocks of an out-of-band buffer.

    What changes in an array changes in place, so that fixed blocks find the same and cost
    nothing to cut.
    """
    block = min(max(_near_root(length), _MIN_AVERAGE), _MAX_BLOCK)
    if length <= max(block, _WHOLE_BYTES):
        return [length]
    whole, rest = divmod(length, block)
    return [block] * whole + ([rest] if rest else [])


def _near_root(length: int) -> int:
    """The power of two at or below 8·√length: one chunk again, and rows for the rest."""
    return 1 << (max(8 * isqrt(length), 1).bit_length() - 1)


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
