"""The schema of a store's database: which it is, and brought up to date."""

from __future__ import annotations

import io
import sqlite3
from importlib.metadata import version
from pathlib import Path

from checkpointdb.database import HEAD_REVISION
from checkpointdb.errors import SchemaVersionError
from checkpointdb.reports import DatabaseInfo, UpgradeReport
from checkpointdb.revisions import is_known, migrations
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
        readable_since=first_versions().get(found or ""),
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


def upgrade_sql(directory: Path) -> str:
    """Return the statements that would bring a store's database up to date; empty if it is."""
    database = open_database(directory)
    try:
        found = database.revision()
    finally:
        database.close()
    if found is not None and not is_known(found):
        raise SchemaVersionError(
            f"the store {str(directory)!r} has schema {found}, which is newer than this version of "
            f"checkpointdb reads (up to {HEAD_REVISION}): upgrade checkpointdb",
            found=found,
            expected=HEAD_REVISION,
        )
    return sql_of_upgrade(found, "sqlite")


def sql_of_upgrade(found: str | None, dialect: str) -> str:
    """Return the statements, of a dialect, from a schema (None: from nothing) to the newest."""
    from alembic import command

    if found == HEAD_REVISION:
        return ""
    config = migrations()
    config.attributes["dialect"] = dialect
    config.output_buffer = written = io.StringIO()
    command.upgrade(config, f"{found or 'base'}:{HEAD_REVISION}", sql=True)
    return written.getvalue()


def first_versions() -> dict[str, str]:
    """Return each schema's first version of the library, as the migrations say."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(migrations())
    return {each.revision: each.module.first_version for each in scripts.walk_revisions()}


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
