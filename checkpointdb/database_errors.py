"""The database's errors, turned into ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError, IntegrityError

from checkpointdb.errors import (
    CheckpointError,
    CorruptionError,
    StoreBusyError,
    StoreUnavailableError,
)


class LostRace(Exception):
    """A constraint or the isolation level stopped a write: look at the rows again, and retry.

    Internal: never reaches a user.
    """


@contextmanager
def translated(where: str, busy_seconds: float, driver: Any = sqlite3) -> Iterator[None]:
    """Turn the database's errors into ours: SQLAlchemy's, and those of a PEP 249 driver."""
    try:
        yield
    except (IntegrityError, driver.IntegrityError) as error:
        raise LostRace(str(error)) from error
    except DBAPIError as error:
        raise translate(error.orig or error, where, busy_seconds) from error
    except driver.Error as error:
        raise translate(error, where, busy_seconds) from error


_UNAVAILABLE = {
    "database or disk is full": "the disk is full: free space and retry",
    "readonly database": "the file system or the file is read-only",
    "unable to open database file": "was the store removed, is it read-only, or are too many "
    "files open?",
    "disk i/o error": "the disk failed, is full, or the store was removed",
    "no such table": "the database was replaced or emptied while it was open",
}


def translate(error: BaseException, where: str, busy_seconds: float) -> CheckpointError | LostRace:
    """Return our error for one of a driver."""
    text = str(error).lower()
    if getattr(error, "sqlstate", None) in {"40001", "40P01"}:
        return LostRace(str(error))
    if "locked" in text or "busy" in text:
        return busy(busy_seconds)
    if "malformed" in text or "not a database" in text:
        return CorruptionError(f"the database {where!r} is damaged ({error}): restore a backup")
    for symptom, advice in _UNAVAILABLE.items():
        if symptom in text:
            return StoreUnavailableError(f"the database {where!r} failed ({error}): {advice}")
    return StoreUnavailableError(f"the database {where!r} failed: {error}")


def busy(seconds: float) -> StoreBusyError:
    """Return the error for a lock that was not to be had."""
    return StoreBusyError(
        f"other writers held the store for more than {seconds:g} s: try again, or look for a "
        "process that keeps a transaction open (or a signal handler that saves within a save)"
    )
