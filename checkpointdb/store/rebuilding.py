"""A directory's database made anew beside its payloads."""

from __future__ import annotations

from pathlib import Path

from checkpointdb.errors import StoreUnavailableError
from checkpointdb.rebuild import rebuild
from checkpointdb.reports import RebuildReport
from checkpointdb.store.opening import DATABASE_NAME, open_directory


def rebuild_directory(directory: Path) -> RebuildReport:
    """Rebuild into a new database; an existing one is refused, never replaced."""
    path = directory / DATABASE_NAME
    if not directory.is_dir():
        raise StoreUnavailableError(f"there is no directory {str(directory)!r}")
    if path.exists():
        raise StoreUnavailableError(
            f"{str(path)!r} exists: move it (and its -wal and -shm files) away before rebuilding"
        )
    opened = open_directory(directory, durable=True, busy_seconds=60, upgrade=True, rebuilds=True)
    try:
        return rebuild(opened.database, opened.payloads)
    finally:
        opened.database.close()
