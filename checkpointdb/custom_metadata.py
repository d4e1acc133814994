"""A checkpoint's metadata: checked to be JSON, and flattened into rows that SQL can filter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from checkpointdb.errors import InvalidInputError
from checkpointdb.text import storable

# PostgreSQL's B-tree takes keys up to 2 704 bytes. A longer text stays in the JSON.
MAX_INDEXED_TEXT = 1_000
# Far from the interpreter's limit of recursion, which a save must not meet half way.
MAX_DEPTH = 100

Row = tuple[str, float | None, str | None]


def checked(custom_metadata: object) -> dict[str, Any]:
    """Return a copy of the metadata as JSON gives it back, scalars of NumPy as plain numbers.

    Raises InvalidInputError if it is no dictionary with text keys, or holds what JSON or a
    database cannot (the message says what and where), such as NaN, a datetime, NUL, or a cycle.
    """
    if custom_metadata is None:
        return {}
    if not isinstance(custom_metadata, dict):
        raise InvalidInputError(
            f"custom_metadata must be a dictionary, not {type(custom_metadata).__name__}"
        )
    try:
        text = json.dumps(custom_metadata, allow_nan=False, default=_number)
        _check(custom_metadata, MAX_DEPTH)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(_refusal(custom_metadata, error)) from error
    result: dict[str, Any] = json.loads(text)
    return result


def as_scalar(value: Any) -> Any:
    """Return the number or text that a scalar of NumPy or PyTorch is; anything else as it is."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        item = value.item()
        return item if isinstance(item, (bool, int, float, str)) else value
    return value


def _number(value: object) -> object:
    """Return what json.dumps cannot write as what it can. Raises TypeError if it is no scalar."""
    scalar = as_scalar(value)
    if scalar is value:
        raise TypeError(f"it has no {type(value).__name__}: convert it to text or a number")
    _check(scalar, 0)
    return scalar


def _check(value: object, depth: int) -> None:
    """Refuse what JSON can hold and a database or a filter cannot."""
    if depth < 0:
        raise InvalidInputError(f"custom_metadata is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        storable(value, "the text")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_key(key)
            _check(item, depth - 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, depth - 1)


def _check_key(key: object) -> None:
    if not isinstance(key, str):  # json.dumps would make text of it, found by no filter
        raise InvalidInputError(f"a key is no text: {key!r}")
    storable(key, "a key")


def _check_scalar(value: object) -> None:
    json.dumps(value, allow_nan=False, default=_number)
    _check(value, 0)


def _refusal(custom_metadata: dict[Any, Any], error: Exception) -> str:
    """Say what is wrong, and with which field if it is one, not the depth or a circle."""
    if not isinstance(error, RecursionError):
        for place, check, part in _parts(custom_metadata, "custom_metadata", MAX_DEPTH, set()):
            try:
                check(part)
            except (TypeError, ValueError) as found:
                return f"{place} cannot be stored as JSON: {found}"
    if isinstance(error, InvalidInputError):
        return str(error)
    return f"custom_metadata must be JSON: {error}"


def _parts(
    value: Any, place: str, depth: int, seen: set[int]
) -> Iterator[tuple[str, Callable[[Any], None], Any]]:
    """Yield where each key and each scalar stands, what checks it, and it itself."""
    if not isinstance(value, (dict, list, tuple)):
        yield place, _check_scalar, value
    elif depth and id(value) not in seen:
        seen.add(id(value))
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(value, dict):
                yield place, _check_key, step
            yield from _parts(item, f"{place}[{step!r}]", depth - 1, seen)


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
