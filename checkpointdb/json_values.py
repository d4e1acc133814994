"""JSON (RFC 8259) that gives back what it was given, or refuses it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

_DEEPEST = 200  # so that what checks and parses finds room on the stack, of 1 000 frames


class Json:
    """The serializer for states that anybody can read, and that run no code when they are."""

    name = "json"

    def dump(self, value: object) -> list[bytes]:
        """Return a value as UTF-8. Raises ValueError for what would come back changed."""
        _check(value, [])
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return [text.encode()]

    def load(self, parts: Sequence[bytes | bytearray | memoryview]) -> Any:
        """Return the value. Raises ValueError for what is no JSON."""
        return json.loads(bytes(parts[0]), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _check(value: Any, path: list[object]) -> None:
    kind = type(value)  # not isinstance: a subclass would come back as its base
    if kind is str:
        _check_text(value, path)
    elif kind is float:
        if not math.isfinite(value):
            _refuse(path, f"JSON has no {value}")
    elif kind is dict or kind is list:
        _check_items(value, kind is dict, path)
    elif kind not in (int, bool, type(None)):
        _refuse(path, f"JSON has no {kind.__module__}.{kind.__qualname__}")


def _check_items(value: Any, is_dict: bool, path: list[object]) -> None:
    if len(path) >= _DEEPEST:
        _refuse(path[:3], f"it is nested more than {_DEEPEST} deep, or holds itself")
    path.append(None)
    for place, each in value.items() if is_dict else enumerate(value):
        path[-1] = place
        if is_dict:
            if type(place) is not str:
                _refuse(path[:-1], f"JSON makes the key {place!r} a text")
            _check_text(place, path)
        _check(each, path)
    path.pop()


def _check_text(text: str, path: list[object]) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(path, "the text has a lone surrogate, which is no character")


def _refuse(path: Sequence[object], reason: str) -> NoReturn:
    place = "".join(f"[{step!r}]" for step in path)[:200]
    raise ValueError(f"{reason}, at {place}" if place else reason)
