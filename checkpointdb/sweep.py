"""Removing files that nothing needs: left by a crash, or by an unlink that did not happen.

A file is unlinked inside a write transaction in which the rows were just looked at. Since a
payload is renamed under the same lock, none can get its row in between: that makes it safe. The
grace period is for files of saves that are still being written, which have no row to look at.

That lock is the one of the whole store: it is held for some files at a time, and never while a
bucket is listed. What is listed only suggests; what is unlinked was asked for under the lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, delete

from checkpointdb.database import Database
from checkpointdb.errors import StoreUnavailableError
from checkpointdb.format import is_payload_name, payload_name
from checkpointdb.inventory import (
    directory_of,
    missing_files,
    named_files,
    names_to_remove,
    newer_than_rows,
    payload_rows,
    under_lock,
)
from checkpointdb.payloads import PayloadFile, PayloadStore
from checkpointdb.queries import open_leases, pipeline_names
from checkpointdb.reports import SweepReport
from checkpointdb.schema import removals

_AT_ONCE = 50

T = TypeVar("T")

log = logging.getLogger("checkpointdb")


def sweep(
    database: Database,
    payloads: PayloadStore,
    *,
    grace: timedelta = timedelta(days=1),
    now: datetime | None = None,
) -> SweepReport:
    """Remove what `removals` lists, and payloads without a row and unfinished files.

    The latter two only if they are older than `grace` at `now`; without it, by the clock that
    dates them, since that of this machine may be days ahead, and another may be uploading. Rows
    whose file is missing are reported and left alone: a backup may bring the file back. So are
    files of pipelines that the database does not know, and those that are newer than its rows: a
    rebuild may bring these back. A file that cannot be removed is named in the log and stays for
    the next sweep. Raises StoreUnavailableError if the store is read-only.
    """
    if database.read_only:
        raise StoreUnavailableError(
            f"the store {database.where!r} was opened read-only: its files cannot be removed"
        )
    latest = cache(lambda: (now or payloads.now()) - grace)  # asked only if something is left over
    removed = [*_work_off_removals(database, payloads)]
    removed += _remove_orphans(database, payloads, latest)
    removed += _remove_unfinished(database, payloads, latest)
    with database.read() as connection:
        rows = payload_rows(connection)
    return SweepReport(
        tuple(file.name for file in removed),
        sum(file.stored_bytes for file in removed),
        tuple(row.name for row in missing_files(database, payloads, rows)),
    )


def _work_off_removals(database: Database, payloads: PayloadStore) -> Iterator[PayloadFile]:
    with under_lock(database) as connection:  # which says so where the store is gone
        wanted = set(connection.scalars(names_to_remove()))
    if not wanted:
        return
    # Listed after the names were read: one that is not there now is gone for good.
    found = {file.name: file for file in payloads.files() if file.name in wanted}
    for batch in _few(sorted(wanted)):
        with under_lock(database) as connection:
            now = {"now": datetime.now(UTC)}
            if connection.execute(open_leases(), now).first() is not None:
                return  # a push copies what the rows named before
            still = names_to_remove().where(removals.c.name.in_(batch))
            names = set(connection.scalars(still))
            there = [found[name] for name in sorted(names & found.keys())]
            removed = _unlink(payloads, there)
            stuck = {file.name for file in there} - {file.name for file in removed}
            connection.execute(delete(removals).where(removals.c.name.in_(names - stuck)))
        yield from removed


def _remove_orphans(
    database: Database, payloads: PayloadStore, latest: Callable[[], datetime]
) -> Iterator[PayloadFile]:
    """Remove old payloads without a row.

    Not asked one by one whether they are there still: each would be a request under the lock.
    """
    files = list(payloads.files())
    with database.read() as connection:
        strangers = _strangers(connection, files)
    for batch in _few(_older(strangers, latest)):
        with under_lock(database) as connection:
            named = named_files(connection, [file.name for file in batch])
            removed = _unlink(payloads, [file for file in batch if file.name not in named])
        yield from removed


def _strangers(connection: Connection, files: list[PayloadFile]) -> list[PayloadFile]:
    """Return the files that the rows do not know, of pipelines that they do know.

    A pipeline has its row before its first payload. Files of one without are not leftovers:
    somebody lost the database, or began to rebuild it and was killed. Nor are those that are
    newer than the rows: somebody put back an older database. Nor files of other names, such as
    those of a backup that has its `payloads/` here.
    """
    pipelines = connection.scalars(pipeline_names())
    directories = {directory_of(payload_name(name, 0, "")) for name in pipelines}
    unnamed = {file.name for file in files}
    unnamed -= named_files(connection, unnamed)
    unnamed -= newer_than_rows(connection, unnamed)
    return [
        file
        for file in files
        if file.name in unnamed
        and directory_of(file.name) in directories
        and is_payload_name(file.name)
    ]


def _remove_unfinished(
    database: Database, payloads: PayloadStore, latest: Callable[[], datetime]
) -> list[PayloadFile]:
    found = _older(payloads.unfinished(), latest)
    if not found:
        return []
    with under_lock(database):
        return _unlink(payloads, found)


def _older(files: Iterable[PayloadFile], latest: Callable[[], datetime]) -> list[PayloadFile]:
    return [file for file in files if file.modified_at <= latest()]


def _few(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut into lists of what is removed under one lock: others save in between."""
    iterator = iter(items)
    while some := list(islice(iterator, _AT_ONCE)):
        yield some


def _unlink(payloads: PayloadStore, files: Collection[PayloadFile]) -> list[PayloadFile]:
    """Unlink files and return those that are gone now."""
    failed = payloads.delete_all([file.name for file in files])
    for name, error in failed.items():
        where = payloads.locate(name)
        log.warning("%s could not be removed, the next sweep will retry: %s", where, error)
    return [file for file in files if file.name not in failed]
