"""Which payloads checkpoints need."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, Select, Subquery, func, select, union_all

from checkpointdb.schema import (
    checkpoints,
    chunks,
    entries,
    members,
    payloads,
    state_values,
    value_chunks,
)

_NEVER = 2**63 - 1  # after every depth


def payload_needs(among: CTE) -> Select[Any]:
    """Return each payload that checkpoints of `among` need, and the newest that needs it.

    A checkpoint needs the payload it was saved in, and those in which its entries were opened,
    their values defined, and the chunks of these stored: what keeps a payload alive.
    """
    each = _needs(among)
    return (
        select(each.c.payload_id, func.max(each.c.newest).label("newest"))
        .group_by(each.c.payload_id)
        .order_by(each.c.payload_id)
    )


def _needs(among: CTE) -> Subquery:
    """Return the payloads that checkpoints of `among` need, each once for each reason."""
    current = _covering(among)
    values = (
        select(current.c.value_id, func.max(current.c.newest).label("newest"))
        .where(current.c.newest.is_not(None))
        .group_by(current.c.value_id)
        .cte()
    )
    own = select(checkpoints.c.payload_id, checkpoints.c.id.label("newest")).join(
        among, among.c.id == checkpoints.c.id
    )
    opened = select(current.c.payload_id, current.c.newest).where(current.c.newest.is_not(None))
    defined = select(state_values.c.payload_id, values.c.newest).join(
        values, values.c.value_id == state_values.c.id
    )
    return union_all(own, opened, defined, *_stored(values)).subquery()


def _stored(values: CTE) -> tuple[Select[Any], Select[Any]]:
    """Return where the bytes of values lie: of those that know it themselves, and of others."""
    placed = (
        select(members.c.payload_id, values.c.newest)
        .join(state_values, state_values.c.member_id == members.c.id)
        .join(values, values.c.value_id == state_values.c.id)
    )
    spread = (
        select(members.c.payload_id, values.c.newest)
        .join(chunks, chunks.c.member_id == members.c.id)
        .join(value_chunks, value_chunks.c.chunk_id == chunks.c.id)
        .join(values, values.c.value_id == value_chunks.c.value_id)
    )
    return placed, spread


def _covering(among: CTE) -> CTE:
    """Return entries of chains of `among`, each with its newest that has it, or NULL.

    Within a chain later depths have higher rows. Entries that end before the first of a chain, or
    begin after its last, are left out: of a chain with few, that is most.
    """
    of_chain = (
        select(
            checkpoints.c.chain_id,
            func.min(checkpoints.c.depth).label("first_depth"),
            func.max(checkpoints.c.depth).label("last_depth"),
        )
        .join(among, among.c.id == checkpoints.c.id)
        .group_by(checkpoints.c.chain_id)
        .subquery()
    )
    # `covers` has an OR, which SQLite does not turn into the end of a range.
    end = func.coalesce(entries.c.to_depth, _NEVER)
    newest = (
        select(checkpoints.c.id)
        .where(checkpoints.c.chain_id == entries.c.chain_id)
        .where(checkpoints.c.depth >= entries.c.from_depth)
        .where(checkpoints.c.depth < end)
        .where(checkpoints.c.id.in_(select(among.c.id)))
        .order_by(checkpoints.c.depth.desc())
        .limit(1)
        .correlate(entries)
        .scalar_subquery()
    )
    return (
        select(entries.c.value_id, entries.c.payload_id, newest.label("newest"))
        .join(of_chain, of_chain.c.chain_id == entries.c.chain_id)
        .where(entries.c.from_depth <= of_chain.c.last_depth)
        .where(end > of_chain.c.first_depth)
        .cte()
    )


def freed_payloads(pipeline_id: int, survivors: CTE) -> Select[Any]:
    """Count the payloads that no survivor needs, and their bytes, in one row."""
    needs = _needs(survivors)
    return (
        select(
            func.count().label("payloads"),
            func.coalesce(func.sum(payloads.c.stored_bytes), 0).label("stored_bytes"),
        )
        .where(payloads.c.pipeline_id == pipeline_id)
        .where(payloads.c.id.not_in(select(needs.c.payload_id)))
    )
