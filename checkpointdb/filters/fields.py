"""Fields of the metadata, and the conditions that comparing them gives."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from sqlalchemy import Column, ColumnElement, and_, exists, or_, select, true, union_all

from checkpointdb.custom_metadata import MAX_INDEXED_TEXT, as_double, as_scalar, check_path
from checkpointdb.errors import InvalidInputError
from checkpointdb.filters.conditions import Condition
from checkpointdb.schema import checkpoint_metadata, checkpoints
from checkpointdb.text import storable

# SQLite takes 32 766 bound parameters in a statement, PostgreSQL 65 535.
MAX_VALUES = 10_000

_number = checkpoint_metadata.c.number
_text = checkpoint_metadata.c.text
_is_null = and_(_number.is_(None), _text.is_(None))


def meta(path: str) -> Field:
    r"""Name the metadata field at `path`, to compare or to sort by.

    Nested fields are joined by dots, `meta("run.host")`; a dot that is part of a name is
    written `\.`, as in `meta(r"v1\.2")`, and a backslash `\\`.

    A field matches only if it is there: `meta("x") != 3` finds checkpoints that have another x,
    `~(meta("x") == 3)` also those that have none. Numbers compare with numbers (true is 1,
    false is 0) and texts with texts, by code point. What has no row in `checkpoint_metadata`
    is not found: lists, texts over 1 000 characters, integers that no double equals (2**53 + 1,
    10**400).

    Raises InvalidInputError if `path` is no such text.
    """
    if not isinstance(path, str):
        raise InvalidInputError(f"the path of a metadata field is text, not {_kind(path)}")
    check_path(path)
    return Field(str.__str__(path))


class Field:
    """A metadata field; see `meta`. Comparing it gives a Condition."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"meta({self.path!r})"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} is a question to the database, neither true nor false here: compare it, "
            f"or ask whether it is there by {self!r}.exists()"
        )

    __hash__ = object.__hash__

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]  # as in SQLAlchemy
        if value is None:
            return self._matching(" == None", _is_null)
        return self._compare(operator.eq, "==", value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]  # as in SQLAlchemy
        # By ranges of the index: `column != operand` and IS NOT NULL would read all of the
        # field's rows.
        if value is None:
            return self._matching(" != None", _number >= -sys.float_info.max, _text >= "")
        column, operand = _operand(value)
        return self._matching(
            f" != {value!r}", column < operand, column > operand, column.is_(None)
        )

    is_, is_not = __eq__, __ne__  # as linters want None to be compared

    def __lt__(self, value: object) -> Condition:
        return self._compare(operator.lt, "<", value)

    def __le__(self, value: object) -> Condition:
        return self._compare(operator.le, "<=", value)

    def __gt__(self, value: object) -> Condition:
        return self._compare(operator.gt, ">", value)

    def __ge__(self, value: object) -> Condition:
        return self._compare(operator.ge, ">=", value)

    def between(self, low: object, high: object) -> Condition:
        """Match values from `low` to `high`, both included: two numbers or two texts."""
        column, first = _operand(low)
        other, last = _operand(high)
        if column is not other:
            raise InvalidInputError(
                f"between({low!r}, {high!r}) mixes a number and a text: give two of a kind"
            )
        # Two comparisons: PostgreSQL does not parse the collation that BETWEEN would come with.
        within = and_(column >= first, column <= last)
        return self._matching(f".between({low!r}, {high!r})", within)

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
        operands = [_operand(value) for value in chosen if value is not None]
        tests: list[ColumnElement[bool]] = [
            each.in_([operand for column, operand in operands if column is each])
            for each in (_number, _text)
        ]
        if len(operands) < len(chosen):
            tests.append(_is_null)
        return self._matching(f".in_({len(chosen)} values)", *tests)

    def startswith(self, prefix: str) -> Condition:
        """Match texts that begin with `prefix`, upper and lower case being different."""
        if not isinstance(prefix, str):
            raise InvalidInputError(f"startswith() takes a text, not {_kind(prefix)}")
        # A range of the index; SQLite's LIKE ignores case and PostgreSQL's needs another index.
        test = _text >= _operand(prefix)[1]
        after = _after_prefix(prefix)
        return self._matching(
            f".startswith({prefix!r})", test if after is None else and_(test, _text < after)
        )

    def exists(self) -> Condition:
        """Match checkpoints that have the field, with any scalar value or null."""
        return self._matching(".exists()", true())

    def _compare(self, compare: Callable[[Any, Any], Any], sign: str, value: object) -> Condition:
        test = compare(*_operand(value))
        return self._matching(f" {sign} {value!r}", test)

    def _matching(self, label: str, *tests: ColumnElement[bool]) -> Condition:
        """Match rows of this field that pass one of `tests`, of which a row passes one at most."""
        row = checkpoint_metadata.c.checkpoint_id
        here = checkpoint_metadata.c.key == self.path
        found = [select(row).where(here, test).correlate(None) for test in tests]
        asked = exists(row).where(row == checkpoints.c.id, here, or_(*tests)).correlate(checkpoints)
        matches = found[0] if len(found) == 1 else union_all(*found)
        return Condition(f"{self!r}{label}", matches, asked)


def _operand(given: object) -> tuple[Column[Any], float | str]:
    """Return the column that a value is compared with, and it as that column holds it."""
    value = as_scalar(given)
    if isinstance(value, str):
        if len(value) > MAX_INDEXED_TEXT:
            raise InvalidInputError(
                f"a text of {len(value)} characters finds nothing: texts over {MAX_INDEXED_TEXT} "
                "are not indexed; use startswith() with less, or filter_fn"
            )
        return _text, storable(str.__str__(value), "the value")
    if not isinstance(value, (int, float)):
        raise InvalidInputError(_advice(given))
    double = as_double(value)
    if double is None:
        raise InvalidInputError(
            "NaN, and integers that no double equals, are not indexed: store and compare such "
            "an integer as text"
        )
    return _number, double


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


def _kind(value: object) -> str:
    return type(value).__name__
