"""SIGTERM: what is being saved is saved, then the run is left by an exception."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

from checkpointdb.contexts import contextmanager


class Terminated(SystemExit):
    """The process was told to end (SIGTERM): it exits with 143 unless this is caught."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Termination:
    """Whether the process was told to end, and whether the run may be left now."""

    def __init__(self) -> None:
        self.is_asked = False
        self._deferred = 0

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Install the handler: in the main thread, and where nobody has installed another."""
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            yield
            return
        signal.signal(signal.SIGTERM, self._ask)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGTERM) == self._ask:  # else a stage installed its own
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Go on to the end of a step or a save; a second SIGTERM does not wait for it."""
        self._deferred += 1
        try:
            yield
        except Exception as error:
            if self.is_asked and self._deferred == 1:
                # A stage that handles its error and goes on would not be told until it ends.
                raise Terminated from error
            raise
        finally:
            self._deferred -= 1
        if not self._deferred:
            self.leave_if_asked()

    def leave_if_asked(self) -> None:
        """Raise Terminated if there was a SIGTERM."""
        if self.is_asked:
            raise Terminated

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self._deferred and not self.is_asked:
            self.is_asked = True
            return
        raise Terminated
