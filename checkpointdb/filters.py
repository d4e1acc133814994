"""Filters and sort orders for lists of checkpoints: expressions in, Select out; pure.

A condition on metadata (`meta("accuracy") > 0.9`) or on keys (`has_key("graph")`) is an
ordinary SQLAlchemy expression. It can be written in three forms that mean the same, and which
is fast depends on how many checkpoints it matches. Measured on a million checkpoints with
SQLite 3.40 (tests/benchmarks/bench_filters.py), for the newest 50:

| form    | what SQLite does                                       | 0.01 % | 0.3 % | 1 %  | 90 % |
|---------|--------------------------------------------------------|--------|-------|------|------|
| DRIVING | visits the matches alone, sorts them                   | 0.1 ms | 2     | 16   | 680  |
| LISTED  | lists the matches; walks the newest, looks each up     | 34     | 2     | 3.5  | 450  |
| EXISTS  | walks the newest, asks for the metadata row of each    | 125    | 4     | 1.3  | 0.03 |

So `resolve` counts matches, up to a bound, and chooses the form that costs least. PostgreSQL
has statistics and makes the same plan of all three.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Exists,
    Select,
    Text,
    TextClause,
    UnaryExpression,
    and_,
    case,
    exists,
    func,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BooleanClauseList, Grouping
from sqlalchemy.sql.functions import FunctionElement

from checkpointdb import queries
from checkpointdb.custom_metadata import MAX_INDEXED_TEXT
from checkpointdb.errors import InvalidInputError
from checkpointdb.schema import chains, checkpoint_metadata, checkpoints, entries
from checkpointdb.text import storable

__all__ = [
    "Condition",
    "Field",
    "Form",
    "estimated_total",
    "has_key",
    "meta",
    "planned_checkpoints",
    "resolve",
    "select_checkpoints",
    "sorted_by",
]

# A double holds every integer up to here; beyond it, neighbours are stored as one number.
MAX_EXACT_INTEGER = 2**53
# SQLite takes 32 766 bound parameters in a statement, PostgreSQL 65 535.
MAX_VALUES = 10_000
_NEVER = 2**63 - 1  # after every depth

Rows: TypeAlias = Select[int] | CompoundSelect[int]


class Form(Enum):
    """How a condition is written; the table above says when which is fast."""

    DRIVING = "id IN (matches), and the matches are what is visited"
    LISTED = "id IN (matches), asked of each checkpoint that is visited"
    EXISTS = "EXISTS (match), asked of each checkpoint that is visited"


class Condition(Grouping[bool]):
    """A test of checkpoints that combines by `&`, `|`, `~` and `and_` with any other expression."""

    inherit_cache = True

    def __init__(self, asks: str, rows: Rows, per_checkpoint: Exists) -> None:
        super().__init__(checkpoints.c.id.in_(rows))
        self.asks = asks
        self.rows = rows
        self.per_checkpoint = per_checkpoint

    def __repr__(self) -> str:
        return f"<Condition {self.asks}>"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self.asks} is a question to the database and neither true nor false here: combine "
            "conditions by & | ~ (each in parentheses) instead of `and`, `or`, `not`, and write "
            "a <= x <= b as meta(…).between(a, b)"
        )

    def counting(self, bound: int) -> Select[int]:
        """Count the checkpoints that match, at most up to `bound`."""
        some = self.rows.limit(bound).subquery()
        return select(func.count()).select_from(some)

    def written(self, form: Form) -> ColumnElement[bool]:
        """Return the same test in one of the forms."""
        if form is Form.EXISTS:
            return Written(self.per_checkpoint, form)
        visited = checkpoints.c.id if form is Form.DRIVING else _Unindexed(checkpoints.c.id)
        return Written(visited.in_(self.rows), form)


class Written(Grouping[bool]):
    """A condition in the form that was chosen for it."""

    inherit_cache = True

    def __init__(self, element: ColumnElement[bool], form: Form) -> None:
        super().__init__(element)
        self.form = form


# --- conditions on metadata


def meta(path: str) -> Field:
    r"""Name the metadata field at `path`, to compare or to sort by.

    Nested fields are joined by dots, `meta("run.host")`; a dot that is part of a name is
    written `\.`, as in `meta(r"v1\.2")`, and a backslash `\\`.

    Raises InvalidInputError if `path` is no such text.
    """
    if not isinstance(path, str):
        raise InvalidInputError(f"the path of a metadata field is text, not {_kind(path)}")
    if "\\" in path.replace("\\\\", "").replace("\\.", ""):
        raise InvalidInputError(
            rf"a backslash in the path {path!r} must be followed by a dot or another backslash: "
            r"write a literal one as \\"
        )
    return Field(storable(path, "the path"))


class Field:
    """A metadata field. Comparing it gives a Condition.

    A field matches only if it is there: `meta("x") != 3` finds checkpoints that have another x,
    `~(meta("x") == 3)` also those that have none. Numbers compare with numbers (true is 1,
    false is 0) and texts with texts, by code point. Lists, and texts over 1 000 characters, are
    not indexed, and so are not found.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"meta({self.path!r})"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} is a question to the database and neither true nor false here: compare it, "
            f"or ask whether it is there by {self!r}.exists()"
        )

    __hash__ = object.__hash__

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]  # as in SQLAlchemy
        if value is None:
            return self.is_(None)
        column, operand = _operand(value)
        return self._condition(f"== {value!r}", column == operand)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]  # as in SQLAlchemy
        if value is None:
            return self.is_not(None)
        column, operand = _operand(value)
        ordered = _ordered(column)
        # Three ranges of the index; `column != value` would read all of the field's rows.
        return self._condition(
            f"!= {value!r}", ordered < operand, ordered > operand, column.is_(None)
        )

    def __lt__(self, value: object) -> Condition:
        column, operand = _operand(value)
        return self._condition(f"< {value!r}", _ordered(column) < operand)

    def __le__(self, value: object) -> Condition:
        column, operand = _operand(value)
        return self._condition(f"<= {value!r}", _ordered(column) <= operand)

    def __gt__(self, value: object) -> Condition:
        column, operand = _operand(value)
        return self._condition(f"> {value!r}", _ordered(column) > operand)

    def __ge__(self, value: object) -> Condition:
        column, operand = _operand(value)
        return self._condition(f">= {value!r}", _ordered(column) >= operand)

    def between(self, low: object, high: object) -> Condition:
        """Match values from `low` to `high`, both included: two numbers or two texts."""
        column, first = _operand(low)
        other, last = _operand(high)
        if column is not other:
            raise InvalidInputError(
                f"between({low!r}, {high!r}) mixes a number and a text: give two of a kind"
            )
        return self._condition(
            f".between({low!r}, {high!r})", _ordered(column).between(first, last)
        )

    def in_(self, values: Iterable[object]) -> Condition:
        """Match any of `values`; numbers, texts and None may be mixed."""
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise InvalidInputError(f"in_() takes a list of values, not {_kind(values)}")
        chosen = list(values)
        if len(chosen) > MAX_VALUES:
            raise InvalidInputError(
                f"in_() takes up to {MAX_VALUES} values, not {len(chosen)}: use a range, or "
                "several queries"
            )
        found = [_operand(value) for value in chosen if value is not None]
        numbers = [value for column, value in found if column is _number]
        texts = [value for column, value in found if column is _text]
        tests: list[ColumnElement[bool]] = [_number.in_(numbers), _text.in_(texts)]
        if None in chosen:
            tests.append(_is_null)
        return self._condition(f".in_({len(chosen)} values)", *tests)

    def startswith(self, prefix: str) -> Condition:
        """Match texts that begin with `prefix`, upper and lower case being different."""
        if not isinstance(prefix, str):
            raise InvalidInputError(f"startswith() takes a text, not {_kind(prefix)}")
        column, first = _operand(prefix)
        after = _after_prefix(prefix)
        # A range of the index; SQLite's LIKE ignores case and PostgreSQL's needs another index.
        test = _ordered(column) >= first
        if after is not None:
            test = and_(test, _ordered(column) < after)
        return self._condition(f".startswith({prefix!r})", test)

    def exists(self) -> Condition:
        """Match checkpoints that have the field, with any scalar value or null."""
        return self._condition(".exists()", true())

    def is_(self, value: None) -> Condition:
        """Match checkpoints that have the field with the value null."""
        _only_none(value, "is_")
        return self._condition(".is_(None)", _is_null)

    def is_not(self, value: None) -> Condition:
        """Match checkpoints that have the field with another value than null."""
        _only_none(value, "is_not")
        # Two ranges of the index; IS NOT NULL would read all of the field's rows.
        return self._condition(
            ".is_not(None)", _number >= -sys.float_info.max, _ordered(_text) >= ""
        )

    def _condition(self, label: str, *tests: ColumnElement[bool]) -> Condition:
        """Match rows of this field that pass one of `tests`, of which a row passes one at most."""
        here = checkpoint_metadata.c.key == self.path
        found = [
            select(checkpoint_metadata.c.checkpoint_id).where(here, test).correlate(None)
            for test in tests
        ]
        row = (
            exists(checkpoint_metadata.c.checkpoint_id)
            .where(checkpoint_metadata.c.checkpoint_id == checkpoints.c.id, here, or_(*tests))
            .correlate(checkpoints)
        )
        space = "" if label.startswith(".") else " "
        return Condition(
            f"{self!r}{space}{label}", found[0] if len(found) == 1 else union_all(*found), row
        )


_number = checkpoint_metadata.c.number
_text = checkpoint_metadata.c.text
_is_null = and_(_number.is_(None), _text.is_(None))


def _operand(value: object) -> tuple[Column[Any], float | str]:
    """Return the column that `value` is compared with, and it as that column holds it."""
    if isinstance(value, str):
        return _text, _indexable(str.__str__(value))
    if isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER:
        raise InvalidInputError(
            f"{value} is beyond 2**53, where numbers of metadata are no longer exact: store and "
            "compare it as text"
        )
    if isinstance(value, (int, float)):
        if math.isnan(value):
            raise InvalidInputError("NaN compares with nothing; use exists() or is_(None)")
        return _number, float(value)
    raise InvalidInputError(_advice(value))


def _indexable(text: str) -> str:
    if len(text) > MAX_INDEXED_TEXT:
        raise InvalidInputError(
            f"a text of {len(text)} characters finds nothing: texts over {MAX_INDEXED_TEXT} are "
            "not indexed; use startswith() with less, or filter_fn"
        )
    return storable(text, "the value")


def _advice(value: object) -> str:
    """Say what to do about a value that metadata cannot be compared with."""
    if isinstance(value, (ColumnElement, Field)):
        return (
            f"metadata compares with plain values, not with {value!r}: put each comparison in "
            "parentheses, since & and | bind more tightly than =="
        )
    if hasattr(value, "isoformat"):
        return (
            f"metadata has no {_kind(value)}: store times as ISO 8601 text in UTC "
            "(value.isoformat()), which sorts as they do, and compare with that"
        )
    if value is None:
        return "null has no order: use is_(None), is_not(None), == or !="
    return f"metadata compares with numbers, texts, true, false and None, not with {_kind(value)}"


def _after_prefix(prefix: str) -> str | None:
    """Return the least text after all that begin with `prefix`; None if nothing is."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are no text


def _only_none(value: object, name: str) -> None:
    if value is not None:
        raise InvalidInputError(f"{name}() takes None; compare other values by == or !=")


def _kind(value: object) -> str:
    return type(value).__name__


# --- conditions on keys


def has_key(key: str) -> Condition:
    """Match checkpoints whose state has `key`.

    Raises InvalidInputError if `key` is no text that a state can have as a key.
    """
    if not isinstance(key, str):
        raise InvalidInputError(f"a key is text, not {_kind(key)}")
    opened = and_(
        entries.c.key == storable(str.__str__(key), "the key"), entries.c.value_id.is_not(None)
    )
    holder = checkpoints.alias()
    # Chain by chain, each a search in the primary key of `entries`: there are far fewer chains
    # than checkpoints, and an index on the key alone would cost every save. (Where `chains`
    # could be searched, SQLite without statistics would read all entries instead.)
    rows = (
        select(holder.c.id)
        .select_from(chains)
        .join(entries, and_(entries.c.chain_id == _Unindexed(chains.c.id), opened))
        .join(
            holder,
            and_(
                holder.c.chain_id == entries.c.chain_id,
                holder.c.depth >= entries.c.from_depth,
                # `covers` has an OR here, which SQLite does not turn into the end of a range.
                holder.c.depth < func.coalesce(entries.c.to_depth, _NEVER),
            ),
        )
        .correlate(None)
    )
    row = (
        exists(entries.c.chain_id)
        .where(
            entries.c.chain_id == checkpoints.c.chain_id,
            opened,
            queries.covers(checkpoints.c.depth),
        )
        .correlate(checkpoints)
    )
    return Condition(f"has_key({key!r})", rows, row)


# --- choosing forms


# Microseconds, measured as above.
_DRIVING = 1.0  # a match visited: its row is anywhere in the table (0.7 if cached, else 1.6)
_ASKING_FAR = 2.0  # a match visited, and a row of its metadata searched, anywhere as well
_LISTING = 0.33  # a match put on a list
_LOOKING = 0.07  # a checkpoint walked past, and looked up on a list
_ASKING = 0.25  # a checkpoint walked past, and its row of metadata searched
_SMALL = 1_000  # checkpoints that are all walked past in less time than one count takes


def estimated_total() -> Select[int]:
    """Estimate the number of checkpoints, from both ends: to count a million takes 30 ms."""
    first = select(func.min(checkpoints.c.id)).scalar_subquery()
    last = select(func.max(checkpoints.c.id)).scalar_subquery()
    return select(func.coalesce(last - first + 1, 0))


def resolve(
    where: ColumnElement[bool] | TextClause,
    count: Callable[[Select[int]], int],
    total: int,
    wanted: int | None = None,
) -> ColumnElement[bool]:
    """Return `where` with each condition in the form that is fast for what it matches.

    `count` executes a statement that counts, and returns the number. Of `total` checkpoints the
    first `wanted` that match are asked for, in an order that an index gives; None if all are,
    or if they have to be sorted.

    Raises InvalidInputError if `where` is no expression.
    """
    where = checked(where)
    conditions = [each for each in visitors.iterate(where) if isinstance(each, Condition)]
    if total <= _SMALL:
        return _written(where, dict.fromkeys(conditions, Form.EXISTS))
    bound = _count_bound(len(conditions), total, wanted)
    counts = {each: count(each.counting(bound)) for each in conditions}
    return _written(where, _forms(where, _Matches(counts, bound, total), wanted))


def _count_bound(conditions: int, total: int, wanted: int | None) -> int:
    """Return how far to count matches.

    A single condition is EXISTS from about 0.8 √(wanted × total) matches on. Where several
    meet, the number that pass them all has to be guessed, and more exact counts pay: with this
    bound, two independent conditions took up to four times as long as in the best forms, most
    much less. (To count costs 0.03 µs a match.)
    """
    if wanted is None:
        return total // 4
    return math.ceil((0.8 if conditions == 1 else 3) * math.sqrt(max(wanted, 1) * total))


@dataclass(frozen=True, slots=True)
class _Matches:
    """How many of `total` checkpoints match each condition, counted up to `bound`."""

    counts: dict[Condition, int]
    bound: int
    total: int

    def known(self, condition: Condition) -> bool:
        return self.counts[condition] < self.bound

    def of(self, conditions: Iterable[Condition]) -> int:
        return sum(self.counts[each] for each in conditions)

    def share(self, element: object) -> float:
        """Estimate which part of the checkpoints matches, as if all parts were independent."""
        if isinstance(element, Condition):
            counted = max(self.counts[element], 1) / self.total
            # Anything from the bound to all: the middle, by magnitude.
            return min(counted if self.known(element) else math.sqrt(counted), 1.0)
        if isinstance(element, Grouping):
            return self.share(element.element)
        if isinstance(element, UnaryExpression) and element.operator is operators.inv:
            return max(1 - self.share(element.element), 1 / self.total)
        if not isinstance(element, BooleanClauseList):
            return 0.5
        parts = [self.share(each) for each in element.clauses]
        joined = math.prod(parts) if element.operator is operators.and_ else sum(parts)
        return min(max(joined, 1 / self.total), 1.0)

    def driver(self, element: object) -> frozenset[Condition] | None:
        """Return the fewest matches that have every match of `element` among them.

        None if there is no such bound on them, or it was not counted.
        """
        if isinstance(element, Condition):
            return frozenset({element}) if self.known(element) else None
        if isinstance(element, Grouping):
            return self.driver(element.element)
        if not isinstance(element, BooleanClauseList):
            return None
        inner = [self.driver(each) for each in element.clauses]
        found = [each for each in inner if each is not None]
        if element.operator is operators.and_:
            return min(found, key=self.of, default=None)
        return frozenset().union(*found) if len(found) == len(inner) else None


def _forms(
    where: ColumnElement[bool], matches: _Matches, wanted: int | None
) -> dict[Condition, Form]:
    """Choose the form of each condition by what the ways to answer would cost."""
    walked: float = matches.total
    if wanted is not None:
        walked = min(walked, wanted / matches.share(where))
    forms, walking = {}, 0.0
    for each, number in matches.counts.items():
        listed = _LISTING * number + _LOOKING * walked
        is_listed = matches.known(each) and listed < _ASKING * walked
        forms[each] = Form.LISTED if is_listed else Form.EXISTS
        walking += listed if is_listed else _ASKING * walked
    driver = matches.driver(where)
    if driver is None:
        return forms
    visited = matches.of(driver)
    driven = {
        each: Form.DRIVING if each in driver else _beside(matches, each, visited) for each in forms
    }
    visit = _DRIVING + _ASKING_FAR * list(driven.values()).count(Form.EXISTS)
    listing = _LISTING * matches.of(each for each in forms if driven[each] is Form.LISTED)
    return driven if visit * visited + listing < walking else forms


def _beside(matches: _Matches, condition: Condition, visited: int) -> Form:
    """Choose the form of a condition beside one that drives."""
    is_listed = matches.known(condition) and (
        _LISTING * matches.counts[condition] < _ASKING_FAR * visited
    )
    return Form.LISTED if is_listed else Form.EXISTS


def _written(where: ColumnElement[bool], forms: dict[Condition, Form]) -> ColumnElement[bool]:
    def replacement(element: Any, **_: Any) -> Any:
        return element.written(forms[element]) if isinstance(element, Condition) else None

    return visitors.replacement_traverse(where, {}, replacement)


# --- lists


def select_checkpoints(
    pipeline_id: int,
    where: ColumnElement[bool] | TextClause | None = None,
    sort_by: str | Field | ColumnElement[Any] = "timestamp",
    reverse: bool = True,
    limit: int | None = None,
    offset: int | None = None,
) -> Select[int]:
    """Return the row ids of a pipeline's checkpoints in the order asked for.

    Raises InvalidInputError if an argument is none that can be asked.
    """
    statement = select(checkpoints.c.id)
    pipeline: ColumnElement[int] = checkpoints.c.pipeline_id
    if where is not None:
        where = checked(where)
        statement = statement.where(where)
        # Else SQLite, which knows no statistics here, would walk an index of the pipeline.
        pipeline = _Unindexed(pipeline) if _drives(where) else pipeline
    statement = statement.where(pipeline == pipeline_id)
    return (
        sorted_by(statement, sort_by, reverse)
        .limit(_counted(limit, "limit"))
        .offset(_counted(offset, "offset"))
    )


def planned_checkpoints(
    count: Callable[[Select[int]], int],
    pipeline_id: int,
    where: ColumnElement[bool] | TextClause | None = None,
    sort_by: str | Field | ColumnElement[Any] = "timestamp",
    reverse: bool = True,
    limit: int | None = None,
    offset: int | None = None,
) -> Select[int]:
    """Return what `select_checkpoints` does, with `where` resolved.

    `count` executes a statement and returns the integer in its only row.
    """
    if where is not None:
        bounded = limit is not None and _walks_index(sort_by)
        wanted = (limit or 0) + (offset or 0) if bounded else None
        where = resolve(where, count, count(estimated_total()), wanted)
    return select_checkpoints(pipeline_id, where, sort_by, reverse, limit, offset)


def checked(where: object) -> ColumnElement[bool]:
    """Return `where` if it can be asked of the database; raises InvalidInputError if not."""
    if isinstance(where, ColumnElement):
        return where
    if isinstance(where, TextClause):
        return Grouping(where)
    if isinstance(where, Field):
        raise InvalidInputError(
            f"{where!r} alone is no condition: compare it, or ask for {where!r}.exists()"
        )
    advice = "pass it as filter_fn" if callable(where) else 'for instance meta("accuracy") > 0.9'
    raise InvalidInputError(f"where takes an expression, not {_kind(where)}: {advice}")


def _drives(where: object) -> bool:
    """Say whether every match of `where` is in what a condition in the DRIVING form lists."""
    if isinstance(where, Written):
        return where.form is Form.DRIVING
    if isinstance(where, Grouping):
        return _drives(where.element)
    if not isinstance(where, BooleanClauseList):
        return False
    found = [_drives(each) for each in where.clauses]
    return any(found) if where.operator is operators.and_ else all(found)


def _counted(value: Any, name: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise InvalidInputError(f"{name} is a number of checkpoints, 0 or more, not {value!r}")
    return value


# --- orders


_ORDERS: dict[str, Column[Any]] = {
    "timestamp": checkpoints.c.created_at,
    "size": checkpoints.c.stored_bytes,
    "size_bytes": checkpoints.c.stored_bytes,
    "id": checkpoints.c.checkpoint_id,
    "checkpoint_id": checkpoints.c.checkpoint_id,
    "name": checkpoints.c.checkpoint_id,
}


def sorted_by(
    statement: Select[int],
    sort_by: str | Field | ColumnElement[Any] = "timestamp",
    reverse: bool = True,
) -> Select[int]:
    """Order a selection from `checkpoints`, by row id where all else is equal.

    `sort_by` is "timestamp", "size" (of what was stored), "id", a column of `checkpoints`, an
    expression of them, or a metadata field. By a field: numbers, then texts, then checkpoints
    where it is null or absent, whichever direction; `reverse` turns the order within each.

    Raises InvalidInputError for anything else.
    """
    if isinstance(sort_by, Field):
        return _sorted_by_field(statement, sort_by, reverse)
    term = _term(sort_by)
    first = _directed(term, reverse)
    # A column has no NULLs, and NULLS LAST would keep SQLite from using its index.
    first = first if isinstance(term, Column) else first.nulls_last()
    return statement.order_by(first, _directed(checkpoints.c.id, reverse))


def _term(sort_by: object) -> ColumnElement[Any]:
    if isinstance(sort_by, str) and sort_by in _ORDERS:
        return _ORDERS[sort_by]
    if isinstance(sort_by, UnaryExpression) and sort_by.modifier is not None:
        raise InvalidInputError("sort_by takes a column without asc() or desc(): use reverse")
    if isinstance(sort_by, ColumnElement):
        return sort_by
    names = ", ".join(repr(name) for name in _ORDERS)
    raise InvalidInputError(
        f"sort_by={sort_by!r} is unknown: use {names}, a column of checkpoints, or meta(path)"
    )


def _directed(term: ColumnElement[Any], reverse: bool) -> UnaryExpression[Any]:
    return term.desc() if reverse else term.asc()


def _sorted_by_field(statement: Select[int], field: Field, reverse: bool) -> Select[int]:
    row = checkpoint_metadata.alias()
    kind = case((row.c.number.is_not(None), 0), (row.c.text.is_not(None), 1), else_=2)
    return statement.outerjoin_from(
        checkpoints,
        row,
        and_(row.c.checkpoint_id == checkpoints.c.id, row.c.key == field.path),
    ).order_by(
        kind,
        _directed(row.c.number, reverse),
        _directed(_ordered(row.c.text), reverse),
        _directed(checkpoints.c.id, reverse),
    )


def _walks_index(sort_by: object) -> bool:
    """Say whether an index of `checkpoints` gives a pipeline's in this order."""
    term = _ORDERS.get(sort_by) if isinstance(sort_by, str) else sort_by
    return any(term is column for column in (checkpoints.c.created_at, checkpoints.c.checkpoint_id))


# --- what the databases call differently


class _Unindexed(FunctionElement[Any]):
    """A column that SQLite's planner must not search an index for (its unary plus)."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


class _ByCodePoint(FunctionElement[Any]):
    """A text column that compares and sorts by code point, as SQLite and Python do."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


def _ordered(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return _ByCodePoint(column) if isinstance(column.type, Text) else column


@compiles(_Unindexed)
@compiles(_ByCodePoint)
def _plain(element: FunctionElement[Any], compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Unindexed, "sqlite")
def _with_plus(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return "+" + compiler.process(element.clauses, **options)


@compiles(_ByCodePoint, "postgresql")
def _with_collation(element: _ByCodePoint, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options) + ' COLLATE "C"'
