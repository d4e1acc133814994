"""Which payloads the rows name, and which files there are.

Both change while one looks. A payload is renamed under the writers' lock before its row is
committed, and unlinked after the commit that deleted its row: whoever finds a file missing asks
for its row again, whoever finds a row missing asks again under the lock.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, select, union_all, update

from checkpointdb.batches import batches
from checkpointdb.contexts import contextmanager
from checkpointdb.database import Database
from checkpointdb.database_errors import put_back
from checkpointdb.errors import UnknownOutcomeError
from checkpointdb.format import (
    is_payload_name,
    made_unique,
    payload_name,
    sequence_of,
    with_sequence,
)
from checkpointdb.payloads import PayloadFile, PayloadStore
from checkpointdb.rows import typed
from checkpointdb.schema import payloads as payload_table
from checkpointdb.schema import pipelines, removals
from checkpointdb.statements import Prepared


class PayloadRow(NamedTuple):
    """What the database says of a payload."""

    id: int
    name: str
    sha256: bytes
    stored_bytes: int


def all_payloads() -> Select[Any]:
    """Return the rows of all payloads, in the order in which they were saved."""
    return _payload_rows().order_by(payload_table.c.id)


def _payload_rows() -> Select[Any]:
    return select(
        payload_table.c.id,
        payload_table.c.name,
        payload_table.c.sha256,
        payload_table.c.stored_bytes,
    )


def _named(names: Collection[str]) -> Select[Any]:
    """Return those of the names that a payload or a removal has."""
    of_payloads = select(payload_table.c.name).where(payload_table.c.name.in_(names))
    of_removals = select(removals.c.name).where(removals.c.name.in_(names))
    return select(union_all(of_payloads, of_removals).subquery().c.name)


def payload_rows(connection: Connection) -> list[PayloadRow]:
    """Return what the database says of each payload."""
    rows = connection.execute(all_payloads())
    return [PayloadRow(*typed(row, int, str, bytes, int)) for row in rows]


def payload_row(connection: Connection, payload_id: int) -> PayloadRow | None:
    """Return what the database says of one payload; None if it does not know it."""
    rows = _payload_rows().where(payload_table.c.id == payload_id)
    row = connection.execute(rows).one_or_none()
    return None if row is None else PayloadRow(*typed(row, int, str, bytes, int))


def named_files(connection: Connection, names: Collection[str]) -> set[str]:
    """Return those of the names that the database knows, as payloads or to be removed."""
    return {name for batch in batches(sorted(names)) for name in connection.scalars(_named(batch))}


@cache
def names_to_remove() -> Select[Any]:
    """Return the names of files to unlink; never of one that a payload has, whatever rows say."""
    alive = select(payload_table.c.id).where(payload_table.c.name == removals.c.name)
    return select(removals.c.name).where(~alive.exists()).order_by(removals.c.id)


def directory_of(name: str) -> str:
    """Return the directory in a payload's name: one for each pipeline."""
    return name.partition("/")[0]


def newer_than_rows(connection: Connection, names: Collection[str]) -> set[str]:
    """Return the payloads that were saved after the state that the database was put back to.

    Their sequences are still to be given. So is that of a save which was killed before its commit,
    and where that alone has one, it is no sign.
    """
    rows = connection.execute(select(pipelines.c.name, pipelines.c.next_sequence))
    coming = {directory_of(payload_name(name, 0, "")): sequence for name, sequence in rows}
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name in filter(is_payload_name, names):
        directory, sequence = directory_of(name), sequence_of(name)
        if directory in coming and sequence >= coming[directory]:
            found[directory][name] = sequence
    return {
        name
        for directory, sequences in found.items()
        if max(sequences.values()) > coming[directory]
        for name in sequences
    }


@contextmanager
def under_lock(database: Database, *, retried: bool = False) -> Iterator[Connection]:
    """Open a transaction in which no file is renamed that has no row yet.

    A database that cannot be written has no writers here: it is read. `retried` as in its `write`.
    """
    if database.read_only:
        with database.read() as connection:
            yield connection
        return
    with database.write(retried=retried) as connection:
        yield connection


def first_name(
    database: Database, payloads: PayloadStore, pipeline_id: int, unnumbered: str
) -> str:
    """Return the name under which to begin a payload.

    An object cannot be renamed: it gets its last name now, of the next sequence, and random
    digits, since an upload of many parts would replace what has its name. So in a bucket the
    sequence tells when a save began, not when it was committed, which matters to a rebuild alone,
    where two at once saved one id. (To rename by copying would take as long as the object is
    large, under the lock; a second object that tells the order, another request at each save.)
    """
    if not payloads.names_first:
        # A server ends the session of a client that stands still, and its lock: another writer may
        # have taken the name that was free when the client wakes up, unless that is its own.
        return unnumbered if database.server is None else made_unique(unnumbered)
    until = time.monotonic() + database.busy_seconds
    while True:
        try:
            with database.write(pipeline=pipeline_id) as connection:
                sequence = _next_sequence(connection, pipeline_id)
            return with_sequence(made_unique(unnumbered), sequence)
        except UnknownOutcomeError:  # a number that nobody uses costs nothing
            if time.monotonic() > until:
                raise


def free_name(
    connection: Connection, payloads: PayloadStore, pipeline_id: int, begun_as: str
) -> str:
    """Lock the pipeline and return the last name of a payload, under which there is no file.

    There may be one: a commit that failed may still come to life (when the log that it was
    written to is recovered after a crash), and then it needs the file of its name.
    """
    while True:
        name = with_sequence(begun_as, _next_sequence(connection, pipeline_id))
        if payloads.names_first:
            return begun_as
        if not payloads.exists(name):
            return name


def _next_sequence(connection: Connection, pipeline_id: int) -> int:
    found = _lock().run(connection, {"pipeline": pipeline_id})
    if not found:
        raise put_back(connection.engine.url.database)
    return int(found[0][0])


@cache
def _lock() -> Prepared:
    """Takes the pipeline's row, which is the writers' lock, and the sequence number in it."""
    return Prepared(
        update(pipelines)
        .where(pipelines.c.id == bindparam("pipeline"))
        .values(next_sequence=pipelines.c.next_sequence + 1)
        .returning(pipelines.c.next_sequence - 1)
    )


def still_named(database: Database, row: PayloadRow) -> bool:
    """Say whether a payload's row is there and names this file, in a transaction of its own."""
    query = select(payload_table.c.name).where(payload_table.c.id == row.id)
    with database.read() as connection:
        return connection.scalar(query) == row.name


def missing_files(
    database: Database, payloads: PayloadStore, rows: Collection[PayloadRow]
) -> list[PayloadRow]:
    """Return the rows whose file is missing, and not because both have just been removed."""
    found = {file.name for file in payloads.files()}
    return [
        row
        for row in rows
        if row.name not in found and not payloads.exists(row.name) and still_named(database, row)
    ]


def orphans(
    connection: Connection, payloads: PayloadStore, files: Collection[PayloadFile]
) -> list[PayloadFile]:
    """Return the files that exist and that the database does not know, asked under the lock."""
    named = named_files(connection, [file.name for file in files])
    return [file for file in files if file.name not in named and payloads.exists(file.name)]
