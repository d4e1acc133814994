"""Chunks into members into a payload file: compressed by a pool, written in order.

Memory stays bounded: at most `_IN_FLIGHT` members of a megabyte wait for a thread or the disk.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future
from hashlib import sha256
from typing import NamedTuple

from checkpointdb import format
from checkpointdb.errors import InvalidInputError, StateChangedError
from checkpointdb.format import CompressionLevel, Pieces
from checkpointdb.manifest import (
    MANIFEST_BYTES,
    MEMBER_BYTES,
    Manifest,
    Member,
    StoredChunk,
    encode_manifest,
)
from checkpointdb.payloads import PayloadStore, PayloadWriter
from checkpointdb.sealing import DATA, MANIFEST, Cipher
from checkpointdb.store.errand import Errand
from checkpointdb.store.file_hash import FileHash
from checkpointdb.store.pool import Pool

_IN_FLIGHT = 8
_FLUSH_BYTES = 4 << 20  # the disk begins while the rest is still being compressed
_ASIDE_BYTES = 512 << 10  # flushed in less time than its rows need


class Chunk(NamedTuple):
    """Bytes to store, the digest they had when they were compared, and whose they are.

    `is_fixed` if it was taken of these very bytes, and nobody can change them.
    """

    data: bytes | memoryview
    digest: bytes
    key: str
    is_shared: bool
    is_fixed: bool = False


class _Packed(NamedTuple):
    stored: Pieces
    stored_bytes: int
    sha256: bytes
    raw_bytes: int
    chunks: tuple[StoredChunk, ...]
    buffer: bytearray | None  # what `stored` may be a view of


class Packer:
    """A payload file in the making. Chunks are numbered in the order in which they are added."""

    def __init__(
        self,
        payloads: PayloadStore,
        level: CompressionLevel,
        pool: Pool,
        cipher: Cipher,
        name: str,
    ) -> None:
        """Begin a payload under the name that `inventory.first_name` gave."""
        self._pid = os.getpid()
        self._payloads = payloads
        self._name = name
        self._level = level
        self._pool = pool
        self._digests = cipher.digests
        self._seal = cipher.begin(name)
        self._writer: PayloadWriter | None = None
        self._gathered: list[Chunk] = []
        self._gathered_bytes = 0
        self._in_flight: deque[Future[_Packed]] = deque()
        self._flushing: list[Future[None]] = []
        self._finishing: Errand | None = None
        self._unflushed_bytes = 0
        # Used again: a megabyte fresh from the system costs as much in page faults as hashing it.
        self._buffers: list[bytearray] = []
        self._hash = FileHash(pool, self._seal.header, self._buffers)
        self.members: list[Member] = []
        self.chunk_count = 0
        self.raw_bytes = 0
        self.stored_bytes = len(self._seal.header)

    @property
    def writer(self) -> PayloadWriter:
        """The file, made when the first bytes are ready."""
        if self._writer is None:
            self._writer = self._payloads.create(self._name)
            if self._seal.header:
                self._writer.write([self._seal.header])
        return self._writer

    @property
    def epoch(self) -> int | None:
        """The number of the master key that seals the file; None: it is in the clear."""
        return self._seal.epoch

    @property
    def sha256(self) -> bytes:
        """The hash of the file, once it is finished."""
        return self._hash.digest()

    def add(self, chunk: Chunk) -> int:
        """Add a chunk and return its number in the payload."""
        size = len(chunk.data)
        if self._gathered_bytes + size > MEMBER_BYTES and self._gathered:
            self._submit()
        self._gathered.append(chunk)
        self._gathered_bytes += size
        self.raw_bytes += size
        self.chunk_count += 1
        return self.chunk_count - 1

    def flush(self) -> tuple[Member, ...]:
        """Write every chunk that was added and return the members."""
        if self._gathered and not self._in_flight:
            self._write(self._pack(self._gathered, 0, None))  # no thread is worth it
            self._gathered, self._gathered_bytes = [], 0
        elif self._gathered:
            self._submit()
        while self._in_flight:
            self._write(self._in_flight.popleft().result())
        return tuple(self.members)

    def copy(self, member: Member, packed: bytes) -> None:
        """Write a member of another payload, unsealed, after those that are written."""
        stored = self._seal.seal(DATA, len(self.members), [packed])
        stored_bytes = sum(map(len, stored))
        chunks, raw_bytes = member.chunks, member.raw_bytes
        self._write(_Packed(stored, stored_bytes, _sha256_of(stored), raw_bytes, chunks, None))

    def copy_damaged(self, member: Member, stored: bytes) -> None:
        """Write a member that is not what its hash says as it is, and with that hash."""
        pieces: Pieces = [stored]
        self._write(
            _Packed(pieces, len(stored), member.sha256, member.raw_bytes, member.chunks, None)
        )

    def finish(self, manifest: Manifest, *, aside: bool = False) -> None:
        """Write manifest and footer and flush the file to the medium.

        With `aside` a small file is flushed by another thread: `settle` before it is published.
        """
        described = encode_manifest(manifest)
        if len(described) > MANIFEST_BYTES:
            raise InvalidInputError(
                f"what changed takes {len(described) >> 20} MiB to describe, more than the "
                f"{MANIFEST_BYTES >> 20} MiB that a payload may have for that: save fewer keys at "
                "once (nest them in dictionaries), or less custom_metadata"
            )
        pieces = format.compress_member(described, self._level)
        member = b"".join(self._seal.seal(MANIFEST, len(self.members), pieces))
        footer = format.footer_of(self.stored_bytes, member)
        self._append([member, format.encode_footer(footer)], None)
        for future in self._flushing:
            future.result()
        if aside and self._payloads.flushes_unnamed and self.stored_bytes <= _ASIDE_BYTES:
            self._finishing = Errand(self.writer.finish)
            self._pool.begin(self._finishing)
        else:
            self.writer.finish()
        self._hash.finish()  # here, since nobody should wait for it while the rows are locked

    def settle(self) -> None:
        """Wait for the flush, and raise what it met."""
        if self._finishing is not None:
            self._finishing.result()

    def discard(self) -> None:
        """Remove the file unless it was published; wait for threads that still use it.

        Not in a process that was forked meanwhile: the file is its parent's, as are the threads.
        """
        if os.getpid() != self._pid:
            return
        for packing in self._in_flight:
            if not packing.cancel():
                packing.exception()
        for flushing in self._flushing:
            flushing.exception()
        if self._finishing is not None:
            self._finishing.leave()
        if self._writer is not None:
            self._writer.discard()

    def _submit(self) -> None:
        if len(self._in_flight) >= _IN_FLIGHT:
            self._write(self._in_flight.popleft().result())
        buffer = self._buffers.pop() if self._buffers else bytearray(MEMBER_BYTES)
        number = len(self.members) + len(self._in_flight)
        self._in_flight.append(self._pool.submit(self._pack, self._gathered, number, buffer))
        self._gathered, self._gathered_bytes = [], 0

    def _pack(self, gathered: list[Chunk], number: int, buffer: bytearray | None) -> _Packed:
        """Make chunks the payload's member `number`, by way of a buffer if one is given.

        Raises StateChangedError if a chunk is no longer what was compared: the copy of one that is
        not fixed is hashed again, so that a wrong chunk never gets a right name.
        """
        raw = _copy(gathered, buffer)
        offset = 0
        for chunk in gathered:
            end = offset + len(chunk.data)
            if not chunk.is_fixed and self._digests.chunk(raw[offset:end]) != chunk.digest:
                raise StateChangedError(
                    f"the value of key {chunk.key!r} was changed while it was being saved: "
                    "save a copy, or stop changing it until save returns",
                    key=chunk.key,
                )
            offset = end
        stored = self._seal.seal(DATA, number, format.compress_member(raw, self._level))
        chunks = tuple(
            StoredChunk(len(chunk.data), chunk.digest if chunk.is_shared else None)
            for chunk in gathered
        )
        stored_bytes = sum(map(len, stored))
        return _Packed(stored, stored_bytes, _sha256_of(stored), len(raw), chunks, buffer)

    def _write(self, packed: _Packed) -> None:
        self.members.append(
            Member(
                offset=self.stored_bytes,
                stored_bytes=packed.stored_bytes,
                raw_bytes=packed.raw_bytes,
                sha256=packed.sha256,
                chunks=packed.chunks,
            )
        )
        self._append(packed.stored, packed.buffer)

    def _append(self, pieces: Pieces, buffer: bytearray | None) -> None:
        size = sum(map(len, pieces))
        self.stored_bytes += size
        self.writer.write(pieces)
        self._hash.update(pieces, buffer)
        self._unflushed_bytes += size
        if self._unflushed_bytes >= _FLUSH_BYTES:
            self._unflushed_bytes = 0
            self._flushing.append(self._pool.submit(self.writer.flush))


def _copy(gathered: list[Chunk], buffer: bytearray | None) -> memoryview:
    if buffer is None:
        return memoryview(b"".join(chunk.data for chunk in gathered))
    view, end = memoryview(buffer), 0
    for chunk in gathered:
        start, end = end, end + len(chunk.data)
        view[start:end] = chunk.data
    return view[:end]


def _sha256_of(pieces: Pieces) -> bytes:
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
