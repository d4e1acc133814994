"""A list of row ids or names as a table: of any length, by one parameter."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import CTE, BigInteger, ColumnElement, TableValuedAlias, Text, cast, literal, select
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
    values = items(literal(json.dumps(list(rows)), Text))
    return select(cast(values.c.value, BigInteger).label("id")).cte()
