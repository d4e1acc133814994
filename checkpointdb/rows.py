"""Rows that hold what their columns are for: SQLite keeps any type in any column.

Asked where a value of a row is used after the transaction that read it; what fails within one is
told as damage by the database itself. TypeError, raised within a transaction, is told so too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

Row = TypeVar("Row")


def typed(row: Row, *kinds: type | tuple[type, ...]) -> Row:
    """Return a row whose columns hold these types. Raises TypeError otherwise."""
    values: Iterable[Any] = row  # type: ignore[assignment]  # rows are tuples of any shape
    for value, kind in zip(values, kinds, strict=True):
        if not isinstance(value, kind):
            raise TypeError(f"{value!r} is not of the type of its column")
    return row


def whole(numbers: Iterable[int]) -> None:
    """Raise TypeError unless all numbers are whole: of such alone the sum is."""
    if type(sum(numbers)) is not int:
        raise TypeError("a number of the rows is not whole")
