"""How far a copy is, told from any thread, and how it is spread over threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from checkpointdb.callbacks import Progress

Run: TypeAlias = Callable[[Callable[[Any], None], Iterable[Any]], None]  # does work for each


class Meter:
    """Bytes that were moved, told as they come, from any thread; `step` is called each time."""

    def __init__(
        self, progress: Progress | None, step: Callable[[], object] = lambda: None
    ) -> None:
        self.total = 0
        self._step = step
        self._done = 0
        self._progress = progress
        self._lock = threading.Lock()

    def move(self, stored_bytes: int) -> None:
        """Add bytes that were moved."""
        with self._lock:  # around the step, too: it would be old after another thread's callback
            self._step()
            self._done += stored_bytes
            if self._progress is not None:
                self._progress(self._done, self.total)
