"""What is alive in payloads, and how much of each that is.

What is dead has no rows: forgetting deletes them. So whatever has a row is alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, func, select, union_all

from checkpointdb.queries.states import covers
from checkpointdb.schema import (
    chains,
    checkpoints,
    chunks,
    entries,
    members,
    payloads,
    pipelines,
    state_values,
    value_chunks,
)


def mostly_dead(min_dead: float) -> Select[Any]:
    """Return the payloads of which at least that share is dead, by pipeline and age."""
    of_chunks = select(chunks.c.member_id, chunks.c.raw_bytes)
    of_values = select(state_values.c.member_id, state_values.c.raw_bytes)
    place = union_all(of_chunks, of_values.where(state_values.c.member_id.is_not(None))).subquery()
    alive = (
        select(members.c.payload_id, func.sum(place.c.raw_bytes).label("raw_bytes"))
        .join(place, place.c.member_id == members.c.id)
        .group_by(members.c.payload_id)
        .subquery()
    )
    alive_bytes = func.coalesce(alive.c.raw_bytes, 0)
    return (
        select(
            payloads.c.id,
            payloads.c.pipeline_id,
            payloads.c.name,
            payloads.c.stored_bytes,
            payloads.c.raw_bytes,
            alive_bytes.label("alive_bytes"),
            payloads.c.damaged_at.is_not(None).label("is_damaged"),
        )
        .outerjoin(alive, alive.c.payload_id == payloads.c.id)
        .where(payloads.c.raw_bytes > 0)
        .where(alive_bytes <= (1 - min_dead) * payloads.c.raw_bytes)
        .order_by(payloads.c.pipeline_id, payloads.c.id)
    )


def payloads_by_id(payload_ids: Sequence[int]) -> Select[Any]:
    """Return those of the payloads that there still are, undamaged, the oldest first."""
    return (
        select(
            payloads.c.id,
            payloads.c.pipeline_id,
            payloads.c.name,
            payloads.c.stored_bytes,
            payloads.c.created_at,
        )
        .where(payloads.c.id.in_(payload_ids))
        .where(payloads.c.damaged_at.is_(None))
        .order_by(payloads.c.id)
    )


def chunks_stored(payload_ids: Sequence[int]) -> Select[Any]:
    """Return the chunks that lie in payloads."""
    return (
        select(
            chunks.c.id,
            chunks.c.digest,
            chunks.c.member_id,
            chunks.c.offset,
            chunks.c.raw_bytes,
        )
        .join(members, members.c.id == chunks.c.member_id)
        .where(members.c.payload_id.in_(payload_ids))
        .order_by(chunks.c.id)
    )


def _values() -> Select[Any]:
    return select(
        state_values.c.id,
        state_values.c.digest,
        state_values.c.type_name,
        state_values.c.serializer,
        state_values.c.layout,
        state_values.c.raw_bytes,
        state_values.c.member_id,
        state_values.c.offset,
    )


def values_defined(payload_ids: Sequence[int]) -> Select[Any]:
    """Return the values that payloads define; those that carry their place lie there too."""
    return (
        _values()
        .where(state_values.c.payload_id.in_(payload_ids))
        .order_by(state_values.c.payload_id, state_values.c.id)
    )


def chunks_of_defined(value_ids: Sequence[int]) -> Select[Any]:
    """Return the chunks of values, with digest and place, by value and place in it."""
    return (
        select(
            value_chunks.c.value_id,
            chunks.c.id,
            chunks.c.digest,
            chunks.c.member_id,
            chunks.c.offset,
            chunks.c.raw_bytes,
        )
        .join(chunks, chunks.c.id == value_chunks.c.chunk_id)
        .where(value_chunks.c.value_id.in_(value_ids))
        .order_by(value_chunks.c.value_id, value_chunks.c.seq)
    )


def entries_opened(payload_ids: Sequence[int]) -> Select[Any]:
    """Return (payload, chain, depth, key) of the entries that payloads opened."""
    return (
        select(entries.c.payload_id, chains.c.uuid, entries.c.from_depth, entries.c.key)
        .join(chains, chains.c.id == entries.c.chain_id)
        .where(entries.c.payload_id.in_(payload_ids))
        .order_by(entries.c.payload_id, entries.c.chain_id, entries.c.key, entries.c.from_depth)
    )


def checkpoints_saved(payload_ids: Sequence[int]) -> Select[Any]:
    """Return (payload, chain, depth) of the checkpoints that were saved with payloads."""
    return (
        select(checkpoints.c.payload_id, chains.c.uuid, checkpoints.c.depth)
        .join(chains, chains.c.id == checkpoints.c.chain_id)
        .where(checkpoints.c.payload_id.in_(payload_ids))
        .order_by(checkpoints.c.id)
    )


@cache
def whole_place() -> Select[Any]:
    """Return all that a full of its own must say of the checkpoint in row :id."""
    return (
        select(
            checkpoints.c.id,
            checkpoints.c.pipeline_id,
            pipelines.c.name.label("pipeline"),
            checkpoints.c.checkpoint_id,
            checkpoints.c.chain_id,
            chains.c.uuid,
            checkpoints.c.depth,
            checkpoints.c.payload_id,
            payloads.c.name.label("payload"),
            payloads.c.stored_bytes,
            payloads.c.damaged_at.is_not(None).label("is_marked"),
            checkpoints.c.is_incremental,
            checkpoints.c.state_digest,
            checkpoints.c.state_version,
            checkpoints.c.created_at,
            checkpoints.c.state_bytes,
            checkpoints.c.key_count,
            checkpoints.c.custom_metadata,
        )
        .join(pipelines, pipelines.c.id == checkpoints.c.pipeline_id)
        .join(chains, chains.c.id == checkpoints.c.chain_id)
        .join(payloads, payloads.c.id == checkpoints.c.payload_id)
        .where(checkpoints.c.id == bindparam("id"))
    )


@cache
def whole_state() -> Select[Any]:
    """Return keys, positions and values at (:chain_id, :depth), in the order of keys."""
    return (
        _values()
        .add_columns(entries.c.key, entries.c.position)
        .join(entries, entries.c.value_id == state_values.c.id)
        .where(entries.c.chain_id == bindparam("chain_id"))
        .where(covers(bindparam("depth")))
        .order_by(entries.c.position, entries.c.key)
    )


@cache
def origin_of() -> Select[Any]:
    """Return row, chain and depth of what the checkpoint at (:chain_id, :depth) was saved upon.

    The nearest earlier one of its chain, else what the chain was forked from.
    """
    mine = chains.alias("mine")
    earlier = (
        select(checkpoints.c.id)
        .where(checkpoints.c.chain_id == bindparam("chain_id"))
        .where(checkpoints.c.depth < bindparam("depth"))
        .order_by(checkpoints.c.depth.desc())
        .limit(1)
        .scalar_subquery()
    )
    forked_from = (
        select(mine.c.forked_from).where(mine.c.id == bindparam("chain_id")).scalar_subquery()
    )
    return (
        select(checkpoints.c.id, chains.c.uuid, checkpoints.c.depth)
        .join(chains, chains.c.id == checkpoints.c.chain_id)
        .where(checkpoints.c.id == func.coalesce(earlier, forked_from))
    )
