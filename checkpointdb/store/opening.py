"""A directory becomes a database and a payload store."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import URL

from checkpointdb import queries
from checkpointdb.database import Database
from checkpointdb.directories import make_directories
from checkpointdb.errors import NotFoundError, StoreUnavailableError
from checkpointdb.keys import Key
from checkpointdb.local_payloads import LocalPayloads, unavailable
from checkpointdb.sealing import PLAIN, Cipher, Sealed
from checkpointdb.store.encryption import Unlocked, check_copies, check_key, unlock
from checkpointdb.store.keyring_copies import KEYRING_NAME, is_repaired, read_copies

if TYPE_CHECKING:
    from checkpointdb.reports import CheckReport
    from checkpointdb.verifying import Progress, Scope

DATABASE_NAME = "checkpoints.db"
PAYLOAD_DIRECTORY = "payloads"


class Opened(NamedTuple):
    """Where the rows and the bytes of a store are."""

    directory: Path
    database: Database
    payloads: LocalPayloads
    cipher: Cipher = PLAIN
    unlocked: Unlocked | None = None


def open_directory(
    directory: Path,
    *,
    durable: bool,
    busy_seconds: float,
    upgrade: bool,
    rebuilds: bool = False,
    is_encrypted: bool | None = None,
    key: Key | None = None,
) -> Opened:
    """Open a store, made if the directory is new; read-only where nothing can be written.

    With `is_encrypted` None it is taken as it is, and never made: NotFoundError if there is none.
    Raises StoreUnavailableError if it can be neither made nor read, if there are payloads
    without a database (unless `rebuilds`), or if it is the predecessor's;
    SchemaVersionError as Database.prepare does; EncryptionError unless it `is_encrypted` (None:
    either way) and `key`, or one in the directory, opens it.
    """
    if "\0" in str(directory):
        raise StoreUnavailableError(f"{str(directory)!r} cannot be the name of a directory")
    directory = directory.absolute()  # the process may change its directory
    root = directory / PAYLOAD_DIRECTORY
    payloads = LocalPayloads(root, durable=durable)
    path = directory / DATABASE_NAME
    try:
        is_made = path.exists() and path.stat().st_size > 0
    except (OSError, ValueError) as error:
        raise StoreUnavailableError(f"{str(directory)!r} cannot be opened: {error}") from error
    if not is_made:
        _refuse_legacy(directory)
    check_key(directory, key, is_wanted=is_encrypted, has_table=is_made)
    if is_made and not os.access(directory, os.W_OK):
        database = Database.open_read_only(path, busy_seconds=busy_seconds)
        opened = _prepared(Opened(directory, database, payloads), upgrade=False)
        return _unlocked(opened, key, is_encrypted)
    if not rebuilds and not is_made:
        _check_new(directory, payloads, is_made_here=is_encrypted is not None)
    try:
        make_directories(root, durable=durable)
    except OSError as error:
        raise unavailable(error, root) from error
    url = URL.create("sqlite", database=str(path))  # as text, a path could be taken for more
    database = Database(url, durable=durable, busy_seconds=busy_seconds)
    opened = _prepared(
        Opened(directory, database, payloads),
        upgrade=upgrade,
        check=lambda: check_copies(directory, database, key, is_wanted=is_encrypted),
    )
    if not rebuilds:
        _expect_rows(opened)
    return _unlocked(opened, key, is_encrypted)


def open_database(directory: Path) -> Database:
    """Open the database of a store that exists, whatever its schema; nothing is changed.

    Raises NotFoundError if there is none.
    """
    path = directory.absolute() / DATABASE_NAME
    if not path.exists() or not path.stat().st_size:
        _check_new(directory, LocalPayloads(directory / PAYLOAD_DIRECTORY, durable=True))
    if not os.access(directory, os.W_OK):
        return Database.open_read_only(path)
    return Database(URL.create("sqlite", database=str(path)))


def check_directory(
    directory: Path,
    read_data: Scope | None,
    grace: timedelta,
    progress: Progress | None,
) -> CheckReport:
    """Check a store without its key."""
    from checkpointdb.check import check
    from checkpointdb.reports import Problem

    database = open_database(directory)
    try:
        database.prepare(upgrade=False)
        payloads = LocalPayloads(directory.absolute() / PAYLOAD_DIRECTORY, durable=True)
        with database.read() as connection:
            copies = read_copies(directory, connection)
        cipher = None if copies.newest else PLAIN
        report = check(
            database, payloads, cipher=cipher, read_data=read_data, grace=grace, progress=progress
        )
        if copies.newest is None or is_repaired(copies):
            return report
        detail = "its two copies are not the same: open the store with its key, which mends that"
        problem = Problem("keyring", KEYRING_NAME, detail)
        return replace(report, problems=(*report.problems, problem))
    finally:
        database.close()


def _check_new(directory: Path, payloads: LocalPayloads, *, is_made_here: bool = False) -> None:
    """Refuse a directory without a database, unless a store is to be made in it."""
    if next(payloads.files(), None) is not None:
        raise _no_database(directory)
    if not is_made_here:
        raise NotFoundError(
            f"there is no store in {str(directory)!r}: name the directory that holds "
            f"{DATABASE_NAME}"
        )


def _unlocked(opened: Opened, key: Key | None, is_encrypted: bool | None) -> Opened:
    try:
        unlocked = unlock(
            opened.directory, opened.database, opened.payloads, key, is_wanted=is_encrypted
        )
    except BaseException:
        opened.database.close()
        raise
    if unlocked is None:
        return opened
    return opened._replace(cipher=Sealed(unlocked.secrets, unlocked.renewed), unlocked=unlocked)


def _expect_rows(opened: Opened) -> None:
    """Refuse an empty database beside payloads: it is lost, or a rebuild was interrupted.

    To go on with it would be to begin anew, and a sweep would take the payloads for orphans.
    """
    with opened.database.read() as connection:
        is_empty = connection.execute(queries.pipeline_names().limit(1)).first() is None
    if is_empty and next(opened.payloads.files(), None) is not None:
        opened.database.close()
        raise _no_database(opened.directory)


def _refuse_legacy(directory: Path) -> None:
    """Make no store where the predecessor kept its checkpoints: they would seem to be gone."""
    from checkpointdb.legacy import is_legacy

    if is_legacy(directory):
        shown = str(directory)
        raise StoreUnavailableError(
            f"{shown!r} was made by the predecessor of checkpointdb: nothing was changed there. "
            f"Open a store in another directory and call import_legacy({shown!r}), or run "
            f"checkpointdb --store STORE import {shlex.quote(shown)}"
        )


def _no_database(directory: Path) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"{str(directory)!r} holds payloads, but {DATABASE_NAME} is missing or empty: bring it "
        f"back from a backup, or make it anew by PipelineCheckpoint.rebuild({str(directory)!r}), "
        "at the prompt `checkpointdb rebuild`"
    )


def _prepared(opened: Opened, *, upgrade: bool, check: Callable[[], None] = lambda: None) -> Opened:
    try:
        opened.database.prepare(upgrade=upgrade, check=check)
    except BaseException:
        opened.database.close()
        raise
    return opened
