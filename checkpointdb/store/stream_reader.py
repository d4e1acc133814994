"""A stored stream read: one block after the other, the next ones by other threads meanwhile."""

from __future__ import annotations

import io
import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from checkpointdb.damage import read_member
from checkpointdb.errors import CorruptionError
from checkpointdb.store.loading import PayloadGoneError, explained
from checkpointdb.store.stream_index import Block, StreamIndex

if TYPE_CHECKING:
    from checkpointdb.store.stored_stream import StoredStream

_AHEAD = 3  # blocks of at most a megabyte, while the bytes are read in order


class StreamReader(io.RawIOBase):
    """The bytes of a stored stream, each checked before it is given out."""

    def __init__(self, source: StoredStream) -> None:
        self._source = source
        self._at = 0
        self._start, self._data = 0, memoryview(b"")
        self._ahead: dict[int, Future[bytes]] = {}  # by the first chunk of the block
        self._pid = os.getpid()
        self._index = source.index()  # at the end: what raises is closed by the garbage collector

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._index.raw_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"there is no byte {base + offset} in a stream")
        self._at = base + offset
        return self._at

    def readinto(self, target: Any, /) -> int:
        if self.closed:
            raise ValueError("the stream is closed")
        if self._at >= self._index.raw_bytes:
            return 0
        if not self._start <= self._at < self._start + len(self._data):
            self._turn_to(self._at)
        at = self._at - self._start
        count = min(len(target), len(self._data) - at)
        target[:count] = self._data[at : at + count]
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._forget_ahead()
            self._data = memoryview(b"")
        super().close()

    @property
    def index(self) -> StreamIndex:
        return self._index

    def chunk(self, number: int) -> bytes:
        """Return the bytes of one chunk of the index that this began with."""
        end, length = self._index.ends[number], self._index.lengths[number]
        self._at = end - length
        found = bytearray(length)
        view = memoryview(found)
        while view:
            view = view[self.readinto(view) :]
        return bytes(found)

    # --- blocks

    def _turn_to(self, position: int) -> None:
        """Read the block of a byte; where a payload is gone, the rows say where it is now."""
        is_next = position == self._start + len(self._data)
        gone: Block | None = None
        while True:
            block = self._index.block_at(position)
            try:
                data = self._taken(block, is_next=is_next)
            except PayloadGoneError as error:
                self._forget_ahead()
                if gone is not None and gone.member == block.member:
                    raise self._gone(error.name) from error
                gone = block
                self._index = self._source.index()
                continue
            self._start, self._data = block.start, memoryview(data)
            return

    def _taken(self, block: Block, *, is_next: bool) -> bytes:
        if self._pid != os.getpid():  # the threads of before a fork are not here
            self._source.engine.follow_fork()
            self._ahead, self._pid = {}, os.getpid()
        future = self._ahead.pop(block.chunks.start, None)
        if future is None:
            self._forget_ahead()
        if is_next:
            self._read_ahead(block.chunks.stop)
        return self._read(self._index, block) if future is None else future.result()

    def _read_ahead(self, chunk: int) -> None:
        for _ in range(_AHEAD):
            if chunk >= len(self._index.lengths):
                return
            block = self._index.block_of(chunk)
            if chunk not in self._ahead:
                pool = self._source.engine.pool
                self._ahead[chunk] = pool.submit(self._read, self._index, block)
            chunk = block.chunks.stop

    def _forget_ahead(self) -> None:
        for future in self._ahead.values():
            future.cancel()
        self._ahead = {}

    def _read(self, index: StreamIndex, block: Block) -> bytes:
        """Read a block and check it.

        Raises PayloadGoneError, CorruptionError, StoreUnavailableError.
        """
        engine, member = self._source.engine, block.member
        try:
            with explained(self._source.checkpoint_id, member.name, engine.payloads):
                reader = engine.payloads.open(member.name)
                try:
                    if reader.stored_bytes != member.payload_bytes:
                        raise CorruptionError(
                            f"it has {reader.stored_bytes} bytes where {member.payload_bytes} "
                            "were written"
                        )
                    plain = read_member(reader, engine.cipher.open(member.name, reader), member)
                finally:
                    reader.close()
                return self._joined(index, block, memoryview(plain))
        except CorruptionError as error:
            if error.payload is not None:
                engine.mark_damaged(error.payload)
            raise

    def _joined(self, index: StreamIndex, block: Block, plain: memoryview) -> bytes:
        digests = self._source.engine.cipher.digests
        pieces = []
        for number in block.chunks:
            at = index.offsets[number]
            pieces.append(plain[at : at + index.lengths[number]])
            if digests.chunk(pieces[-1]) != index.digests[number]:
                raise CorruptionError("a chunk is not what its row says")
        return b"".join(pieces)

    def _gone(self, name: str) -> CorruptionError:
        source = self._source
        source.engine.mark_damaged(name)
        return CorruptionError(
            f"key {source.key!r} of checkpoint {source.checkpoint_id!r} cannot be read: the "
            f"payload {source.engine.payloads.locate(name)!r} is gone; restore it from a backup",
            checkpoint_id=source.checkpoint_id,
            payload=name,
        )
