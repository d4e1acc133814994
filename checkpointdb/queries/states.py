"""What a state consists of, and where its bytes lie."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    or_,
    select,
)

from checkpointdb.batches import among
from checkpointdb.queries.listed import listed_in
from checkpointdb.schema import (
    checkpoints,
    chunks,
    entries,
    members,
    payloads,
    state_values,
    value_chunks,
)


def covers(depth: Any) -> ColumnElement[bool]:
    """Say whether an entry's interval holds `depth`."""
    return and_(
        entries.c.from_depth <= depth,
        or_(entries.c.to_depth.is_(None), entries.c.to_depth > depth),
    )


@cache
def state_at(*, some_keys: bool = False) -> Select[Any]:
    """Return keys and values of the state at (:chain_id, :depth), in the order of keys.

    A value of one chunk comes with the place of its bytes, others with NULLs there. Only
    those of :keys if `some_keys`.
    """
    state = _at_depth(
        select(
            entries.c.key,
            state_values.c.digest,
            state_values.c.id.label("value_id"),
            state_values.c.serializer,
            state_values.c.layout,
            state_values.c.raw_bytes,
            state_values.c.member_id,
            state_values.c.offset,
        )
    )
    if some_keys:
        return state.where(entries.c.key.in_(bindparam("keys", expanding=True)))
    return state


@cache
def values_at() -> Select[Any]:
    """Return what each key of the state at (:chain_id, :depth) is, in the order of keys."""
    return _at_depth(
        select(
            entries.c.key,
            state_values.c.digest,
            state_values.c.type_name,
            state_values.c.raw_bytes,
        )
    )


def _at_depth(columns: Select[Any]) -> Select[Any]:
    return (
        columns.join(state_values, state_values.c.id == entries.c.value_id)
        .where(entries.c.chain_id == bindparam("chain_id"))
        .where(covers(bindparam("depth")))
        .order_by(entries.c.position, entries.c.key)
    )


@cache
def state_keys() -> Select[Any]:
    """Return (checkpoint row, key) of those in the `array` :rows, in the order of keys."""
    return (
        select(checkpoints.c.id, entries.c.key)
        .join(entries, entries.c.chain_id == checkpoints.c.chain_id)
        .where(checkpoints.c.id.in_(listed_in("rows")))
        .where(covers(checkpoints.c.depth))
        .where(entries.c.value_id.is_not(None))
        .order_by(checkpoints.c.id, entries.c.position, entries.c.key)
    )


def chunks_of(size: int) -> Select[Any]:
    """Return the places of the chunks of values, by value and place in it."""
    return (
        select(
            value_chunks.c.value_id,
            chunks.c.member_id,
            chunks.c.offset,
            chunks.c.raw_bytes,
        )
        .join(chunks, chunks.c.id == value_chunks.c.chunk_id)
        .where(among(value_chunks.c.value_id, size))
        .order_by(value_chunks.c.value_id, value_chunks.c.seq)
    )


def members_by_id(size: int) -> Select[Any]:
    """Return where members lie, by payload and offset, so that files are read forwards."""
    return _members().where(among(members.c.id, size))


def members_of_payload(payload_id: int) -> Select[Any]:
    """Return the same of all members of a payload that anything alive needs."""
    return _members().where(members.c.payload_id == payload_id)


@cache
def _members() -> Select[Any]:
    return (
        select(
            members.c.id,
            members.c.payload_id,
            members.c.offset,
            members.c.stored_bytes,
            members.c.raw_bytes,
            members.c.sha256,
            payloads.c.name,
            payloads.c.stored_bytes.label("payload_bytes"),
        )
        .join(payloads, payloads.c.id == members.c.payload_id)
        .order_by(members.c.payload_id, members.c.offset, members.c.id)
    )
