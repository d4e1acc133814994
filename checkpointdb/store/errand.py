"""One thread that waits for the disk in a save's place: it flushes, and unlinks.

Not a task of `concurrent.futures`: a signal's handler that raises within it can leave one of its
locks behind, and then the next small save, whose caller is the main thread, waits for ever. Here
the queue is written in C, and the locks are an errand's own: who is interrupted abandons them.
"""

from __future__ import annotations

import atexit
import sys
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, RLock, Thread, current_thread


class Errand:
    """Work that is done once: by the thread, or by whoever asks for the result first."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._taken = Lock()
        self._going_on = Lock()
        self._going_on.acquire()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do the work, unless somebody does or did."""
        if self._taken.acquire(blocking=False):
            try:
                self._work()
            except BaseException as error:  # noqa: BLE001 - it is raised by `result`
                self._error = error
            finally:
                self._going_on.release()

    def result(self) -> None:
        """Return once the work is done; raise what it raised."""
        self.run()
        with self._going_on:
            pass
        if self._error is not None:
            raise self._error


class _Worker:
    """The thread and what it is to do: it holds on to nothing else, the runner least of all."""

    def __init__(self) -> None:
        self.errands: SimpleQueue[Errand | None] = SimpleQueue()
        # A daemon, which exits with the interpreter: `_close_all` waits for what is to be done.
        self.thread = Thread(target=self._run, name="checkpointdb-disk", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (errand := self.errands.get()) is not None:
            errand.run()
            del errand  # and the file that it flushed are not kept until the next comes

    def end(self) -> None:
        self.errands.put(None)


class Runner:
    """The errands of one handle; the thread is started by the first."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._worker: _Worker | None = None
        _runners.add(self)

    def send(self, work: Callable[[], None]) -> Errand:
        """Begin an errand; where no thread can be had it is done at once."""
        errand = Errand(work)
        worker = self._worker or self._start()
        if worker is None:
            errand.run()
        else:
            worker.errands.put(errand)
        return errand

    def close(self) -> None:
        """Wait for what was sent and end the thread; a later errand starts another."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()
            # The garbage collector may close a handle in that very thread.
            if worker.thread is not current_thread() and not sys.is_finalizing():
                worker.thread.join()

    def _start(self) -> _Worker | None:
        with self._lock:
            if self._worker is None and not sys.is_finalizing():  # daemons stand still by then
                try:
                    self._worker = _Worker()
                except RuntimeError:  # the system gives no more threads, or the interpreter exits
                    return None
                weakref.finalize(self, self._worker.end).atexit = False
            return self._worker


_runners: weakref.WeakSet[Runner] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Do what handles that were never closed have sent."""
    for runner in list(_runners):
        runner.close()
