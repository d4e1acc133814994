"""Flushes that were refused, and what came of it: no file system shows that one was left out.

What a refused flush should have made durable stays in the system's memory, and is found there.
"""

from __future__ import annotations

import re
from pathlib import Path

from effects import files_of
from kinds import FLUSHES
from tracing import Stop
from trying import ACKNOWLEDGED


class Unflushed:
    """Files and directories that were refused a flush, and had none after it, until it is done."""

    def __init__(self, room: Path) -> None:
        self._acknowledged = room / ACKNOWLEDGED
        self.paths: set[Path] = set()

    def note(self, stop: Stop, *, is_refused: bool) -> None:
        if stop.call in FLUSHES and not _is_of_sqlite(stop) and not self._acknowledged.exists():
            change = self.paths.update if is_refused else self.paths.difference_update
            change(files_of(stop))


def _is_of_sqlite(stop: Stop) -> bool:
    """Say whether it is for SQLite to tell of; ours of a directory is an fsync."""
    [path] = files_of(stop)
    is_database = re.search(r"\.db(-wal|-journal)?$", path.name) is not None
    return is_database or (stop.call == "fdatasync" and path.is_dir())
