"""A list of row ids or names as a table: of any length, by one parameter."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Select,
    TableValuedAlias,
    Text,
    bindparam,
    cast,
    literal,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class _Items(FunctionElement[Any]):
    """The items of a JSON array, each a row with the column `value`."""

    name = "items"
    inherit_cache = True


@compiles(_Items, "sqlite")
def _in_sqlite(items: _Items, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(items.clauses, **options)})"


@compiles(_Items, "postgresql")
def _in_postgresql(items: _Items, compiler: Any, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(items.clauses, **options)} AS JSON))"


def items(array: ColumnElement[str]) -> TableValuedAlias:
    """Return the items of a JSON array as a table with the column `value`."""
    return _Items(array).table_valued("value")


def listed(rows: Iterable[int]) -> CTE:
    """Return row ids as a table with the column `id`.

    Not as a list of parameters, which a statement takes some thousands of, nor as a temporary
    table, which a store that is opened read-only may not have.
    """
    return _ids(literal(array(rows), Text)).cte()


def listed_in(name: str) -> Select[int]:
    """Return the row ids of the `array` that is bound to `name`."""
    return _ids(bindparam(name, type_=Text))


def array(rows: Iterable[int]) -> str:
    """Return row ids as one parameter."""
    return json.dumps(list(rows))


def _ids(array: ColumnElement[str]) -> Select[int]:
    return select(cast(items(array).c.value, BigInteger).label("id"))
