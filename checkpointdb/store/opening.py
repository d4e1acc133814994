"""A directory becomes a database and a payload store."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import URL

from checkpointdb.contexts import contextmanager
from checkpointdb.database import Database
from checkpointdb.directories import make_directories
from checkpointdb.errors import InvalidInputError, NotFoundError, StoreUnavailableError
from checkpointdb.keys import Key
from checkpointdb.local_payloads import unavailable
from checkpointdb.payloads import PayloadStore
from checkpointdb.records import CloudBackupConfig
from checkpointdb.sealing import PLAIN, Cipher, Sealed
from checkpointdb.store.claims import (
    CLAIM_NAME,
    Claim,
    Found,
    Wanted,
    claimed_by_another,
    find_payloads,
    is_used,
    refuse_inside,
)
from checkpointdb.store.encryption import (
    Unlocked,
    bring_keyring,
    check_copies,
    check_key,
    unlock,
)
from checkpointdb.store.file_systems import warn_of_links, warn_of_network
from checkpointdb.store.keyring_copies import KEYRING_NAME, is_repaired, read_copies
from checkpointdb.store.places import DATABASE_NAME, PAYLOAD_DIRECTORY

if TYPE_CHECKING:
    from checkpointdb.callbacks import Progress
    from checkpointdb.reports import CheckReport
    from checkpointdb.verifying import Scope


class Opened(NamedTuple):
    """Where the rows and the bytes of a store are."""

    directory: Path
    database: Database
    payloads: PayloadStore
    claim: Claim | None = None  # of a place for payloads outside of the directory
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
    payload_url: str | None = None,
    database_url: str | URL | None = None,
    config: CloudBackupConfig | None = None,
) -> Opened:
    """Open a store, made if the directory is new; read-only where nothing can be written.

    With `is_encrypted` None it is taken as it is, and never made: NotFoundError if there is none.
    `payload_url` is where a new store keeps its payloads, and must be where another has them.
    `database_url` names the server that its rows are on; None: they are in the directory.
    Raises StoreUnavailableError if it can be neither made nor read, if there are payloads
    without a database (unless `rebuilds`), or if it is the predecessor's;
    SchemaVersionError as Database.prepare does; EncryptionError unless it `is_encrypted` (None:
    either way) and `key`, or one in the directory, opens it.
    """
    if "\0" in str(directory):
        raise StoreUnavailableError(f"{str(directory)!r} cannot be the name of a directory")
    directory = _absolute(directory)  # the process may change its directory
    wanted = Wanted.of(directory, payload_url, config, durable=durable)
    is_file_made = _is_made(directory)
    database = _database(
        directory, database_url, durable=durable, busy_seconds=busy_seconds, is_made=is_file_made
    )
    with closed_on_error(database):
        is_made = is_file_made if database.server is None else _has_rows(database)
        if not is_made:
            _refuse_legacy(directory)
        if rebuilds and wanted.url is not None:
            bring_keyring(directory, wanted.payloads(), key)
        check_key(directory, key, is_wanted=is_encrypted, has_table=is_made)
        if database.read_only:
            return _completed(database, wanted, key, is_encrypted, upgrade=False)
        if not rebuilds and not is_made:
            _check_new(wanted, database, is_made_here=is_encrypted is not None)
        _make(directory, durable=durable)
        if database.server is None:
            warn_of_network(directory)
            warn_of_links(directory / DATABASE_NAME)
        return _completed(database, wanted, key, is_encrypted, upgrade=upgrade, rebuilds=rebuilds)


def _absolute(directory: Path) -> Path:
    try:
        return directory.absolute()
    except OSError as error:
        raise StoreUnavailableError(
            f"{str(directory)!r} is nowhere: the directory that this process is in is gone"
        ) from error


def _has_rows(database: Database) -> bool:
    """Say whether a database is a store's; nothing is made for that."""
    if database.path is not None and not _is_made(database.path.parent):
        return False
    return database.revision() is not None


def _is_made(directory: Path) -> bool:
    """Say whether a directory has a database."""
    try:
        return (directory / DATABASE_NAME).stat().st_size > 0
    except FileNotFoundError:
        return False
    except NotADirectoryError as error:
        file = next(each for each in (directory, *directory.parents) if each.exists())
        raise StoreUnavailableError(f"{str(file)!r} is a file, and no store's directory") from error
    except (OSError, ValueError) as error:
        raise StoreUnavailableError(f"{str(directory)!r} cannot be opened: {error}") from error


def _database(
    directory: Path,
    url: str | URL | None,
    *,
    durable: bool = True,
    busy_seconds: float = 60.0,
    is_made: bool,
) -> Database:
    """Return the database of a store, on a server if one is named, not connected to yet."""
    path = directory / DATABASE_NAME
    if url is not None and is_made:
        raise InvalidInputError(
            f"the rows of the store {str(directory)!r} are in {str(path)!r}, and not on a server: "
            "open it without database_url, or copy it into a new store there by "
            "copy_into(directory, database_url=…), at the prompt `checkpointdb copy`"
        )
    if url is None and is_made and not os.access(directory, os.W_OK):
        return Database.open_read_only(path, busy_seconds=busy_seconds)
    if url is None:
        # As text, a path could be taken for more.
        place = URL.create("sqlite", database=str(path))
    else:
        from checkpointdb.postgres import server_url  # a store in SQLite need not import it

        place = server_url(url)
    return Database(place, durable=durable, busy_seconds=busy_seconds)


@contextmanager
def closed_on_error(database: Database) -> Iterator[None]:
    """Close a database if the handle that is made for it is not."""
    try:
        yield
    except BaseException:
        database.close()
        raise


def _make(directory: Path, *, durable: bool) -> None:
    try:
        make_directories(directory, durable=durable)
    except OSError as error:
        missing = "no directory can be made there: name another"
        raise unavailable(error, directory, missing=missing) from error


def _completed(
    database: Database,
    wanted: Wanted,
    key: Key | None,
    is_encrypted: bool | None,
    *,
    upgrade: bool,
    rebuilds: bool = False,
) -> Opened:
    """Bring a database up to date, find its payloads, and unlock it."""
    directory = wanted.directory
    database.prepare(
        upgrade=upgrade,
        check=lambda: check_copies(directory, database, key, is_wanted=is_encrypted),
    )
    found = find_payloads(database, wanted, takes_over=rebuilds)
    if found.is_inside and not database.read_only:
        _make(directory / PAYLOAD_DIRECTORY, durable=wanted.durable)
    if not rebuilds and not database.read_only:
        _expect_rows(directory, database, found)
    unlocked = unlock(directory, database, found.payloads, key, is_wanted=is_encrypted)
    cipher = Sealed(unlocked.secrets, unlocked.renewed) if unlocked else PLAIN
    return Opened(directory, database, found.payloads, found.claim, cipher, unlocked)


def open_database(directory: Path, database_url: str | None = None) -> Database:
    """Open the database of a store that exists, whatever its schema; nothing is changed.

    Raises NotFoundError if there is none.
    """
    directory = _absolute(directory)
    is_file_made = _is_made(directory)
    database = _database(directory, database_url, is_made=is_file_made)
    if database.server is None and not is_file_made:
        _check_new(Wanted(directory, None, None, durable=True), database)
    return database


def check_directory(
    directory: Path,
    read_data: Scope | None,
    grace: timedelta,
    progress: Progress | None,
    payload_url: str | None = None,
    database_url: str | None = None,
) -> CheckReport:
    """Check a store without its key."""
    from checkpointdb.check import check
    from checkpointdb.reports import Problem

    wanted = Wanted.of(_absolute(directory), payload_url, None, durable=True)
    database = open_database(directory, database_url)
    try:
        if database.revision() is None:
            _check_new(wanted, database)
        database.prepare(upgrade=False)
        payloads = find_payloads(database, wanted).payloads
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


def _check_new(wanted: Wanted, database: Database, *, is_made_here: bool = False) -> None:
    """Refuse a directory whose database is empty, unless a store is to be made in it."""
    payloads = wanted.payloads()
    if is_made_here:
        refuse_inside(wanted)
    claimed = payloads.note(CLAIM_NAME) if is_made_here else None
    has_payloads = next(payloads.files(), None) is not None
    if (has_payloads or claimed is not None) and _has_rows(database):
        return  # another process made it meanwhile, and its rows were there before its files
    if claimed is not None:
        raise claimed_by_another(claimed, wanted.url or str(wanted.directory))
    if has_payloads:
        raise _no_database(wanted.directory, wanted.url, database.where)
    if not is_made_here:
        raise NotFoundError(
            f"there is no store in {str(wanted.directory)!r}, {database.where!r} holds none: name "
            f"the directory that holds {DATABASE_NAME}, or, if its rows are on a server, the URL "
            "too"
        )


def _expect_rows(directory: Path, database: Database, found: Found) -> None:
    """Refuse an empty database beside payloads: it is lost, or a rebuild was interrupted.

    To go on with it would be to begin anew, and a sweep would take the payloads for orphans.
    """
    if not _is_empty(database) or next(found.payloads.files(), None) is None:
        return
    if _is_empty(database):  # still: no other process has begun to save meanwhile
        raise _no_database(directory, found.claim and found.claim.url, database.where)


def _is_empty(database: Database) -> bool:
    with database.read() as connection:
        return not is_used(connection)


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


def _no_database(directory: Path, url: str | None, database: str) -> StoreUnavailableError:
    arguments = repr(str(directory)) + (f", payload_url={url!r}" if url else "")
    return StoreUnavailableError(
        f"{url or str(directory)!r} holds payloads, but {database!r} is missing or empty: if the "
        "rows are on a server, give its database_url; else bring it back from a backup, or make it "
        f"anew by PipelineCheckpoint.rebuild({arguments}), at the prompt `checkpointdb rebuild`"
    )
