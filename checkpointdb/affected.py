"""Whom a problem concerns: the checkpoints that need a payload, or bytes in some of its members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_, select, union

from checkpointdb.queries import covers
from checkpointdb.schema import checkpoints, chunks, entries, members, state_values, value_chunks


def checkpoints_of_members(member_ids: Sequence[int]) -> Select[Any]:
    """Return the ids of the checkpoints that a load would read these members for."""
    return _checkpoints_where(entries.c.value_id.in_(_values_in(members.c.id.in_(member_ids))))


def checkpoints_of_payload(payload_id: int) -> Select[Any]:
    """Return the ids of the checkpoints that need anything of a payload."""
    defined = select(state_values.c.id).where(state_values.c.payload_id == payload_id)
    read = _values_in(members.c.payload_id == payload_id)
    return _checkpoints_where(
        or_(
            checkpoints.c.payload_id == payload_id,
            entries.c.payload_id == payload_id,
            entries.c.value_id.in_(defined),
            entries.c.value_id.in_(read),
        )
    )


def _values_in(condition: ColumnElement[bool]) -> Select[Any]:
    """Return the values with bytes in the members of which `condition` is true."""
    placed = select(state_values.c.id).join(members, members.c.id == state_values.c.member_id)
    spread = (
        select(value_chunks.c.value_id)
        .join(chunks, chunks.c.id == value_chunks.c.chunk_id)
        .join(members, members.c.id == chunks.c.member_id)
    )
    found = union(placed.where(condition), spread.where(condition)).subquery()
    return select(found.c.id)


def _checkpoints_where(condition: ColumnElement[bool]) -> Select[Any]:
    in_state = and_(entries.c.chain_id == checkpoints.c.chain_id, covers(checkpoints.c.depth))
    return (
        select(checkpoints.c.id, checkpoints.c.checkpoint_id)
        .distinct()
        .outerjoin(entries, in_state)
        .where(condition)
        .order_by(checkpoints.c.id)
    )
