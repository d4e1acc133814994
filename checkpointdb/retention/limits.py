"""Limits: at most so many bytes, at most so many for each value of a metadata field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, Select, func, or_, select

from checkpointdb import queries
from checkpointdb.retention.parts import (
    Limit,
    Scope,
    bound,
    check_field,
    check_integer,
    number_text,
)
from checkpointdb.schema import checkpoint_metadata, payloads


@dataclass(frozen=True, slots=True)
class AtMostBytes(Limit):
    """Leave the newest whose payload files, all that they need, take at most `stored_bytes`.

    What they share counts once, and counts though the checkpoint that it was saved with is
    gone: a sum of what each save wrote would promise room that forgetting does not give.
    From the first that has no room on, all older ones are taken. What only pinned checkpoints
    need does not count. Asked at each save, it looks through the pipeline's entries, unless
    all its files fit.

    Raises InvalidInputError if `stored_bytes` is no integer of at least 1.
    """

    stored_bytes: int

    def __post_init__(self) -> None:
        check_integer(self.stored_bytes, 1, "stored_bytes")

    def taken(self, scope: Scope, among: CTE) -> Select[Any]:
        needs = queries.payload_needs(among).subquery()
        used = func.sum(func.sum(payloads.c.stored_bytes)).over(order_by=needs.c.newest.desc())
        use = (
            select(needs.c.newest, used.label("stored_bytes"))
            .join(payloads, payloads.c.id == needs.c.payload_id)
            .group_by(needs.c.newest)
            .subquery()
        )
        first = select(func.max(use.c.newest)).where(use.c.stored_bytes > bound(self.stored_bytes))
        stored = select(func.sum(payloads.c.stored_bytes)).where(
            payloads.c.pipeline_id == scope.pipeline_id
        )
        return (
            select(among.c.id)
            # First: where all files fit, no entry is looked at.
            .where(stored.scalar_subquery() > bound(self.stored_bytes))
            .where(among.c.id <= first.scalar_subquery())
            .order_by(among.c.id)
        )

    def reason(self, *facts: Any) -> str:
        return f"over {self.stored_bytes:,} bytes"

    def __str__(self) -> str:
        return f"at most {self.stored_bytes:,} bytes"


@dataclass(frozen=True, slots=True)
class AtMostPer(Limit):
    """Leave the newest `count` for each value of the metadata field `field`: of each run, say.

    `field` is a path as `meta` takes it. Where it is absent or null nothing is taken.

    Raises InvalidInputError if `count` is no integer of at least 1, or `field` no such text.
    """

    count: int
    field: str

    def __post_init__(self) -> None:
        check_integer(self.count, 1, "the number for each value")
        check_field(self.field)

    def taken(self, scope: Scope, among: CTE) -> Select[Any]:
        number, text = checkpoint_metadata.c.number, checkpoint_metadata.c.text
        newest_first = func.row_number().over(
            partition_by=(number, text), order_by=among.c.id.desc()
        )
        ranked = (
            select(among.c.id, number, text, newest_first.label("place"))
            .join(checkpoint_metadata, checkpoint_metadata.c.checkpoint_id == among.c.id)
            .where(checkpoint_metadata.c.key == self.field)
            .where(or_(number.is_not(None), text.is_not(None)))
            .subquery()
        )
        return (
            select(ranked.c.id, ranked.c.number, ranked.c.text)
            .where(ranked.c.place > bound(self.count))
            .order_by(ranked.c.id)
        )

    def reason(self, *facts: Any) -> str:
        number, text = facts
        value = number_text(number) if text is None else repr(text)
        return f"over {self.count} of {self.field} {value}"

    def __str__(self) -> str:
        return f"at most {self.count} per {self.field}"
