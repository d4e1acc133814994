"""One thread that waits for the disk in a save's place: it flushes, and unlinks.

Not a task of `concurrent.futures`: a signal's handler that raises within it can leave one of its
locks behind, and then the next small save, whose caller is the main thread, waits for ever. Here
the queue is written in C, and the locks are an errand's own: who is interrupted abandons them.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Lock, RLock, Thread, current_thread

# Then the thread ends: a child that a thread forked lives for as long as one of its threads does.
_IDLE_SECONDS = 10.0


class Errand:
    """Work that is done once: by the thread, or by whoever asks for the result first."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._taken = Lock()
        self._going_on = Lock()
        self._going_on.acquire()
        self._in_worker = Lock()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do the work, unless somebody does or did; an interrupt comes out of it at once."""
        if self._taken.acquire(blocking=False):
            try:
                self._work()
            except BaseException as error:
                self._error = error  # it is raised by `result`
                if not isinstance(error, Exception):
                    raise
            finally:
                self._going_on.release()

    def run_by_worker(self) -> None:
        """Do the work in the thread that was started for it, unless it was left."""
        if self._in_worker.acquire(blocking=False):
            try:
                self.run()
            finally:
                self._in_worker.release()

    def leave(self) -> None:
        """Leave the work undone; or, if the thread is at it, return once it is done with it.

        Who began it by `result`, and was interrupted there, does not wait for itself.
        """
        if not self._taken.acquire(blocking=False):
            with self._in_worker:
                pass

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
        self.is_ended = False
        # A daemon, which exits with the interpreter: `_finish` waits for what is to be done.
        self.thread = Thread(target=self._run, name="checkpointdb-disk", daemon=True)
        _workers.add(self)
        try:
            self.thread.start()
        except BaseException:
            self.end()  # interrupted, it may have been started all the same
            _workers.discard(self)
            raise

    def _run(self) -> None:
        try:
            while (errand := self.errands.get(timeout=_IDLE_SECONDS)) is not None:
                errand.run_by_worker()
                del errand  # and the file that it flushed are not kept until the next comes
        except Empty:
            self.is_ended = True
            with suppress(Empty):  # what was sent just now, whose result nobody may ask for
                while (errand := self.errands.get_nowait()) is not None:
                    errand.run_by_worker()
        finally:
            self.is_ended = True
            _workers.discard(self)

    def end(self) -> None:
        """Let the thread end after what it was sent."""
        self.is_ended = True
        self.errands.put(None)


class Runner:
    """The errands of one handle; the thread is started by the first."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._worker: _Worker | None = None

    def send(self, work: Callable[[], None]) -> Errand:
        """Begin an errand; where no thread can be had it is done at once."""
        errand = Errand(work)
        self.begin(errand)
        return errand

    def begin(self, errand: Errand) -> None:
        """Do what `send` does for an errand that its sender knows before: it may be interrupted."""
        with self._lock:  # or the thread could end before it has what is sent
            worker = self._worker
            if worker is None or worker.is_ended:
                worker = self._begin()
            if worker is not None:
                worker.errands.put(errand)
        # Ending by itself, it may have looked for the last time before this was put.
        if worker is None or worker.is_ended:
            errand.run()

    def _begin(self) -> _Worker | None:
        worker, other = _started(), self._worker
        if other is None or other.is_ended:
            self._worker = worker
            return worker
        if worker is not None:  # a signal's handler has begun one meanwhile
            worker.end()
        return other

    def end(self) -> Thread | None:
        """Let the thread end after what it was sent, and return it; a later errand starts another.

        Nobody waits for it: the garbage collector ends a handle in any thread, also in one that
        holds a lock which an errand needs, such as that of a log.
        """
        with self._lock:
            worker, self._worker = self._worker, None
            if worker is None:
                return None
            worker.end()
            return worker.thread

    def close(self) -> None:
        """End the thread, and wait for what it was sent."""
        thread = self.end()
        if thread is not None and thread is not current_thread() and not sys.is_finalizing():
            thread.join()

    def __del__(self) -> None:
        if self._worker is not None:
            self._worker.end()


_workers: set[_Worker] = set()  # whose threads run
_is_exiting = Event()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.clear)  # they are threads of the parent


def _started() -> _Worker | None:
    if _is_exiting.is_set():  # daemons stand still soon
        return None
    try:
        return _Worker()
    except RuntimeError:  # the system gives no more threads, or the interpreter exits
        return None


@atexit.register
def _finish() -> None:
    """Do what handles that were never closed have sent, and what comes later at once."""
    _is_exiting.set()
    workers = list(_workers)
    for worker in workers:
        worker.end()
    for worker in workers:
        worker.thread.join()
