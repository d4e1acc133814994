"""The schema of a store's database: which it is, and brought up to date."""

from __future__ import annotations

import io
import sqlite3
from importlib.metadata import version
from pathlib import Path

from checkpointdb.database import HEAD_REVISION, Database
from checkpointdb.postgres import bytes_of_tables, server_version
from checkpointdb.reports import DatabaseInfo, UpgradeReport
from checkpointdb.revisions import is_known, migrations, newer_schema
from checkpointdb.schema import metadata
from checkpointdb.store.opening import open_database


def database_info(directory: Path, database_url: str | None = None) -> DatabaseInfo:
    """Return what a store's database is, of whatever version."""
    database = open_database(directory, database_url)
    try:
        found = database.revision()
        engine, database_bytes, log_bytes = _engine_of(database)
    finally:
        database.close()
    return DatabaseInfo(
        path=database.where,
        state=_state(found),
        schema=found,
        library_schema=HEAD_REVISION,
        library_version=version("checkpointdb"),
        engine=engine,
        database_bytes=database_bytes,
        log_bytes=log_bytes,
        readable_since=first_versions().get(found or ""),
    )


def _engine_of(database: Database) -> tuple[str, int, int]:
    """Return what runs a database, its bytes, and those of its log (a server's is its own)."""
    if database.path is None:
        with database.read() as connection:
            return server_version(connection), bytes_of_tables(connection, list(metadata.tables)), 0
    log = database.path.with_name(f"{database.path.name}-wal")
    return f"SQLite {sqlite3.sqlite_version}", _bytes_of(database.path), _bytes_of(log)


def upgrade_database(directory: Path, database_url: str | None = None) -> UpgradeReport:
    """Bring a store's database up to date, after a backup of it if it is SQLite's."""
    database = open_database(directory, database_url)
    try:
        before = database.revision()
        backup = database.prepare(upgrade=not database.read_only, on_command=True)
    finally:
        database.close()
    return UpgradeReport(before, HEAD_REVISION, None if backup is None else str(backup))


def upgrade_sql(directory: Path, database_url: str | None = None) -> str:
    """Return the statements that would bring a store's database up to date; empty if it is."""
    database = open_database(directory, database_url)
    try:
        found = database.revision()
    finally:
        database.close()
    if found is not None and not is_known(found):
        raise newer_schema(database.where, found, HEAD_REVISION)
    return sql_of_upgrade(found, "sqlite" if database.server is None else "postgresql")


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
