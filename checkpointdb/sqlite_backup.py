"""A copy of a SQLite database, whole and checked: before it is upgraded, or for a backup."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from checkpointdb.database_errors import confirm_damage, translate
from checkpointdb.errors import CorruptionError, StoreUnavailableError


def back_up(path: Path, revision: str, busy_seconds: float) -> Path:
    """Copy a database of a schema's revision beside it, for its owner alone; return the copy.

    By VACUUM INTO, never by copying the file beside its log. Raises CorruptionError if the copy
    is not sound, and what `sqlite3` raises.
    """
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    target = path.with_name(f"{path.name}.schema-{revision}.{moment}.backup")
    copy_database(path, target, busy_seconds)
    return target


def copy_database(path: Path, target: Path, busy_seconds: float) -> None:
    """Copy a database, as it is at one moment, into a new file for its owner alone.

    Raises what `back_up` raises.
    """
    with closing(sqlite3.connect(path, timeout=busy_seconds)) as connection:
        _make_private(target)
        name = (os.fsencode(target),)  # by its bytes, which need not be text
        connection.execute("VACUUM INTO CAST(? AS TEXT)", name)
        connection.execute("ATTACH CAST(? AS TEXT) AS copy", name)
        answer = connection.execute("PRAGMA copy.integrity_check").fetchone()[0]
    if answer != "ok":
        confirm_damage(target)
        raise CorruptionError(f"the backup {str(target)!r} is damaged: {answer}")


def _make_private(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StoreUnavailableError(
            f"the backup {str(path)!r} cannot be made: {error.strerror}"
        ) from error


def check_copy(path: Path) -> None:
    """Raise CorruptionError if a copy, which nobody has open, is no sound database."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        found = translate(error, str(path), 0)
        if not isinstance(found, CorruptionError):
            raise found from error
        raise CorruptionError(f"the database of the backup is damaged: {error}") from error
    if answer != "ok":
        confirm_damage(path)
        raise CorruptionError(f"the database of the backup is damaged: {answer}")


def use_log(path: Path, *, is_used: bool) -> None:
    """Let a database, which nobody has open, use a log beside it, or be one file alone."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA journal_mode = {'WAL' if is_used else 'DELETE'}")
    except sqlite3.Error as error:
        raise translate(error, str(path), 0) from error
