"""The schema of a store's database: which it is, and brought up to date."""

from __future__ import annotations

import sqlite3
from importlib.metadata import version
from pathlib import Path

from checkpointdb.database import HEAD_REVISION, is_known
from checkpointdb.reports import DatabaseInfo, UpgradeReport
from checkpointdb.store.opening import open_database


def database_info(directory: Path) -> DatabaseInfo:
    """Return what a store's database is, of whatever version."""
    database = open_database(directory)
    try:
        found = database.revision()
    finally:
        database.close()
    path = database.path
    assert path is not None
    return DatabaseInfo(
        path=str(path),
        state=_state(found),
        schema=found,
        library_schema=HEAD_REVISION,
        library_version=version("checkpointdb"),
        sqlite_version=sqlite3.sqlite_version,
        database_bytes=path.stat().st_size,
        log_bytes=_bytes_of(path.with_name(f"{path.name}-wal")),
    )


def upgrade_database(directory: Path) -> UpgradeReport:
    """Bring a store's database up to date, after a backup of it."""
    database = open_database(directory)
    try:
        before = database.revision()
        backup = database.prepare(upgrade=not database.read_only)
    finally:
        database.close()
    return UpgradeReport(before, HEAD_REVISION, None if backup is None else str(backup))


def _state(found: str | None) -> str:
    if found is None:
        return "empty"
    if found == HEAD_REVISION:
        return "current"
    return "older" if is_known(found) else "newer"


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
