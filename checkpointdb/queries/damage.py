"""What lies in members that cannot be read any more, and where the same bytes lie too."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    CTE,
    CompoundSelect,
    Select,
    and_,
    literal,
    null,
    or_,
    select,
    union_all,
)

from checkpointdb.queries.listed import listed
from checkpointdb.queries.states import covers
from checkpointdb.schema import (
    checkpoints,
    chunks,
    entries,
    members,
    payloads,
    pipelines,
    state_values,
    value_chunks,
)


def marked_payloads() -> Select[Any]:
    """Return the payloads that are out of service, and since when."""
    return (
        select(payloads.c.id, payloads.c.name, payloads.c.damaged_at)
        .where(payloads.c.damaged_at.is_not(None))
        .order_by(payloads.c.id)
    )


def pieces_in(member_ids: Collection[int]) -> CompoundSelect[Any]:
    """Return (value, kind, row) of what lies in members: chunks, and values with a place."""
    lost = listed(member_ids)
    spread = (
        select(value_chunks.c.value_id, literal("chunk").label("kind"), chunks.c.id.label("id"))
        .join(chunks, chunks.c.id == value_chunks.c.chunk_id)
        .where(chunks.c.member_id.in_(select(lost.c.id)))
    )
    placed = select(
        state_values.c.id.label("value_id"),
        literal("value").label("kind"),
        state_values.c.id.label("id"),
    ).where(state_values.c.member_id.in_(select(lost.c.id)))
    return union_all(spread, placed).order_by("value_id", "id")


def copies_of(member_ids: Collection[int]) -> CompoundSelect[Any]:
    """Return the same pieces elsewhere, by (kind, `lost_id`): best those not out of service."""
    lost = listed(member_ids)
    return union_all(_chunk_copies(lost), _value_copies(lost)).order_by(
        "kind", "lost_id", "is_marked", "id"
    )


def _chunk_copies(lost_members: CTE) -> Select[Any]:
    lost = chunks.alias("lost")
    same = and_(
        chunks.c.pipeline_id == lost.c.pipeline_id,
        chunks.c.digest == lost.c.digest,
        chunks.c.raw_bytes == lost.c.raw_bytes,
    )
    return (
        select(
            literal("chunk").label("kind"),
            lost.c.id.label("lost_id"),
            chunks.c.id.label("id"),
            chunks.c.digest,
            null().label("serializer"),
            null().label("layout"),
            chunks.c.member_id,
            chunks.c.offset,
            chunks.c.raw_bytes,
            payloads.c.damaged_at.is_not(None).label("is_marked"),
        )
        .select_from(lost)
        .join(chunks, same)
        .join(members, members.c.id == chunks.c.member_id)
        .join(payloads, payloads.c.id == members.c.payload_id)
        .where(lost.c.member_id.in_(select(lost_members.c.id)))
        .where(chunks.c.member_id.not_in(select(lost_members.c.id)))
    )


def _value_copies(lost_members: CTE) -> Select[Any]:
    lost = state_values.alias("lost")
    same = and_(
        state_values.c.pipeline_id == lost.c.pipeline_id,
        state_values.c.digest == lost.c.digest,
        state_values.c.raw_bytes == lost.c.raw_bytes,
    )
    return (
        select(
            literal("value").label("kind"),
            lost.c.id.label("lost_id"),
            state_values.c.id.label("id"),
            state_values.c.digest,
            state_values.c.serializer,
            state_values.c.layout,
            state_values.c.member_id,
            state_values.c.offset,
            state_values.c.raw_bytes,
            payloads.c.damaged_at.is_not(None).label("is_marked"),
        )
        .select_from(lost)
        .join(state_values, same)
        .join(members, members.c.id == state_values.c.member_id)
        .join(payloads, payloads.c.id == members.c.payload_id)
        .where(lost.c.member_id.in_(select(lost_members.c.id)))
        .where(state_values.c.member_id.not_in(select(lost_members.c.id)))
    )


def keys_with(value_ids: Collection[int]) -> Select[Any]:
    """Return the keys that have one of the values, of each checkpoint that has such a key."""
    wanted = listed(value_ids)
    in_state = and_(entries.c.chain_id == checkpoints.c.chain_id, covers(checkpoints.c.depth))
    return (
        select(
            pipelines.c.name.label("pipeline"),
            checkpoints.c.id,
            checkpoints.c.checkpoint_id,
            checkpoints.c.pinned,
            entries.c.key,
        )
        .select_from(entries)
        .join(checkpoints, in_state)
        .join(pipelines, pipelines.c.id == checkpoints.c.pipeline_id)
        .where(entries.c.value_id.in_(select(wanted.c.id)))
        .order_by(checkpoints.c.id, entries.c.position, entries.c.key)
    )


def described_by(payload_ids: Collection[int], member_ids: Collection[int]) -> Select[Any]:
    """Return the checkpoints that a rebuild needs the manifests of payloads for.

    `member_ids` are members of these: what lies elsewhere, other manifests tell of.
    """
    wanted = listed(payload_ids)
    its_own = select(wanted.c.id)
    stored = pieces_in(member_ids).subquery()
    defined = select(state_values.c.id).where(state_values.c.payload_id.in_(its_own))
    in_state = and_(entries.c.chain_id == checkpoints.c.chain_id, covers(checkpoints.c.depth))
    return (
        select(pipelines.c.name.label("pipeline"), checkpoints.c.id, checkpoints.c.checkpoint_id)
        .distinct()
        .join(pipelines, pipelines.c.id == checkpoints.c.pipeline_id)
        .outerjoin(entries, in_state)
        .where(
            or_(
                checkpoints.c.payload_id.in_(its_own),
                entries.c.payload_id.in_(its_own),
                entries.c.value_id.in_(defined),
                entries.c.value_id.in_(select(stored.c.value_id)),
            )
        )
        .order_by(checkpoints.c.id)
    )
