"""A directory's database made anew beside its payloads."""

from __future__ import annotations

from pathlib import Path

from checkpointdb.callbacks import Progress
from checkpointdb.crypto import ENCRYPTION_AVAILABLE
from checkpointdb.errors import (
    CorruptionError,
    InvalidInputError,
    SchemaVersionError,
    StoreUnavailableError,
)
from checkpointdb.local_payloads import unavailable
from checkpointdb.rebuild import rebuild
from checkpointdb.records import CloudBackupConfig
from checkpointdb.reports import RebuildReport
from checkpointdb.store.key_sources import given_key
from checkpointdb.store.opening import open_directory
from checkpointdb.store.places import DATABASE_NAME


def rebuild_directory(
    directory: Path,
    key: object | None = None,
    progress: Progress | None = None,
    payload_url: str | None = None,
    database_url: str | None = None,
    config: CloudBackupConfig | None = None,
) -> RebuildReport:
    """Rebuild into a new database; one that has rows is refused, never replaced.

    An empty one is what an interrupted rebuild leaves. Payloads elsewhere belong to the new one
    before it has rows: one that had rows, and no payloads of its own, could neither be used nor
    rebuilt again.
    """
    path = directory / DATABASE_NAME
    try:
        is_there = payload_url is not None or directory.is_dir()
    except OSError as error:
        raise unavailable(error, directory, "read") from error
    if not is_there:
        raise StoreUnavailableError(f"there is no directory {str(directory)!r}")
    try:
        opened = open_directory(
            directory,
            durable=True,
            busy_seconds=60,
            upgrade=False,
            rebuilds=True,
            key=given_key(key) if ENCRYPTION_AVAILABLE else None,
            payload_url=payload_url,
            database_url=database_url,
            config=config,
        )
    except (CorruptionError, SchemaVersionError) as error:
        raise _in_the_way(path, database_url) from error
    try:
        return rebuild(
            opened.database,
            opened.payloads,
            cipher=opened.cipher,
            progress=progress,
            before_commit=opened.claim and opened.claim.take_over,
        )
    except InvalidInputError as error:
        raise _in_the_way(path, database_url) from error
    finally:
        opened.database.close()


def _in_the_way(path: Path, database_url: str | None) -> StoreUnavailableError:
    if database_url is not None:
        return StoreUnavailableError(
            "the database is not empty, or not of this version: name a new one, or a new "
            "?schema= of it, to rebuild into"
        )
    return StoreUnavailableError(
        f"{str(path)!r} exists and is not empty: move it (and its -wal and -shm files) away "
        "before rebuilding"
    )
