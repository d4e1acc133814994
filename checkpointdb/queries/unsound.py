"""Checkpoints that need something of a payload that is out of service."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, select, union, union_all
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from checkpointdb.queries.listed import listed
from checkpointdb.queries.states import covers
from checkpointdb.schema import (
    checkpoints,
    chunks,
    entries,
    members,
    payloads,
    state_values,
    value_chunks,
)


class _Unsearched(FunctionElement[int]):
    """A column by which SQLite shall neither search an index nor sort."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Unsearched)
def _as_it_is(column: _Unsearched, compiler: Any, **options: Any) -> str:
    return str(compiler.process(column.clauses, **options))


@compiles(_Unsearched, "sqlite")
def _in_sqlite(column: _Unsearched, compiler: Any, **options: Any) -> str:
    return f"+{compiler.process(column.clauses, **options)}"


def is_marked_in(pipeline_id: ColumnElement[int] | int) -> ColumnElement[bool]:
    """Say that a payload of a pipeline is out of service, to be found by an index of these alone.

    Where nothing is known of its tables SQLite thinks no better of that than of the index of all
    payloads of the pipeline, and takes the latter: a million rows to find none. If it may search
    neither, it walks the smaller. PostgreSQL, which knows them, is left to choose.
    """
    return and_(
        _Unsearched(payloads.c.pipeline_id) == pipeline_id, payloads.c.damaged_at.is_not(None)
    )


def marked_in(pipeline_id: int) -> Select[Any]:
    """Return the payloads of a pipeline that are out of service."""
    return (
        select(payloads.c.id)
        .where(is_marked_in(pipeline_id))
        .order_by(_Unsearched(payloads.c.id))  # else it walks the table, which is in that order
    )


def checkpoints_that_need(payload_ids: Collection[int]) -> Select[Any]:
    """Return the rows of the checkpoints saved with payloads, or with values stored there."""
    wanted = listed(payload_ids)
    stored_in = members.c.payload_id.in_(select(wanted.c.id))
    placed = select(state_values.c.id).join(members, members.c.id == state_values.c.member_id)
    spread = (
        select(value_chunks.c.value_id)
        .join(chunks, chunks.c.id == value_chunks.c.chunk_id)
        .join(members, members.c.id == chunks.c.member_id)
    )
    values = union_all(placed.where(stored_in), spread.where(stored_in)).subquery()
    by_payload = select(checkpoints.c.id).where(checkpoints.c.payload_id.in_(select(wanted.c.id)))
    in_state = and_(entries.c.chain_id == checkpoints.c.chain_id, covers(checkpoints.c.depth))
    by_value = (
        select(checkpoints.c.id)
        .select_from(entries)
        .join(checkpoints, in_state)
        .where(entries.c.value_id.in_(select(values.c.id)))
    )
    found = union(by_payload, by_value).subquery()
    return select(found.c.id).order_by(found.c.id)
