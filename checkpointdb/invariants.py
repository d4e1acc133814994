"""What must hold of the rows, as questions that a sound store answers with nothing.

A new rule is a new row of `INVARIANTS`. The columns of its Select say where it is broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)

from checkpointdb.format import FOOTER_BYTES
from checkpointdb.queries import covers
from checkpointdb.schema import (
    chains,
    checkpoints,
    chunks,
    entries,
    members,
    payloads,
    removals,
    state_values,
    value_chunks,
)

_MOST = 100  # a store that breaks a rule a million times is told so a hundred times


@dataclass(frozen=True, slots=True)
class Invariant:
    """A rule: the kind and text of the problem, and the query for what breaks it."""

    kind: str
    detail: str
    violations: Select[Any]


# --- entries and chains


def dead_entries() -> Select[Any]:
    """Return the entries that cover no checkpoint of their chain."""
    covered = exists(
        select(checkpoints.c.id)
        .where(checkpoints.c.chain_id == entries.c.chain_id)
        .where(covers(checkpoints.c.depth))
        .correlate(entries)
    )
    return (
        select(chains.c.uuid.label("chain"), entries.c.key, entries.c.from_depth)
        .join(chains, chains.c.id == entries.c.chain_id)
        .where(~covered)
        .order_by(entries.c.chain_id, entries.c.key, entries.c.from_depth)
        .limit(_MOST)
    )


def overlapping_entries() -> Select[Any]:
    """Return the entries that end before they begin or after the key's next one begins."""
    following = (
        func.lead(entries.c.from_depth)
        .over(
            partition_by=(entries.c.chain_id, entries.c.key),
            order_by=entries.c.from_depth,
        )
        .label("following")
    )
    each = select(entries, following).subquery()
    return (
        select(chains.c.uuid.label("chain"), each.c.key, each.c.from_depth, each.c.to_depth)
        .join(chains, chains.c.id == each.c.chain_id)
        .where(
            or_(
                each.c.to_depth <= each.c.from_depth,
                each.c.to_depth > each.c.following,
                and_(each.c.to_depth.is_(None), each.c.following.is_not(None)),
            )
        )
        .order_by(each.c.chain_id, each.c.key, each.c.from_depth)
        .limit(_MOST)
    )


def chains_behind() -> Select[Any]:
    """Return the chains that would use a depth again."""
    deepest = func.max(checkpoints.c.depth).label("deepest")
    return (
        select(chains.c.uuid.label("chain"), chains.c.next_depth, deepest)
        .join(checkpoints, checkpoints.c.chain_id == chains.c.id)
        .group_by(chains.c.id)
        .having(deepest >= chains.c.next_depth)
        .order_by(chains.c.id)
        .limit(_MOST)
    )


def misplaced_fulls() -> Select[Any]:
    """Return the full checkpoints that do not begin a chain, and incrementals counted as full."""
    misplaced = and_(~checkpoints.c.is_incremental, checkpoints.c.depth != 0)
    miscounted = checkpoints.c.is_incremental != (checkpoints.c.since_full > 0)
    return (
        select(checkpoints.c.checkpoint_id, checkpoints.c.depth, checkpoints.c.since_full)
        .where(or_(misplaced, miscounted))
        .order_by(checkpoints.c.id)
        .limit(_MOST)
    )


# --- rows that nothing needs


def unused(table: Table, users: Sequence[Column[Any]], *shown: ColumnElement[Any]) -> Select[Any]:
    """Return the rows of a table that none of the columns `users` refers to."""
    used = (exists().where(user == table.c.id) for user in users)
    return select(*shown).where(~or_(*used)).order_by(table.c.id).limit(_MOST)


# --- where bytes lie


def misplaced_values() -> Select[Any]:
    """Return the values whose own place is incomplete or outside its member."""
    outside = or_(
        state_values.c.offset < 0,
        state_values.c.offset + state_values.c.raw_bytes > members.c.raw_bytes,
    )
    incomplete = state_values.c.member_id.is_(None) != state_values.c.offset.is_(None)
    return (
        select(state_values.c.id.label("value"), state_values.c.member_id, state_values.c.offset)
        .outerjoin(members, members.c.id == state_values.c.member_id)
        .where(or_(incomplete, outside))
        .order_by(state_values.c.id)
        .limit(_MOST)
    )


def incomplete_values() -> Select[Any]:
    """Return the values whose chunks are not numbered from 0 or do not add up to them."""
    count = func.count(value_chunks.c.seq).label("chunks")
    total = func.coalesce(func.sum(chunks.c.raw_bytes), 0).label("chunk_bytes")
    has_place = state_values.c.member_id.is_not(None)
    return (
        select(state_values.c.id.label("value"), state_values.c.raw_bytes, count, total)
        .outerjoin(value_chunks, value_chunks.c.value_id == state_values.c.id)
        .outerjoin(chunks, chunks.c.id == value_chunks.c.chunk_id)
        .group_by(state_values.c.id)
        .having(
            or_(
                and_(has_place, count != 0),
                and_(~has_place, total != state_values.c.raw_bytes),
                func.max(value_chunks.c.seq) != count - 1,
                func.min(value_chunks.c.seq) != 0,
            )
        )
        .order_by(state_values.c.id)
        .limit(_MOST)
    )


def overlapping_places() -> Select[Any]:
    """Return the chunks, and values with a place, that leave their member or meet the next."""
    of_chunks = select(chunks.c.member_id, chunks.c.offset, chunks.c.raw_bytes)
    of_values = select(
        state_values.c.member_id, state_values.c.offset, state_values.c.raw_bytes
    ).where(state_values.c.member_id.is_not(None))
    place = union_all(of_chunks, of_values).subquery()
    following = (
        func.lead(place.c.offset)
        .over(partition_by=place.c.member_id, order_by=(place.c.offset, place.c.raw_bytes))
        .label("following")
    )
    each = select(place, following).subquery()
    end = each.c.offset + each.c.raw_bytes
    return (
        select(each.c.member_id.label("member"), each.c.offset, each.c.raw_bytes)
        .join(members, members.c.id == each.c.member_id)
        .where(or_(each.c.offset < 0, end > members.c.raw_bytes, end > each.c.following))
        .order_by(each.c.member_id, each.c.offset)
        .limit(_MOST)
    )


def overlapping_members() -> Select[Any]:
    """Return the members that leave their payload or meet the next."""
    following = (
        func.lead(members.c.offset)
        .over(partition_by=members.c.payload_id, order_by=(members.c.offset, members.c.id))
        .label("following")
    )
    each = select(members, following).subquery()
    end = each.c.offset + each.c.stored_bytes
    last = payloads.c.stored_bytes - FOOTER_BYTES
    return (
        select(payloads.c.name.label("payload"), each.c.offset, each.c.stored_bytes)
        .join(payloads, payloads.c.id == each.c.payload_id)
        .where(or_(each.c.offset < 0, end > last, end > each.c.following))
        .order_by(each.c.payload_id, each.c.offset)
        .limit(_MOST)
    )


def payloads_to_remove() -> Select[Any]:
    """Return the payloads that are alive and yet noted as removed."""
    return (
        select(payloads.c.name.label("payload"))
        .join(removals, removals.c.name == payloads.c.name)
        .order_by(payloads.c.id)
        .limit(_MOST)
    )


# --- pipelines


def strangers(referring: Table, column: Column[Any], referred: Table) -> Select[Any]:
    """Return the rows that refer to a row of another pipeline."""
    return (
        select(literal(referring.name).label("table"), referring.c.id)
        .join(referred, referred.c.id == column)
        .where(referring.c.pipeline_id != referred.c.pipeline_id)
        .order_by(referring.c.id)
        .limit(_MOST)
    )


def strange_entries() -> Select[Any]:
    """Return the entries whose value or payload is of another pipeline than their chain."""
    return (
        select(chains.c.uuid.label("chain"), entries.c.key, entries.c.from_depth)
        .join(chains, chains.c.id == entries.c.chain_id)
        .join(payloads, payloads.c.id == entries.c.payload_id)
        .outerjoin(state_values, state_values.c.id == entries.c.value_id)
        .where(
            or_(
                payloads.c.pipeline_id != chains.c.pipeline_id,
                state_values.c.pipeline_id != chains.c.pipeline_id,
            )
        )
        .order_by(entries.c.chain_id, entries.c.key, entries.c.from_depth)
        .limit(_MOST)
    )


def strange_chunks() -> Select[Any]:
    """Return the chunks that lie in a payload, or belong to a value, of another pipeline."""
    return (
        select(chunks.c.id.label("chunk"))
        .distinct()
        .join(members, members.c.id == chunks.c.member_id)
        .join(payloads, payloads.c.id == members.c.payload_id)
        .outerjoin(value_chunks, value_chunks.c.chunk_id == chunks.c.id)
        .outerjoin(state_values, state_values.c.id == value_chunks.c.value_id)
        .where(
            or_(
                payloads.c.pipeline_id != chunks.c.pipeline_id,
                state_values.c.pipeline_id != chunks.c.pipeline_id,
            )
        )
        .order_by(chunks.c.id)
        .limit(_MOST)
    )


_OTHER = "it refers to a row of another pipeline"
INVARIANTS = (
    Invariant("dead", "the entry covers no checkpoint of its chain", dead_entries()),
    Invariant("overlap", "the entry overlaps the next one of its key", overlapping_entries()),
    Invariant("depth", "the chain would use a depth again", chains_behind()),
    Invariant("full", "it is full and does not begin a chain, or the reverse", misplaced_fulls()),
    Invariant(
        "dead",
        "no entry has the value",
        unused(state_values, [entries.c.value_id], state_values.c.id.label("value")),
    ),
    Invariant(
        "dead",
        "no value has the chunk",
        unused(chunks, [value_chunks.c.chunk_id], chunks.c.id.label("chunk")),
    ),
    Invariant(
        "dead",
        "no chunk or value lies in the member",
        unused(
            members, [chunks.c.member_id, state_values.c.member_id], members.c.id.label("member")
        ),
    ),
    Invariant(
        "dead",
        "nothing alive was opened or stored in the payload",
        unused(
            payloads,
            [
                checkpoints.c.payload_id,
                entries.c.payload_id,
                state_values.c.payload_id,
                members.c.payload_id,
            ],
            payloads.c.name.label("payload"),
        ),
    ),
    Invariant(
        "dead",
        "the chain has no checkpoint",
        unused(chains, [checkpoints.c.chain_id], chains.c.uuid.label("chain")),
    ),
    Invariant("place", "the value lies outside its member", misplaced_values()),
    Invariant("place", "the chunks of the value are not all of it", incomplete_values()),
    Invariant("place", "it leaves its member or overlaps what follows", overlapping_places()),
    Invariant("place", "the member leaves its payload or overlaps", overlapping_members()),
    Invariant("removal", "the payload is alive and noted as removed", payloads_to_remove()),
    Invariant("pipeline", _OTHER, strangers(checkpoints, checkpoints.c.chain_id, chains)),
    Invariant("pipeline", _OTHER, strangers(checkpoints, checkpoints.c.payload_id, payloads)),
    Invariant("pipeline", _OTHER, strangers(state_values, state_values.c.payload_id, payloads)),
    Invariant("pipeline", _OTHER, strange_entries()),
    Invariant("pipeline", _OTHER, strange_chunks()),
)
