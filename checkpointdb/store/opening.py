"""A directory becomes a database and a payload store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL

from checkpointdb.database import Database
from checkpointdb.errors import StoreUnavailableError
from checkpointdb.payloads import LocalPayloads, make_directories, unavailable

DATABASE_NAME = "checkpoints.db"
PAYLOAD_DIRECTORY = "payloads"


class Opened(NamedTuple):
    """Where the rows and the bytes of a store are."""

    directory: Path
    database: Database
    payloads: LocalPayloads


def open_directory(
    directory: Path, *, durable: bool, busy_seconds: float, upgrade: bool, rebuilds: bool = False
) -> Opened:
    """Open a store, made if the directory is new; read-only where nothing can be written.

    Raises StoreUnavailableError if it can be neither made nor read, or if there are payloads
    without a database (unless `rebuilds`); SchemaVersionError as Database.prepare does.
    """
    directory = directory.absolute()  # the process may change its directory
    root = directory / PAYLOAD_DIRECTORY
    payloads = LocalPayloads(root, durable=durable)
    path = directory / DATABASE_NAME
    if path.exists() and not os.access(directory, os.W_OK):
        database = Database.open_read_only(path, busy_seconds=busy_seconds)
        return _prepared(Opened(directory, database, payloads), upgrade=False)
    try:
        make_directories(root, durable=durable)
    except OSError as error:
        raise unavailable(error, root) from error
    if not rebuilds and not path.exists() and next(payloads.files(), None) is not None:
        raise StoreUnavailableError(
            f"{str(directory)!r} holds payloads but no {DATABASE_NAME}: bring the database back "
            f"from a backup, or make it anew by PipelineCheckpoint.rebuild({str(directory)!r})"
        )
    url = URL.create("sqlite", database=str(path))  # as text, a path could be taken for more
    database = Database(url, durable=durable, busy_seconds=busy_seconds)
    return _prepared(Opened(directory, database, payloads), upgrade=upgrade)


def _prepared(opened: Opened, *, upgrade: bool) -> Opened:
    try:
        opened.database.prepare(upgrade=upgrade)
    except BaseException:
        opened.database.close()
        raise
    return opened
