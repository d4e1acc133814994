"""A directory's database made anew beside its payloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from checkpointdb.crypto import ENCRYPTION_AVAILABLE
from checkpointdb.errors import (
    CorruptionError,
    InvalidInputError,
    SchemaVersionError,
    StoreUnavailableError,
)
from checkpointdb.rebuild import rebuild
from checkpointdb.reports import RebuildReport
from checkpointdb.store.key_sources import given_key
from checkpointdb.store.opening import DATABASE_NAME, open_directory


def rebuild_directory(
    directory: Path,
    key: object | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> RebuildReport:
    """Rebuild into a new database; one that has rows is refused, never replaced.

    An empty one is what an interrupted rebuild leaves.
    """
    path = directory / DATABASE_NAME
    if not directory.is_dir():
        raise StoreUnavailableError(f"there is no directory {str(directory)!r}")
    try:
        opened = open_directory(
            directory,
            durable=True,
            busy_seconds=60,
            upgrade=False,
            rebuilds=True,
            key=given_key(key) if ENCRYPTION_AVAILABLE else None,
        )
    except (CorruptionError, SchemaVersionError) as error:
        raise _in_the_way(path) from error
    try:
        return rebuild(opened.database, opened.payloads, cipher=opened.cipher, progress=progress)
    except InvalidInputError as error:
        raise _in_the_way(path) from error
    finally:
        opened.database.close()


def _in_the_way(path: Path) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"{str(path)!r} exists and is not empty: move it (and its -wal and -shm files) away "
        "before rebuilding"
    )
