"""Threads that compress and decompress, made when they are first needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """A thread pool that works in the caller's thread where no other can be had.

    That is so while the interpreter exits (other threads may still be saving then) and when
    another thread has just closed the handle.
    """

    def __init__(self) -> None:
        self.threads = min((os.cpu_count() or 1) + 1, 8)  # one may be waiting for the disk
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start `work` in a thread, or do it now."""
        try:
            return self._started().submit(work, *args, **kwargs)
        except RuntimeError:  # the executor is shut down
            future: Future[T] = Future()
            future.set_result(work(*args, **kwargs))
            return future

    def run(self, work: Callable[[T], None], items: Iterable[T]) -> None:
        """Do `work` for each item, in several threads; raise the first error there was."""
        futures = [self.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Wait for the threads and end them; a later use starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="checkpointdb")
            return self._executor
