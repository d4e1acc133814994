"""The SHA-256 of a file in the making, taken beside what makes and flushes it."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from hashlib import sha256

from checkpointdb.format import Pieces
from checkpointdb.store.pool import Pool

_THREAD_PAYS_BYTES = 128 << 10
_MOST_WAITING = 8


class FileHash:
    """Hashes what it is given, in order, in one thread at a time.

    One task goes through all that waits. A task for each would hold a thread of the pool while it
    waits for the one before it, and the flush of the file would wait behind them.
    """

    def __init__(self, pool: Pool, header: bytes, free: list[bytearray]) -> None:
        """Begin with a file's first bytes; buffers that are no longer needed go to `free`."""
        self._pool = pool
        self._hash = sha256(header)
        self._free = free
        self._waiting: deque[tuple[Pieces, bytearray | None]] = deque()
        self._task: Future[None] | None = None

    def update(self, pieces: Pieces, buffer: bytearray | None) -> None:
        """Hash pieces, soon; `buffer` is what they may be views of. Raises what a task met."""
        if len(self._waiting) >= _MOST_WAITING:  # they are memory
            self.finish()
        is_idle = self._task is None or self._task.done()
        if is_idle and self._task is not None:
            self._task.result()  # another task would hash what comes after what is lost
        self._waiting.append((pieces, buffer))
        if is_idle and sum(map(len, pieces)) < _THREAD_PAYS_BYTES:
            self._hash_waiting()
        elif is_idle:
            self._task = self._pool.submit(self._hash_waiting)

    def digest(self) -> bytes:
        """Return the hash of all that was given. Raises what a task met."""
        self.finish()
        return self._hash.digest()

    def finish(self) -> None:
        """Wait until all that was given is hashed. Raises what a task met."""
        if self._task is not None:
            self._task.result()
        self._hash_waiting()  # what came as the task was ending

    def _hash_waiting(self) -> None:
        while self._waiting:
            pieces, buffer = self._waiting.popleft()
            for piece in pieces:
                self._hash.update(piece)
            if buffer is not None:
                self._free.append(buffer)
