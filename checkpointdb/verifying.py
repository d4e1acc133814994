"""Verifying stored bytes: each payload read once and compared with its hashes and its manifest.

What was read is noted in the rows, so that a pass that ends before the last payload is gone on
with by the next: what was read longest ago comes first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, select, update

from checkpointdb import affected
from checkpointdb.batches import batches
from checkpointdb.callbacks import Progress
from checkpointdb.database import Database
from checkpointdb.errors import (
    CheckpointError,
    CorruptionError,
    StoreBusyError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from checkpointdb.facts import facts_of_manifest, facts_of_rows, show
from checkpointdb.inventory import PayloadRow, payload_row, still_named
from checkpointdb.manifests import hash_payload, part_of, read_manifest
from checkpointdb.marks import mark
from checkpointdb.payloads import PayloadReader, PayloadStore, is_damage
from checkpointdb.reports import Problem
from checkpointdb.rows import typed
from checkpointdb.schema import members
from checkpointdb.schema import payloads as payload_table
from checkpointdb.sealing import Cipher

log = logging.getLogger("checkpointdb")

_NOTE_SECONDS = 5.0  # so often a long pass notes what it has read
_IS_DAMAGE = {"damaged", "missing"}


class Scope(NamedTuple):
    """How much to read: a share of all stored bytes, and for how long at most."""

    share: float = 1.0
    seconds: float | None = None


class Verified(NamedTuple):
    """What a pass found: payloads and bytes that it read and that are whole, and the problems."""

    payloads: int
    stored_bytes: int
    problems: list[Problem]


def verify_payloads(
    database: Database,
    payloads: PayloadStore,
    cipher: Cipher | None,
    scope: Scope,
    progress: Progress | None,
) -> Verified:
    """Read payloads, those first that were read longest ago; note when, and which are damaged."""
    with database.read() as connection:
        chosen = _chosen(list(connection.execute(by_last_check())), scope.share)
    noted = _Notes(database)
    problems: list[Problem] = []
    until = None if scope.seconds is None else time.monotonic() + scope.seconds
    read_bytes = number = 0
    for number, payload_id in enumerate(chosen, 1):
        found, whole_bytes = verify_payload(database, payloads, cipher, payload_id)
        problems += found
        read_bytes += whole_bytes
        noted.add(payload_id, {each.subject for each in found if each.kind in _IS_DAMAGE})
        if progress is not None:
            progress(number, len(chosen))
        if until is not None and time.monotonic() >= until:
            break
    noted.finish()
    return Verified(number, read_bytes, problems)


def by_last_check() -> Select[Any]:
    """Return all payloads: those never read, then those that were read longest ago."""
    return select(payload_table.c.id, payload_table.c.stored_bytes).order_by(
        payload_table.c.checked_at.is_not(None),
        payload_table.c.checked_at,
        payload_table.c.id,
    )


def _chosen(rows: list[Any], share: float) -> list[int]:
    """Return the first payloads that together have at least a share of all bytes."""
    wanted_bytes = share * sum(row.stored_bytes for row in rows)
    chosen: list[int] = []
    for row in rows:
        if wanted_bytes <= 0:
            break
        chosen.append(row.id)
        wanted_bytes -= row.stored_bytes
    return chosen


class _Notes:
    """Which payloads were read, and are damaged; written now and then, as a pass may be ended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: list[int] = []
        self._damaged: list[str] = []
        self._failure: CheckpointError | None = None
        self._written = time.monotonic()

    def add(self, payload_id: int, damaged: Collection[str]) -> None:
        self._ids.append(payload_id)
        self._damaged += damaged
        if time.monotonic() - self._written > _NOTE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write those that are not written yet, if it can be: what was read is found all the same.

        What could not be written, as by a user of a server who may only read, stays for the next.
        """
        self._failure = None
        if self._ids and not self._database.read_only:
            try:
                with self._database.write() as connection:
                    _note(connection, self._ids)
                    mark(connection, self._damaged)
            except (StoreUnavailableError, StoreBusyError, UnknownOutcomeError) as error:
                self._failure = error
        if self._failure is None:
            self._ids, self._damaged = [], []
        self._written = time.monotonic()

    def finish(self) -> None:
        self.write()
        if self._failure is not None:
            log.warning("which payloads were read could not be noted: %s", self._failure)


def _note(connection: Connection, payload_ids: list[int]) -> None:
    now = datetime.now(UTC)
    for batch in batches(payload_ids):
        connection.execute(
            update(payload_table).where(payload_table.c.id.in_(batch)).values(checked_at=now)
        )


def verify_payload(
    database: Database, payloads: PayloadStore, cipher: Cipher | None, payload_id: int
) -> tuple[list[Problem], int]:
    """Return what is wrong with a payload, and how many bytes of it were verified.

    One that gets another file meanwhile is looked at again. Without a cipher the manifest of a
    sealed payload is not read.
    """
    while True:
        with database.read() as connection:
            row = payload_row(connection, payload_id)
            if row is None:
                return [], 0  # removed meanwhile
            told = set(facts_of_rows(connection, row.id))
            parts = {
                part_of(each.offset, each.stored_bytes): typed(each, int, int, int, bytes)
                for each in connection.execute(_members(), {"payload_id": row.id})
            }
        try:
            reader = payloads.open(row.name)
        except FileNotFoundError:
            found, read_bytes = [missing(database, row)], 0
        except (CorruptionError, OSError) as error:
            found, read_bytes = [_unreadable(database, row, error)], 0
        else:
            found = list(_check_file(database, reader, cipher, row, told, parts))
            read_bytes = 0 if found else row.stored_bytes
        if still_named(database, row):
            return found, read_bytes


def _check_file(
    database: Database,
    reader: PayloadReader,
    cipher: Cipher | None,
    row: PayloadRow,
    told: set[Any],
    parts: dict[tuple[int, int], Any],
) -> Iterator[Problem]:
    try:
        yield from _check_bytes(database, reader, row, parts)
        if cipher is not None:
            yield from _check_manifest(database, reader, cipher, row, told)
    finally:
        reader.close()


@cache
def _members() -> Select[Any]:
    return (
        select(members.c.id, members.c.offset, members.c.stored_bytes, members.c.sha256)
        .where(members.c.payload_id == bindparam("payload_id"))
        .order_by(members.c.offset)
    )


def _check_bytes(
    database: Database,
    reader: PayloadReader,
    row: PayloadRow,
    parts: dict[tuple[int, int], Any],
) -> Iterator[Problem]:
    try:
        hashes = hash_payload(reader, parts)
    except OSError as error:
        yield _unreadable(database, row, error)
        return
    damaged = [each for part, each in parts.items() if hashes.parts.get(part) != each.sha256]
    if damaged:
        where = ", ".join(str(each.offset) for each in damaged)
        query = affected.checkpoints_of_members([each.id for each in damaged])
        yield Problem(
            "damaged",
            row.name,
            f"{len(damaged)} of its members, at {where}, are not what was saved",
            _ids(database, query),
        )
    elif hashes.whole != row.sha256:
        detail = "its bytes are not what was saved, but all that is loaded from it is whole"
        yield Problem("damaged", row.name, detail)


def _check_manifest(
    database: Database, reader: PayloadReader, cipher: Cipher, row: PayloadRow, told: set[Any]
) -> Iterator[Problem]:
    try:
        manifest = read_manifest(reader, row.name, cipher)
    except (CorruptionError, OSError) as error:
        if not _is_damage(error):
            yield _unreadable(database, row, error)
            return
        detail = f"a rebuild could not use it: {error}"
        yield Problem("manifest", row.name, detail, affected_by(database, row.id))
        return
    unsaid = sorted(map(show, told.difference(facts_of_manifest(manifest))))
    if unsaid:
        detail = f"{len(unsaid)} facts of the rows are not in its manifest, such as: {unsaid[0]}"
        yield Problem("manifest", row.name, detail, affected_by(database, row.id))


def missing(database: Database, row: PayloadRow) -> Problem:
    """Return the problem of a payload without its file."""
    detail = "the file is missing: restore it from a backup"
    return Problem("missing", row.name, detail, affected_by(database, row.id))


def _unreadable(database: Database, row: PayloadRow, error: Exception) -> Problem:
    kind = "damaged" if _is_damage(error) else "unreadable"
    return Problem(kind, row.name, f"it cannot be read: {error}", affected_by(database, row.id))


def _is_damage(error: Exception) -> bool:
    return not isinstance(error, OSError) or is_damage(error)


def affected_by(database: Database, payload_id: int) -> tuple[str, ...]:
    """Return the ids of the checkpoints that need anything of a payload."""
    return _ids(database, affected.checkpoints_of_payload(payload_id))


def _ids(database: Database, query: Select[Any]) -> tuple[str, ...]:
    with database.read() as connection:
        return tuple(row.checkpoint_id for row in connection.execute(query))
