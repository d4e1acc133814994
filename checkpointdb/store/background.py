"""Saves that nobody waits for: captured, and done one after the other by a thread.

The thread lives as long as there is work and is no daemon: an interpreter that exits waits for
what was handed over, and never for a thread that has nothing to do. (A thread that waits for work
would have to be told of the exit, by a hook that Python does not promise.)
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from checkpointdb.errors import StoreUnavailableError
from checkpointdb.store.request import SaveRequest, Writer

# What may wait: a caller that saves faster than the disk takes it has to wait then, too.
MOST_WAITING = 8
MOST_BYTES = 256 << 20  # of captured states; one alone may be larger

# How long a waiter may miss that a save has ended, if an interrupt came between two lines.
_LOOK_AGAIN_SECONDS = 1.0

log = logging.getLogger("checkpointdb")


class PendingSave:
    """A checkpoint that is being saved in the background: what `save(…, wait=False)` returns.

    The checkpoint is acknowledged once `result()` returns.
    """

    def __init__(
        self, writer: Writer, request: SaveRequest, held_bytes: int, handle: object
    ) -> None:
        self.checkpoint_id = request.checkpoint_id
        self._writer = writer
        # Until it is saved; with the handle, which would otherwise be closed as garbage.
        self._task: tuple[SaveRequest, object] | None = (request, handle)
        self._held_bytes = held_bytes
        self._pid = os.getpid()
        self._error: BaseException | None = None
        self._is_done = False
        self._is_heard = False
        # A bare lock, held until the end: an interrupt within a Condition could leave that locked.
        self._running = threading.Lock()
        self._running.acquire()

    def __repr__(self) -> str:
        state = "running" if not self._is_done else "failed" if self._error else "saved"
        return f"<PendingSave {self.checkpoint_id!r}: {state}>"

    def done(self) -> bool:
        """Say whether the save has ended, well or not."""
        return self._is_done

    def result(self, timeout: float | None = None) -> str:
        """Wait until the checkpoint is saved and return its id.

        Raises what `save` would have raised, TimeoutError if that takes longer than `timeout`
        seconds, StoreUnavailableError in a child that was forked meanwhile.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self.checkpoint_id

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait, and return what `result` would raise of the save; None if it is saved.

        Raises TimeoutError and StoreUnavailableError as `result` does.
        """
        self._wait(timeout)
        self._is_heard = True
        return self._error

    def _wait(self, timeout: float | None = None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_done:
            if self._pid != os.getpid():
                raise StoreUnavailableError(
                    f"checkpoint {self.checkpoint_id!r} is being saved by the process that this "
                    "one was forked from: ask there"
                )
            left = _LOOK_AGAIN_SECONDS
            if deadline is not None:
                left = min(left, deadline - time.monotonic())
                if left <= 0:
                    raise TimeoutError(
                        f"checkpoint {self.checkpoint_id!r} is still being saved after "
                        f"{timeout:g} s: ask again"
                    )
            if self._running.acquire(timeout=left):
                self._running.release()

    def _run(self, save: Callable[[Writer, SaveRequest], None]) -> None:
        assert self._task is not None
        try:
            save(self._writer, self._task[0])
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            error.add_note(f"(of checkpoint {self.checkpoint_id!r}, saved in the background)")
            self._error = error
            log.warning("checkpoint %r was not saved: %s", self.checkpoint_id, error)

    def _end(self) -> None:
        self._task = None
        self._is_done = True
        self._running.release()


class Background:
    """The line of one handle's saves that nobody waits for."""

    def __init__(self, save: Callable[[Writer, SaveRequest], None]) -> None:
        self._save = save
        self._lock = threading.RLock()  # knows its owner, as an interrupt needs it
        self._turn = threading.RLock()
        self._line: deque[PendingSave] = deque()  # its first is being saved
        self._failed: list[PendingSave] = []
        self._worker: threading.Thread | None = None

    def add(self, pending: PendingSave) -> None:
        """Put a save at the end of the line; wait while that is full."""
        while (first := self._put(pending)) is not None:
            first._wait()
        self._work()

    def wait(self, writer: Writer | None = None) -> None:
        """Wait for the saves of a writer, or for all."""
        if not self._line or threading.current_thread() is self._worker:
            return
        self._work()
        with self._lock:
            line = [each for each in self._line if writer in (None, each._writer)]
        for each in line:
            each._wait()

    def raise_unheard(self, writer: Writer | None = None) -> None:
        """Raise the error of a save of this writer, or of any, that nobody has asked for."""
        errors = [each._error for each in self._take_failed(writer)]
        if not errors or errors[0] is None:
            return
        for other in errors[1:]:
            errors[0].add_note(f"and also: {other!r}")
        raise errors[0]

    def _put(self, pending: PendingSave) -> PendingSave | None:
        """Put it in line if there is room; else return what has to end first."""
        with self._lock:
            held = sum(each._held_bytes for each in self._line) + pending._held_bytes
            if self._line and (len(self._line) >= MOST_WAITING or held > MOST_BYTES):
                return self._line[0]
            self._line.append(pending)
            return None

    def _take_failed(self, writer: Writer | None) -> list[PendingSave]:
        if not self._failed:
            return []
        with self._lock:
            taken = [each for each in self._failed if writer in (None, each._writer)]
            self._failed = [each for each in self._failed if each not in taken]
        return [each for each in taken if not each._is_heard]

    # --- the thread

    def _work(self) -> None:
        """See that the line is worked off: by a thread, or here if none can be had."""
        with self._lock:
            if not self._line or (self._worker is not None and self._worker.is_alive()):
                return
            worker = threading.Thread(target=self._in_thread, name="checkpointdb-saves")
            self._worker = worker
            try:
                worker.start()
                return
            except RuntimeError:  # the interpreter exits, or the system gives no more threads
                self._worker = None
        self._work_off()

    def _in_thread(self) -> None:
        try:
            self._work_off()
        finally:
            # Where the user's log raised, this thread has ended, and another goes on.
            with self._lock:
                if self._worker is threading.current_thread():
                    self._worker = None
            self._work()

    def _work_off(self) -> None:
        while True:
            # An interrupt while a thread is started may bring a second one: they take turns.
            with self._turn:
                with self._lock:
                    if not self._line:
                        self._worker = None
                        return
                    first = self._line[0]
                try:
                    first._run(self._save)
                finally:
                    with self._lock:
                        self._line.popleft()
                        if first._error is not None:
                            self._failed.append(first)
                    first._end()
