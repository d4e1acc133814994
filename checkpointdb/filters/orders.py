"""Sort orders of lists of checkpoints."""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlalchemy import Column, ColumnElement, Select, UnaryExpression, and_, asc, case, desc

from checkpointdb.errors import InvalidInputError
from checkpointdb.filters.fields import Field
from checkpointdb.schema import checkpoint_metadata, checkpoints

SortKey: TypeAlias = str | Field | ColumnElement[Any]

_NAMED: dict[str, Column[Any]] = {
    "timestamp": checkpoints.c.created_at,
    "size": checkpoints.c.stored_bytes,
    "size_bytes": checkpoints.c.stored_bytes,
    "id": checkpoints.c.checkpoint_id,
    "checkpoint_id": checkpoints.c.checkpoint_id,
    "name": checkpoints.c.checkpoint_id,
    "state_version": checkpoints.c.state_version,
}
_INDEXED = (checkpoints.c.created_at, checkpoints.c.checkpoint_id)


def sorted_by(statement: Select[int], sort_by: SortKey, reverse: bool) -> Select[int]:
    """Order a selection from `checkpoints`, by row id where all else is equal.

    `sort_by` is "timestamp", "size" (of what was stored), "id", "state_version" (none is last), a
    column of `checkpoints`, an expression of them, or a metadata field. By a field: numbers, then
    texts, then checkpoints where it is null or absent, whichever direction; `reverse` turns the
    order within each.

    Raises InvalidInputError for anything else.
    """
    if isinstance(sort_by, Field):
        return _sorted_by_field(statement, sort_by, reverse)
    term = _term(sort_by)
    turned = desc if reverse else asc
    # NULLS LAST would keep SQLite from using an index, and no column that has one has NULLs.
    has_nulls = not isinstance(term, Column) or term.nullable
    first = turned(term).nulls_last() if has_nulls else turned(term)
    return statement.order_by(first, turned(checkpoints.c.id))


def walks_index(sort_by: SortKey) -> bool:
    """Say whether an index of `checkpoints` gives a pipeline's in this order."""
    term = None if isinstance(sort_by, Field) else _term(sort_by)
    return any(term is column for column in _INDEXED)


def _term(sort_by: object) -> ColumnElement[Any]:
    if isinstance(sort_by, str) and sort_by in _NAMED:
        return _NAMED[sort_by]
    if isinstance(sort_by, UnaryExpression) and sort_by.modifier is not None:
        raise InvalidInputError("sort_by takes a column without asc() or desc(): use reverse")
    if isinstance(sort_by, ColumnElement):
        return sort_by
    names = ", ".join(repr(name) for name in _NAMED)
    raise InvalidInputError(
        f"sort_by={sort_by!r} is unknown: use {names}, a column of checkpoints, or meta(path)"
    )


def _sorted_by_field(statement: Select[int], field: Field, reverse: bool) -> Select[int]:
    row = checkpoint_metadata.alias()
    its_own = and_(row.c.checkpoint_id == checkpoints.c.id, row.c.key == field.path)
    kind = case((row.c.number.is_not(None), 0), (row.c.text.is_not(None), 1), else_=2)
    turned = desc if reverse else asc
    return statement.outerjoin_from(checkpoints, row, its_own).order_by(
        kind, turned(row.c.number), turned(row.c.text), turned(checkpoints.c.id)
    )
