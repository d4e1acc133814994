"""Threads that compress and decompress, made when they are first needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from checkpointdb.store.errand import Errand, Runner

T = TypeVar("T")


class _Task(Generic[T]):
    """Work that is done once, by whoever comes first."""

    def __init__(self, work: Callable[..., T], args: tuple[Any, ...]) -> None:
        self.future: Future[T] = Future()
        self._work = work
        self._args = args
        self._taken = threading.Lock()

    def run(self) -> None:
        if not self._taken.acquire(blocking=False):
            return
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._work(*self._args))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self.future.set_exception(error)


_here = threading.local()


def _enter_pool() -> None:
    _here.is_in_pool = True


class Pool:
    """A thread pool that works in the caller's thread where no other can be had.

    That is so while the interpreter exits (other threads may still be saving then), when
    another thread has just closed the handle, and when the system gives no more threads. In
    that last case the executor has the task in its queue already and may still do it: hence
    tasks that are done once.
    """

    def __init__(self) -> None:
        # One more than there are processors: one may be waiting for the disk.
        self.threads = min((os.cpu_count() or 1) + 1, 8)
        self._lock = threading.RLock()
        self._executor: ThreadPoolExecutor | None = None
        self._runner = Runner()

    def send(self, work: Callable[[], None]) -> Errand:
        """Start a short piece of work that waits for the disk, at less cost than `submit`."""
        return self._runner.send(work)

    def begin(self, errand: Errand) -> None:
        """Start an errand as `send` does work."""
        self._runner.begin(errand)

    def submit(self, work: Callable[..., T], *args: Any) -> Future[T]:
        """Start `work` in a thread, or do it now; the future has its result either way."""
        task = _Task(work, args)
        try:
            self._started().submit(task.run)
        except RuntimeError:
            task.run()
        return task.future

    def run(self, work: Callable[[T], None], items: Iterable[T]) -> None:
        """Do `work` for each item, in several threads; raise the first error there was."""
        futures = [self.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()

    def end(self) -> None:
        """End the threads; what waits for the disk is not waited for (see `Runner.end`)."""
        self._runner.end()
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            # The garbage collector may close a handle in one of its own threads.
            executor.shutdown(wait=not getattr(_here, "is_in_pool", False))

    def close(self) -> None:
        """Wait for the threads and end them; a later use starts new ones."""
        self._runner.close()
        self.end()

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(
                    self.threads, "checkpointdb", initializer=_enter_pool
                )
            return self._executor
