"""Lists of a pipeline's checkpoints: filtered, sorted, cut into pages."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, ColumnElement, Select, TextClause, select, true
from sqlalchemy.sql.elements import Grouping

from checkpointdb import queries
from checkpointdb.errors import InvalidInputError
from checkpointdb.filters.conditions import unsearched
from checkpointdb.filters.fields import Field
from checkpointdb.filters.orders import SortKey, sorted_by, walks_index
from checkpointdb.filters.planning import Count, begins_with_matches, planned
from checkpointdb.schema import checkpoints


def select_checkpoints(
    pipeline: str,
    where: ColumnElement[bool] | TextClause | None = None,
    sort_by: SortKey = "timestamp",
    reverse: bool = True,
    limit: int | None = None,
    offset: int | None = None,
    *,
    count: Count | None = None,
) -> Select[int]:
    """Return the row ids of a pipeline's checkpoints in the order asked for.

    By `count`, if given, the form of `where` is chosen that is fast.

    Raises InvalidInputError if an argument is none that can be asked.
    """
    limit, offset = _counted(limit, "limit"), _counted(offset, "offset")
    condition = true() if where is None else _checked(where)
    if where is not None and count is not None:
        # What no index has in order cannot be left after so many.
        is_cut = limit is not None and walks_index(sort_by)
        condition = planned(condition, count, (limit or 0) + (offset or 0) if is_cut else None)
    statement = _filtered(pipeline, condition).limit(limit).offset(offset)
    return sorted_by(statement, sort_by, reverse)


def _filtered(pipeline: str, condition: ColumnElement[bool]) -> Select[int]:
    pipeline_id: ColumnElement[int] = checkpoints.c.pipeline_id
    if begins_with_matches(condition):
        # Else SQLite, which knows no statistics here, would walk an index of the pipeline.
        pipeline_id = unsearched(checkpoints.c.pipeline_id)
    return (
        select(checkpoints.c.id)
        .where(condition)
        .where(pipeline_id == queries.pipeline_id(pipeline).scalar_subquery())
    )


def _checked(where: object) -> ColumnElement[bool]:
    """Return `where` if it can be asked of the database; raises InvalidInputError if not."""
    if isinstance(where, Column) and not isinstance(where.type, Boolean):
        raise InvalidInputError(f"{where.name} is no condition: compare it with a value")
    if isinstance(where, ColumnElement):
        return where
    if isinstance(where, TextClause):
        return Grouping(where)
    if isinstance(where, Field):
        raise InvalidInputError(
            f"{where!r} alone is no condition: compare it, or ask for {where!r}.exists()"
        )
    kind = type(where).__name__
    advice = "pass it as filter_fn" if callable(where) else 'for instance meta("accuracy") > 0.9'
    raise InvalidInputError(f"where takes an expression, not {kind}: {advice}")


def _counted(value: Any, name: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise InvalidInputError(f"{name} is a number of checkpoints, 0 or more, not {value!r}")
    return value
