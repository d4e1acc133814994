"""What a save compares with, and must know under its lock."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Exists,
    ScalarSelect,
    Select,
    bindparam,
    exists,
    func,
    select,
)

from checkpointdb.batches import among
from checkpointdb.queries.leases import open_leases
from checkpointdb.queries.states import covers
from checkpointdb.queries.unsound import is_marked_in
from checkpointdb.schema import (
    chains,
    checkpoints,
    chunks,
    entries,
    keyring,
    members,
    payloads,
    pipelines,
    state_values,
    value_chunks,
)


@cache
def place_of_save() -> Select[Any]:
    """Return what a save must know of :pipeline_id under its lock, in one row.

    The pipeline's name; what tells which payloads are damaged; the row that :checkpoint_id has
    now, and whether it is pinned; and of the base :base_id, when it was saved, its chain and that
    one's next depth (NULL if the base is gone); the generation of the keyring, NULL in a store in
    the clear; and whether a lease is open at :now.
    """

    def of_replaced(column: Column[Any]) -> ScalarSelect[Any]:
        return (
            select(column)
            .where(checkpoints.c.pipeline_id == bindparam("pipeline_id"))
            .where(checkpoints.c.checkpoint_id == bindparam("checkpoint_id"))
            .scalar_subquery()
        )

    next_depth = (
        select(chains.c.next_depth)
        .join(checkpoints, checkpoints.c.chain_id == chains.c.id)
        .where(checkpoints.c.id == bindparam("base_id"))
        .scalar_subquery()
    )
    base_id: BindParameter[int] = bindparam("base_id")

    def of_base(column: Column[Any]) -> ScalarSelect[Any]:
        return select(column).where(checkpoints.c.id == base_id).scalar_subquery()

    name = select(pipelines.c.name).where(pipelines.c.id == bindparam("pipeline_id"))
    return select(
        name.scalar_subquery().label("pipeline"),
        damaged_payloads().label("damaged"),
        of_replaced(checkpoints.c.id).label("replaced_id"),
        of_replaced(checkpoints.c.pinned).label("was_pinned"),
        next_depth.label("next_depth"),
        base_id.label("base_id"),
        of_base(checkpoints.c.created_at).label("base_created_at"),
        keyring_generation().scalar_subquery().label("keyring"),
        of_base(checkpoints.c.chain_id).label("base_chain"),
        open_leases().exists().label("is_leased"),
    )


def keyring_generation() -> Select[Any]:
    """Return the generation of the keyring; no row in a store in the clear."""
    return select(keyring.c.generation).where(keyring.c.id == 1)


def damaged_payloads() -> ColumnElement[int]:
    """Return a number that changes when other payloads of :pipeline_id are damaged.

    Not their count: one may be forgotten while another is marked.
    """
    return (
        select(func.coalesce(func.sum(payloads.c.id * payloads.c.id), 0))
        .select_from(payloads)
        .where(is_marked_in(bindparam("pipeline_id")))
        .scalar_subquery()
    )


def _is_damaged(payload_id: ColumnElement[Any]) -> Exists:
    return exists(
        select(payloads.c.id)
        .where(payloads.c.id == payload_id)
        .where(payloads.c.damaged_at.is_not(None))
        .correlate_except(payloads)
    )


def values_by_digest(size: int) -> Select[Any]:
    """Return the undamaged values of :pipeline_id with digests; the newest of each comes last."""
    return (
        select(
            state_values.c.id,
            state_values.c.digest,
            state_values.c.member_id,
            members.c.raw_bytes.label("member_bytes"),
        )
        .outerjoin(members, members.c.id == state_values.c.member_id)
        .where(state_values.c.pipeline_id == bindparam("pipeline_id"))
        .where(among(state_values.c.digest, size))
        .where(~_is_damaged(state_values.c.payload_id))
        .where(~_is_damaged(members.c.payload_id))
        .order_by(state_values.c.id)
    )


def chunks_by_digest(size: int) -> Select[Any]:
    """Return the undamaged chunks of :pipeline_id with digests; the newest of each comes last."""
    return (
        select(
            chunks.c.id,
            chunks.c.digest,
            chunks.c.member_id,
            members.c.raw_bytes.label("member_bytes"),
        )
        .join(members, members.c.id == chunks.c.member_id)
        .where(chunks.c.pipeline_id == bindparam("pipeline_id"))
        .where(among(chunks.c.digest, size))
        .where(~_is_damaged(members.c.payload_id))
        .order_by(chunks.c.id)
    )


def members_of_values(size: int) -> Select[Any]:
    """Return the members that hold values of several chunks, and whether they are damaged."""
    return (
        select(
            value_chunks.c.value_id,
            members.c.id,
            members.c.raw_bytes,
            _is_damaged(members.c.payload_id).label("is_damaged"),
        )
        .distinct()
        .join(chunks, chunks.c.id == value_chunks.c.chunk_id)
        .join(members, members.c.id == chunks.c.member_id)
        .where(among(value_chunks.c.value_id, size))
        .order_by(value_chunks.c.value_id, members.c.id)
    )


@cache
def head_values() -> Select[Any]:
    """Return what a save compares with: the state at (:chain_id, :depth).

    As `state_at`, but with what tells whether a value may be relied on.
    """
    return (
        select(
            entries.c.key,
            entries.c.position,
            state_values.c.id.label("value_id"),
            state_values.c.digest,
            state_values.c.member_id,
            members.c.raw_bytes.label("member_bytes"),
            (_is_damaged(state_values.c.payload_id) | _is_damaged(members.c.payload_id)).label(
                "is_damaged"
            ),
        )
        .join(state_values, state_values.c.id == entries.c.value_id)
        .outerjoin(members, members.c.id == state_values.c.member_id)
        .where(entries.c.chain_id == bindparam("chain_id"))
        .where(covers(bindparam("depth")))
        .order_by(entries.c.position, entries.c.key)
    )
