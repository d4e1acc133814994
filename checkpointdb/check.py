"""Checking a store: rows against rows, rows against files, files against rows.

Whatever the other operations promise is asked here, so that tests end by calling it. It mends
nothing, and holds beside running writers: rows are compared within one transaction, and a
suspicion about a file is looked at again before it is reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, func, select

from checkpointdb import format, invariants, queries
from checkpointdb.batches import BATCH
from checkpointdb.callbacks import Progress
from checkpointdb.custom_metadata import flatten
from checkpointdb.database import Database
from checkpointdb.database_errors import confirm_damage
from checkpointdb.digests import Digests
from checkpointdb.errors import CorruptionError, StoreUnavailableError
from checkpointdb.inventory import (
    PayloadRow,
    missing_files,
    named_files,
    newer_than_rows,
    orphans,
    payload_rows,
    still_named,
    under_lock,
)
from checkpointdb.payloads import PayloadFile, PayloadStore
from checkpointdb.reports import CheckReport, Problem
from checkpointdb.schema import checkpoints
from checkpointdb.sealing import PLAIN, Cipher
from checkpointdb.statements import Prepared
from checkpointdb.verifying import Scope, Verified, affected_by, missing, verify_payloads


def check(
    database: Database,
    payloads: PayloadStore,
    *,
    cipher: Cipher | None = PLAIN,
    read_data: Scope | None = None,
    grace: timedelta = timedelta(0),
    progress: Progress | None = None,
) -> CheckReport:
    """Look for everything that should not be, and name the checkpoints that it affects.

    With `read_data` payloads are read and compared with their hashes and their manifests; when
    that was is noted, and those that are damaged are marked, so that no save and no retention
    relies on them. Else files are only looked for, and nothing is changed. Files in
    `incoming/` younger than `grace` are taken for saves under way. `cipher` None: a sealed store
    without its key, whose manifests and keyed digests cannot be compared. Nothing is raised that
    can be reported.
    """
    unfinished = _unfinished(payloads, grace)
    try:
        with database.read() as connection:
            rows = payload_rows(connection)
            count = connection.scalar(select(func.count()).select_from(checkpoints)) or 0
            problems = list(_check_rows(database, connection, cipher.digests if cipher else None))
    except CorruptionError as error:  # SQLite cannot even read it
        return CheckReport(0, 0, 0, (Problem("database", database.where, str(error)),))
    problems += _check_files(database, payloads, rows)
    problems += _left_over(payloads, unfinished)
    read = Verified(0, 0, [])
    if read_data is not None:
        read = verify_payloads(database, payloads, cipher, read_data, progress)
    told = set(problems)  # missing ones are found in both ways
    problems += [each for each in read.problems if each not in told]
    problems += _check_marks(database, {each.subject for each in problems})
    return CheckReport(count, len(rows), read.stored_bytes, tuple(problems), read.payloads)


def check_rows(database: Database, cipher: Cipher | None = PLAIN) -> CheckReport:
    """Look for everything that should not be in the rows alone, and at SQLite's own structure."""
    try:
        with database.read() as connection:
            count = connection.scalar(select(func.count()).select_from(checkpoints)) or 0
            problems = tuple(_check_rows(database, connection, cipher.digests if cipher else None))
    except CorruptionError as error:
        problems = (Problem("database", database.where, str(error)),)
        count = 0
    return CheckReport(count, 0, 0, problems)


# --- rows against rows


def _check_rows(
    database: Database, connection: Connection, digests: Digests | None
) -> Iterator[Problem]:
    if database.path is not None:
        yield from _check_sqlite(connection, database.path)
    for invariant in invariants.INVARIANTS:
        columns = invariant.violations.selected_columns.keys()
        for row in _prepared(invariant.violations).run(connection, {}):
            yield Problem(invariant.kind, _subject(columns, row), invariant.detail)
    yield from _check_states(connection, digests)
    yield from _check_metadata(connection)
    yield from _check_sequences(connection)


@cache
def _prepared(violations: Select[Any]) -> Prepared:
    """Compiled once, not by each handle: that takes longer than to check a small store."""
    return Prepared(violations)


def _subject(columns: Sequence[str], row: tuple[Any, ...]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in zip(columns, row, strict=True))


def _check_sqlite(connection: Connection, path: Path) -> Iterator[Problem]:
    answers = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    if answers != ["ok"]:
        confirm_damage(path)
        yield from (Problem("database", "integrity_check", each) for each in answers)
    for table, row, referred, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield Problem("database", f"{table} row {row}", f"it refers to a missing row of {referred}")


def _check_states(connection: Connection, digests: Digests | None) -> Iterator[Problem]:
    for chain_id, chain, pipeline in connection.execute(queries.all_chains()).all():
        told = connection.execute(queries.checkpoints_of_chain(chain_id)).all()
        entries = connection.execute(queries.entries_of_chain(chain_id)).all()
        for each, state in zip(told, _states(entries, [row.depth for row in told]), strict=True):
            pairs = ((entry.key, entry.digest) for entry in state)
            found = (
                len(state),
                sum(entry.raw_bytes for entry in state),
                digests.state(pipeline, each.checkpoint_id, pairs, each.state_version)
                if digests
                else each.state_digest,
            )
            if found != (each.key_count, each.state_bytes, each.state_digest):
                yield Problem(
                    "state",
                    f"checkpoint {each.checkpoint_id!r}",
                    f"its entries (chain {chain}, depth {each.depth}) are {len(state)} keys with "
                    f"{found[1]} bytes, and not the state that was saved",
                    (each.checkpoint_id,),
                )


def _states(entries: Iterable[Any], depths: Iterable[int]) -> Iterator[list[Any]]:
    """Yield the entries that cover each depth, in the order of keys; depths must grow."""
    opening = sorted(entries, key=lambda entry: -entry.from_depth)
    closing = sorted(
        (entry for entry in opening if entry.to_depth is not None),
        key=lambda entry: -entry.to_depth,
    )
    alive: dict[tuple[str, int], Any] = {}
    for depth in depths:
        while opening and opening[-1].from_depth <= depth:
            entry = opening.pop()
            alive[entry.key, entry.from_depth] = entry
        while closing and closing[-1].to_depth <= depth:
            entry = closing.pop()
            alive.pop((entry.key, entry.from_depth), None)
        yield sorted(alive.values(), key=lambda entry: (entry.position, entry.key))


def _check_metadata(connection: Connection) -> Iterator[Problem]:
    after = 0
    while told := connection.execute(queries.metadata_of_checkpoints(after, BATCH)).all():
        after = told[-1].id
        found: dict[int, set[Any]] = {row.id: set() for row in told}
        for row in connection.execute(queries.metadata_rows(list(found))):
            found[row.checkpoint_id].add((row.key, row.number, row.text))
        for row in told:
            if found[row.id] != set(flatten(row.custom_metadata)):
                yield Problem(
                    "metadata",
                    f"checkpoint {row.checkpoint_id!r}",
                    "the rows of its metadata are not its metadata: filters will not find it",
                    (row.checkpoint_id,),
                )


def _check_sequences(connection: Connection) -> Iterator[Problem]:
    for name, next_sequence in connection.execute(queries.payload_sequences()):
        try:
            if format.sequence_of(name) < next_sequence:
                continue
            detail = f"its pipeline would use the sequence again: {next_sequence} is next"
        except CorruptionError as error:
            detail = str(error)
        yield Problem("sequence", name, detail)


# --- rows against files, files against rows


def _check_files(
    database: Database, payloads: PayloadStore, rows: list[PayloadRow]
) -> Iterator[Problem]:
    for row in missing_files(database, payloads, rows):
        yield missing(database, row)
    told = {row.name: row for row in rows}
    strangers = []
    for file in payloads.files():
        if file.name not in told:
            strangers.append(file)
            continue
        row = told[file.name]
        if row.stored_bytes != file.stored_bytes and still_named(database, row):
            detail = f"the file has {file.stored_bytes} bytes, it was saved with {row.stored_bytes}"
            yield Problem("length", row.name, detail, affected_by(database, row.id))
    yield from _check_strangers(database, payloads, strangers)


def _check_marks(database: Database, told: Collection[str]) -> Iterator[Problem]:
    """Report what was found damaged before, and not again by this pass."""
    with database.read() as connection:
        marked = connection.execute(queries.marked_payloads()).all()
    for row in marked:
        if row.name not in told:
            detail = (
                f"it was found damaged on {row.damaged_at:%Y-%m-%d at %H:%M} UTC, and is out of "
                "service: repair reads it, and puts it back if it is whole again"
            )
            yield Problem("damaged", row.name, detail, affected_by(database, row.id))


def _check_strangers(
    database: Database, payloads: PayloadStore, files: list[PayloadFile]
) -> Iterator[Problem]:
    with database.read() as connection:
        known = named_files(connection, [file.name for file in files])
    suspects = [file for file in files if file.name not in known]
    if not suspects:
        return
    killed = "a save was killed before its commit; sweep removes it"
    try:
        with under_lock(database) as connection:
            found, newer = _strangers(connection, payloads, suspects)
    except StoreUnavailableError:  # a user who may only read cannot keep writers out meanwhile
        killed = f"it may be saved just now, or {killed}"
        with database.read() as connection:
            found, newer = _strangers(connection, payloads, suspects)
    for file in found:
        why = killed
        if file.name in newer:
            why = "it is newer than the rows: if these were put back, rebuild the database"
        elif not format.is_payload_name(file.name):
            why = "no save made it; move it to where it belongs"
        yield Problem("orphan", file.name, f"no row names the file: {why}")


def _strangers(
    connection: Connection, payloads: PayloadStore, suspects: list[PayloadFile]
) -> tuple[list[PayloadFile], set[str]]:
    """Return those without a row, and the names of those of them that are newer than the rows."""
    found = orphans(connection, payloads, suspects)
    return found, newer_than_rows(connection, [file.name for file in found])


def _unfinished(payloads: PayloadStore, grace: timedelta) -> dict[str, int]:
    latest = datetime.now(UTC) - grace
    return {
        file.name: file.stored_bytes for file in payloads.unfinished() if file.modified_at <= latest
    }


def _left_over(payloads: PayloadStore, before: dict[str, int]) -> Iterator[Problem]:
    """Report what lay in `incoming/` when the check began and has not changed since."""
    for file in payloads.unfinished():
        if before.get(file.name) == file.stored_bytes:
            yield Problem(
                "unfinished",
                file.name,
                "a save is writing the file, or was killed while it did; sweep removes it",
            )
