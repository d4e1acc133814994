"""A checkpoint's metadata: checked to be JSON, and flattened into rows that SQL can filter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from checkpointdb.errors import InvalidInputError
from checkpointdb.text import storable

# PostgreSQL's B-tree takes keys up to 2 704 bytes. A longer text stays in the JSON.
MAX_INDEXED_TEXT = 1_000
# Far from the interpreter's limit of recursion, which a save must not meet half way.
MAX_DEPTH = 100

Row = tuple[str, float | None, str | None]


def checked(custom_metadata: object) -> dict[str, Any]:
    """Return a copy of the metadata as JSON gives it back.

    Raises InvalidInputError if it is no dictionary with text keys, or holds what JSON or a
    database cannot (the message says what), such as NaN, a datetime, NUL, or a cycle.
    """
    if custom_metadata is None:
        return {}
    if not isinstance(custom_metadata, dict):
        raise InvalidInputError(
            f"custom_metadata must be a dictionary, not {type(custom_metadata).__name__}"
        )
    try:
        text = json.dumps(custom_metadata, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"custom_metadata must be JSON: {error}; convert such values to text or numbers"
        ) from error
    _check(custom_metadata, MAX_DEPTH)
    result: dict[str, Any] = json.loads(text)
    return result


def _check(value: object, depth: int) -> None:
    """Refuse what JSON can hold and a database or a filter cannot."""
    if depth < 0:
        raise InvalidInputError(f"custom_metadata is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        storable(value, "the metadata")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):  # json.dumps would make text of it, found by no filter
                raise InvalidInputError(f"custom_metadata has a key that is no text: {key!r}")
            storable(key, "the metadata's key")
            _check(item, depth - 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, depth - 1)


def flatten(custom_metadata: dict[str, Any], prefix: str = "") -> Iterator[Row]:
    r"""Yield (key, number, text) for every scalar; nested keys are joined as `a.b`.

    A dot within a key is written `\.`, so that {"a.b": 1} and {"a": {"b": 2}} differ. True and
    false are 1 and 0, null is neither number nor text. Lists, texts over `MAX_INDEXED_TEXT`,
    and integers that no double equals (2**53 + 1, 10**400) have no row: they are in the JSON
    column alone.
    """
    for name, value in custom_metadata.items():
        key = prefix + _escaped(name)
        if isinstance(value, dict):
            yield from flatten(value, key + ".")
        elif value is None:
            yield key, None, None
        elif isinstance(value, str):
            if len(value) <= MAX_INDEXED_TEXT:
                yield key, None, value
        elif isinstance(value, (int, float)) and (double := as_double(value)) is not None:
            yield key, double, None


def value_at(custom_metadata: dict[str, Any], path: str, default: object = None) -> Any:
    """Return the value of the field that `flatten` gives this path, lists and objects too."""
    for name, value in custom_metadata.items():
        key = _escaped(name)
        if path == key:
            return value
        if isinstance(value, dict) and path.startswith(key + "."):
            return value_at(value, path[len(key) + 1 :], default)
    return default


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace(".", "\\.")


def check_path(path: str) -> None:
    """Raise InvalidInputError for a path that names no field: as `flatten` writes none."""
    storable(path, "the path")
    if "\\" in path.replace("\\\\", "").replace("\\.", ""):
        raise InvalidInputError(
            rf"a backslash in the path {path!r} must be followed by a dot or another backslash: "
            r"write a literal one as \\"
        )


def as_double(number: int | float) -> float | None:
    """Return the double that equals `number`; None for an integer that none equals."""
    try:
        double = float(number)
    except OverflowError:
        return None
    return double if double == number else None
