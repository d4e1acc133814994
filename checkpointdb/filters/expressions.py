"""Conditions written as text: `accuracy > 0.9 and run.host = n17`, for who types them.

    condition  = all ("or" all)*
    all        = one ("and" one)*
    one        = "not" one | "(" condition ")" | field test
    test       = ("=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "^=") value
               | "in" "(" value ("," value)* ")" | "exists"
    field      = the path of a metadata field | "@" the name of a column
    (and a test = "@is_backed_up" ("=" | "!=") ("true" | "false"))

A parser of forty lines; the alternative, to let Python read the text, would run it.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Final, NamedTuple, NoReturn

from sqlalchemy import Column, ColumnElement, and_, func, not_

from checkpointdb.errors import InvalidInputError
from checkpointdb.filters.conditions import is_backed_up
from checkpointdb.filters.fields import Field, meta
from checkpointdb.filters.orders import SortKey
from checkpointdb.schema import UtcDateTime, checkpoints
from checkpointdb.text import storable

COLUMNS: Final = {
    "id": checkpoints.c.checkpoint_id,
    "created_at": checkpoints.c.created_at,
    "state_bytes": checkpoints.c.state_bytes,
    "stored_bytes": checkpoints.c.stored_bytes,
    "key_count": checkpoints.c.key_count,
    "depth": checkpoints.c.depth,
    "pinned": checkpoints.c.pinned,
    "is_incremental": checkpoints.c.is_incremental,
    "is_encrypted": checkpoints.c.is_encrypted,
    "state_version": checkpoints.c.state_version,
}
BACKED_UP: Final = "@is_backed_up"  # asked of another table
_SIGNS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "^=": lambda field, prefix: field.startswith(prefix),
}
_WORDS = {"and", "or", "not", "in", "exists"}
_CONSTANTS = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TOKEN = re.compile(
    r"""\s*(?:(?P<sign>[=!<>^]=|[=<>])|(?P<mark>[(),])|(?P<quoted>"(?:[^"\\]|\\.)*"|'[^']*')"""
    r"""|(?P<word>[^\s()=!<>^,"']+))"""
)
# Far from the interpreter's limit of recursion, and SQLite's of 1 000 for an expression.
_DEEPEST = 50
_MOST_TOKENS = 500
_MOST_DIGITS = 400
_MOST_SHOWN = 200


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse_where(text: str) -> ColumnElement[bool]:
    """Return the condition that a text says, for `list_checkpoints(where=…)`.

    A field is the path of a metadata field as in `meta`, or `@` and a column: id, created_at,
    state_bytes, stored_bytes, key_count, depth, pinned, is_incremental, is_encrypted,
    state_version; or @is_backed_up. Values are numbers, true, false, null, and texts, in quotes
    where they have spaces or look like another value. `^=` asks how a text begins.

    Raises InvalidInputError, which says where, for anything else.
    """
    return _parsed(text)[0]


def fields_in(text: str) -> list[Field]:
    """Return the metadata fields that a condition asks about. Raises as `parse_where` does."""
    return _parsed(text)[1]


def _parsed(text: str) -> tuple[ColumnElement[bool], list[Field]]:
    if not isinstance(text, str):
        raise InvalidInputError(f"a condition is text, not {type(text).__name__}")
    try:
        parser = _Parser(text)
        return parser.whole(), parser.fields
    except InvalidInputError as error:
        shown = text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"
        raise InvalidInputError(f"the condition {shown!r} cannot be asked: {error}") from error


def parse_sort(text: str) -> SortKey:
    """Return the order that a text names: timestamp, size, id, `@` and a column, or a field.

    Raises InvalidInputError for a column that there is not.
    """
    if text in ("timestamp", "size", "id"):
        return text
    [*tokens] = _tokens(text)
    if len(tokens) != 1:
        raise InvalidInputError(f"{text!r} names no order: give one field, or @ and a column")
    return _field(tokens[0])


def parse_fields(text: str) -> list[Field]:
    """Return the metadata fields that a text names, between commas.

    Raises InvalidInputError for anything else, such as a column.
    """
    tokens = _tokens(text)
    named = [_field(each) for each in tokens[::2] if each.kind in ("word", "quoted")]
    found = [each for each in named if isinstance(each, Field)]
    if [each.text for each in tokens[1::2]] != [","] * (len(found) - 1) or not found:
        raise InvalidInputError(
            f"{text!r} names no metadata fields: write one, or several with commas between them"
        )
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.fields: list[Field] = []
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0

    def whole(self) -> ColumnElement[bool]:
        found = self._any()
        if self._next < len(self._tokens):
            self._refuse("this is too much")
        return found

    def _any(self) -> ColumnElement[bool]:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse(f"it is nested more than {_DEEPEST} deep")
        found = [self._all()]
        while self._takes("or"):
            found.append(self._all())
        self._depth -= 1
        return reduce(operator.or_, found)

    def _all(self) -> ColumnElement[bool]:
        found = [self._one()]
        while self._takes("and"):
            found.append(self._one())
        return reduce(operator.and_, found)

    def _one(self) -> ColumnElement[bool]:
        negations = 0
        while self._takes("not"):
            negations += 1
        if self._takes("("):
            found = self._any()
            self._expect(")")
        else:
            found = self._test()
        return not_(found) if negations % 2 else found

    def _test(self) -> ColumnElement[bool]:
        token = self._take("a field")
        if token.kind not in ("word", "quoted") or token.text.lower() in _WORDS:
            self._refuse("a field is expected", token)
        if token.text == BACKED_UP:
            return self._backed_up()
        return self._compared(_field(token))

    def _backed_up(self) -> ColumnElement[bool]:
        sign, value = self._take("a comparison"), _literal(self._take("true or false"))
        if sign.text not in ("=", "==", "!=") or not isinstance(value, bool):
            self._refuse(f"{BACKED_UP} is = true or = false", sign)
        return is_backed_up() if value == (sign.text != "!=") else not_(is_backed_up())

    def _compared(self, field: Field | Column[Any]) -> ColumnElement[bool]:
        if isinstance(field, Field):
            self.fields.append(field)
        if self._takes("exists"):
            return field.exists() if isinstance(field, Field) else field.is_not(None)
        found = self._tested(field)
        if isinstance(field, Field) or not field.nullable:
            return found
        return and_(field.is_not(None), found)  # false, not NULL: `not` finds what has none

    def _tested(self, field: Field | Column[Any]) -> ColumnElement[bool]:
        if self._takes("in"):
            self._expect("(")
            values = [self._value(field)]
            while self._takes(","):
                values.append(self._value(field))
            self._expect(")")
            return field.in_(values)
        sign = self._take("a comparison")
        if sign.kind != "sign":
            self._refuse(f"one of {' '.join(_SIGNS)} in exists is expected", sign)
        value = self._value(field)
        if sign.text == "^=" and not (isinstance(value, str) and _holds_text(field)):
            self._refuse("^= compares how a text begins", sign)
        if sign.text == "^=" and not isinstance(field, Field):
            # Not by LIKE, which in SQLite ignores case.
            begins: ColumnElement[bool] = func.substr(field, 1, len(value)) == value
            return begins
        found: ColumnElement[bool] = _SIGNS[sign.text](field, value)
        return found

    def _value(self, field: Field | Column[Any]) -> Any:
        token = self._take("a value")
        value = _literal(token)
        if token.kind not in ("word", "quoted"):
            self._refuse("a value is expected", token)
        return value if isinstance(field, Field) else _of_column(field, value)

    def _take(self, what: str) -> _Token:
        if self._next == len(self._tokens):
            self._refuse(f"{what} is expected at its end")
        self._next += 1
        return self._tokens[self._next - 1]

    def _takes(self, text: str) -> bool:
        if self._next == len(self._tokens):
            return False
        token = self._tokens[self._next]
        is_it = token.kind != "quoted" and token.text.lower() == text
        self._next += is_it
        return is_it

    def _expect(self, text: str) -> None:
        if not self._takes(text):
            self._refuse(f"{text!r} is expected")

    def _refuse(self, reason: str, token: _Token | None = None) -> NoReturn:
        if token is None and self._next < len(self._tokens):
            token = self._tokens[self._next]
        where = "" if token is None else f", at {self._text[token.at : token.at + 30]!r}"
        raise InvalidInputError(f"{reason}{where}")


def _tokens(text: str) -> list[_Token]:
    storable(text, "the condition")
    tokens: list[_Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise InvalidInputError(f"{text[at : at + 30]!r} is no word")
        kind = str(found.lastgroup)
        tokens.append(_Token(kind, found[kind], found.start(kind)))
        at = found.end()
        if len(tokens) > _MOST_TOKENS:
            raise InvalidInputError(f"a condition has at most {_MOST_TOKENS} words and signs")
    return tokens


def _field(token: _Token) -> Field | Column[Any]:
    if token.kind == "quoted":
        return meta(str(_literal(token)))
    if not token.text.startswith("@"):
        return meta(token.text)
    column = COLUMNS.get(token.text[1:])
    if column is None:
        names = ", ".join(f"@{name}" for name in COLUMNS)
        raise InvalidInputError(f"there is no column {token.text}, but {names}")
    return column


def _literal(token: _Token) -> Any:
    text = token.text
    if token.kind == "quoted":
        try:
            return json.loads(text) if text[0] == '"' else text[1:-1]
        except ValueError as error:
            raise InvalidInputError(f"{text} is no text: {error}") from error
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _NUMBER.fullmatch(text):
        if len(text) > _MOST_DIGITS:
            raise InvalidInputError(f"{text[:30]}… is too long for a number")
        return float(text) if set(text) & set(".eE") else int(text)
    return text


def _of_column(column: Column[Any], value: Any) -> Any:
    """Return a value as its column compares it."""
    if isinstance(column.type, UtcDateTime):
        return _moment(value)
    if isinstance(value, str):
        storable(value, "the value")
    kind = column.type.python_type
    if kind is int and type(value) in (int, float):
        # As a double, what no column of SQLite can hold compares as well.
        return value if abs(value) < 2**63 else math.inf if value > 0 else -math.inf
    if type(value) is not kind:
        advice = f": write {value} in quotes" if kind is str else ""
        if value is None and column.nullable:
            advice = f': "not @{column.name} exists" finds those that have none'
        raise InvalidInputError(f"{value!r} is no value of the column {column.name}{advice}")
    return value


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"{value!r} is no time: write 2026-01-31 or 2026-01-31T12:00, in UTC"
        ) from error


def _holds_text(field: Field | Column[Any]) -> bool:
    return isinstance(field, Field) or field.type.python_type is str
