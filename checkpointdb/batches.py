"""Long lists of values, cut to what fits one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Executable, bindparam

from checkpointdb.statements import Prepared

T = TypeVar("T")

# SQLite before 3.32 takes 999 bound parameters in a statement, and long lists are no faster.
BATCH = 500
# A list is filled up with its last value to one of these, so that few statements are prepared:
# building one anew costs more than SQLite takes to run it.
_SIZES = (1, 4, 16, 64, 192, BATCH)
_NAMES = [f"value_{number}" for number in range(BATCH)]

Statement = Callable[[int], Executable]  # about so many values, told by `among`


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut `items` into lists that fit one statement."""
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def among(column: Column[Any], size: int) -> ColumnElement[bool]:
    """Say that a column is one of the values that the statement is run with."""
    return column.in_([bindparam(name, type_=column.type) for name in _NAMES[:size]])


def run_among(
    connection: Connection, statement: Statement, values: Iterable[Any], **bound: Any
) -> list[tuple[Any, ...]]:
    """Run a statement about values, in batches, and return the rows of its results."""
    return [row for batch in batches(values) for row in _run(connection, statement, batch, bound)]


def _run(
    connection: Connection, statement: Statement, batch: list[Any], bound: dict[str, Any]
) -> list[tuple[Any, ...]]:
    size = next(size for size in _SIZES if size >= len(batch))
    filled = batch + batch[-1:] * (size - len(batch))
    listed = dict(zip(_NAMES[:size], filled, strict=True))
    return _prepared(statement, size).run(connection, {**bound, **listed})


@cache
def _prepared(statement: Statement, size: int) -> Prepared:
    return Prepared(statement(size))
