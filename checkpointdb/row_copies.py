"""All rows of a store in another database: from a server into a SQLite file, and back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, literal, select, update

from checkpointdb.schema import chains, metadata

_MANY = 2_000  # rows that are held in memory, and sent at once


def copy_rows(
    source: Connection,
    target: Connection,
    *,
    leaving_out: Collection[Table] = (),
    step: Callable[[], object] = lambda: None,
) -> None:
    """Copy every row into a database of the same schema that has none yet; ids are kept.

    Both within transactions of the caller: what is read must be one state of the store. `step` is
    called now and then.
    """
    forks: list[dict[str, int]] = []
    for table in metadata.sorted_tables:
        if table in leaving_out:
            continue
        for rows in _read(source, table):
            target.execute(insert(table), _without_forks(rows, forks) if table is chains else rows)
            step()
    _refer(target, forks)
    if target.dialect.name == "postgresql":
        _go_on_counting(target)


def filled_table(connection: Connection, leaving_out: Collection[Table] = ()) -> str | None:
    """Return the name of a table that has a row, None if none has."""
    for table in metadata.sorted_tables:
        one = select(literal(1)).select_from(table).limit(1)
        if table not in leaving_out and connection.execute(one).first() is not None:
            return table.name
    return None


def delete_rows(connection: Connection) -> None:
    """Delete every row."""
    connection.execute(update(chains).values(forked_from=None))
    for table in reversed(metadata.sorted_tables):
        connection.execute(delete(table))


def _read(source: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a table, many at a time; never all, as they may be more than fit."""
    query = select(table).order_by(*table.primary_key)
    found = source.execute(query, execution_options={"stream_results": True, "yield_per": _MANY})
    for rows in found.mappings().partitions():
        yield [dict(row) for row in rows]


def _without_forks(
    rows: list[dict[str, Any]], forks: list[dict[str, int]]
) -> Sequence[dict[str, Any]]:
    """Return chains that refer to no checkpoint: checkpoints, which refer to them, come later."""
    forks += [
        {"chain": row["id"], "checkpoint": row["forked_from"]}
        for row in rows
        if row["forked_from"] is not None
    ]
    return [{**row, "forked_from": None} for row in rows]


def _refer(target: Connection, forks: list[dict[str, int]]) -> None:
    if forks:
        query = update(chains).where(chains.c.id == bindparam("chain"))
        target.execute(query.values(forked_from=bindparam("checkpoint")), forks)


def _go_on_counting(target: Connection) -> None:
    """Let a server give numbers after those that it was told, as SQLite does by itself."""
    for table in metadata.sorted_tables:
        if table.autoincrement_column is not None:
            last = select(func.coalesce(func.max(table.c.id), 0) + 1).scalar_subquery()
            target.execute(
                select(func.setval(func.pg_get_serial_sequence(table.name, "id"), last, False))
            )
