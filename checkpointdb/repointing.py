"""Rows that get another place: what is alive in payloads, once it was copied into a new one.

Effects on a connection that the caller holds in a write transaction; no file is touched. Chunks,
values, entries and checkpoints keep their ids; members do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, bindparam, update

from checkpointdb.schema import checkpoints, chunks, entries, state_values
from checkpointdb.statements import Prepared

Places = Mapping[int, tuple[int, int]]  # of a row: its new member, and the offset in that one


class Moved(NamedTuple):
    """The payload that rows are moved to, and where in it chunks and values lie."""

    payload_id: int
    stored_bytes: int
    chunks: Places
    values: Places


def repoint(connection: Connection, old: Sequence[int], moved: Moved) -> None:
    """Let all that payloads hold, define, opened or were saved with name another one."""
    _move_each(connection, _MOVE_CHUNK, moved.chunks)
    _move_each(connection, _MOVE_VALUE, moved.values)
    for table, also in (
        (state_values, {}),
        (entries, {}),
        (checkpoints, {"stored_bytes": moved.stored_bytes}),
    ):
        connection.execute(
            update(table)
            .where(table.c.payload_id.in_(old))
            .values(payload_id=moved.payload_id, **also)
        )


def _move_each(connection: Connection, statement: Prepared, places: Places) -> None:
    rows: list[dict[str, Any]] = [
        {"row": row_id, "member": member_id, "at": offset}
        for row_id, (member_id, offset) in places.items()
    ]
    statement.run_each(connection, rows)


def _move(table: Table) -> Prepared:
    return Prepared(
        update(table)
        .where(table.c.id == bindparam("row"))
        .values(member_id=bindparam("member"), offset=bindparam("at"))
    )


_MOVE_CHUNK = _move(chunks)
_MOVE_VALUE = _move(state_values)
