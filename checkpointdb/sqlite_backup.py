"""A copy of a SQLite database, whole and checked, before it is upgraded."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from checkpointdb.errors import CorruptionError


def back_up(path: Path, revision: str, busy_seconds: float) -> Path:
    """Copy a database of a schema's revision beside it, for its owner alone; return the copy.

    By VACUUM INTO, never by copying the file beside its log. Raises CorruptionError if the copy
    is not sound, and what `sqlite3` raises.
    """
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    target = path.with_name(f"{path.name}.schema-{revision}.{moment}.backup")
    with closing(sqlite3.connect(path, timeout=busy_seconds)) as connection:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        connection.execute("VACUUM INTO ?", (str(target),))
        connection.execute("ATTACH ? AS copy", (str(target),))
        answer = connection.execute("PRAGMA copy.integrity_check").fetchone()[0]
    if answer != "ok":
        raise CorruptionError(f"the backup {str(target)!r} is damaged: {answer}")
    return target
