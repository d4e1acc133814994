"""JSON documents: results as JSON, and the shapes that the reference promises of them.

A shape is a text that names a scalar ("text", "number or null"), a list of one shape, a
dictionary of shapes (`*` stands for any key), or one of the frozen dataclasses.
"""

from __future__ import annotations

import json
import math
import types
import typing
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, TypeAlias

Shape: TypeAlias = Any

_SCALARS: dict[Any, str] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    datetime: "text",
    type(None): "null",
    Any: "any",
}
_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "true or false": (bool,),
    "null": (type(None),),
    "any": (object,),
}


def as_json(document: object) -> str:
    """Return a document as JSON in ASCII, which no terminal and no encoding can spoil."""
    return json.dumps(plain(document), indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """Return a result as JSON has it: bytes in hexadecimal, times in ISO 8601."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
    return value


def described(shape: Shape) -> Any:
    """Return a shape with the dataclasses in it opened."""
    if isinstance(shape, str):
        return shape
    if isinstance(shape, list):
        return [described(shape[0])]
    if isinstance(shape, dict):
        return {key: described(each) for key, each in shape.items()}
    if is_dataclass(shape):
        hints = typing.get_type_hints(shape)
        return {each.name: described(hints[each.name]) for each in fields(shape)}
    return _of_type(shape)


def _of_type(hint: Any) -> Any:
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(described(each) for each in inner)
    if origin is dict:
        return {"*": described(inner[1])}
    return [described(inner[0])] if inner[-1] is Ellipsis or origin is list else ["text"]


def misfit(document: Any, shape: Shape, where: str = "document") -> str | None:
    """Return where a document is not of a shape, None if it is."""
    shape = described(shape)
    if isinstance(shape, str):
        names = ("true or false",) if shape == "true or false" else shape.split(" or ")
        kinds = tuple(kind for name in names for kind in _KINDS[name])
        is_fit = isinstance(document, kinds) and (bool in kinds or not isinstance(document, bool))
        return None if is_fit or "any" in names else f"{where} is no {shape}: {document!r}"
    if isinstance(shape, list):
        if not isinstance(document, list):
            return f"{where} is no list"
        found = [misfit(each, shape[0], f"{where}[{at}]") for at, each in enumerate(document)]
    else:
        if not isinstance(document, dict):
            return f"{where} is no object"
        if "*" not in shape and set(document) != set(shape):
            return f"{where} has {sorted(document)}, not {sorted(shape)}"
        found = [
            misfit(each, shape.get(key, shape.get("*")), f"{where}.{key}")
            for key, each in document.items()
        ]
    return next((each for each in found if each is not None), None)
