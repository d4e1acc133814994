"""States of several shapes as the dictionaries that a store takes, and back.

Fields are the keys; their values stay what they are, so that paths, dates and dataclasses within
them come back as such.
"""

from __future__ import annotations

import dataclasses
import inspect
from functools import cached_property
from typing import Any

from checkpointdb.errors import InvalidStateError

# What pydantic keeps of a model beside its fields, under the names that it gives them itself.
_PYDANTIC = ("__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__")


def as_dict(state: object) -> dict[str, Any]:
    """Return the keys and values of a dict, a dataclass or a pydantic model.

    Raises InvalidStateError for anything else, and for a dataclass that has more than its fields.
    """
    if type(state) is dict:
        return state
    if isinstance(state, dict):
        raise InvalidStateError(
            f"a state that is a {type(state).__name__} would be resumed as a plain dict: give "
            "dict(state)"
        )
    if is_model(type(state)):
        parts: Any = state.__getstate__()
        kept = {name: parts[name] for name in _PYDANTIC if parts.get(name)}
        found = parts["__dict__"].items()
        return {name: value for name, value in found if not _is_cached(state, name)} | kept
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return _fields_of(state)
    raise InvalidStateError(
        f"a state must be a dict, a dataclass or a pydantic model, not {type(state).__name__}"
    )


def from_dict(shape: type[Any], found: dict[str, Any]) -> Any:
    """Return a state of the class that `as_dict` was given one of; no constructor is called.

    Raises InvalidStateError, naming the field, if the class has other fields by now.
    """
    if issubclass(shape, dict):
        return found
    if is_model(shape):
        return _model(shape, found)
    state = object.__new__(shape)
    for name, value in _checked(shape, found, dataclasses.fields(shape)).items():
        object.__setattr__(state, name, value)  # a frozen one too
    return state


def is_model(shape: type[Any]) -> bool:
    """Say whether a class is a pydantic model, without importing pydantic."""
    return hasattr(shape, "__pydantic_fields_set__") and hasattr(shape, "model_fields")


def _fields_of(state: Any) -> dict[str, Any]:
    names = [each.name for each in dataclasses.fields(state)]
    for name in _attributes_of(state) - set(names):
        if not _is_cached(state, name):
            raise InvalidStateError(
                f"{type(state).__name__} has an attribute {name!r} that is no field, and would "
                "not be saved: declare it as a field",
                key=name,
            )
    return {name: getattr(state, name) for name in names if hasattr(state, name)}


def _attributes_of(state: Any) -> set[str]:
    """Return the names of what an object holds, slots of its bases included."""
    slots: set[str] = set()
    for each in type(state).__mro__:
        own = each.__dict__.get("__slots__", ())
        slots.update([own] if isinstance(own, str) else own)
    held = {name for name in slots - {"__dict__", "__weakref__"} if hasattr(state, name)}
    return held | getattr(state, "__dict__", {}).keys()


def _is_cached(state: object, name: str) -> bool:
    """Say whether an attribute is one that can be computed again."""
    return isinstance(inspect.getattr_static(type(state), name, None), cached_property)


def _model(shape: Any, found: dict[str, Any]) -> Any:
    values = {name: value for name, value in found.items() if name not in _PYDANTIC}
    for name in values.keys() - shape.model_fields.keys():
        raise _unknown(shape, name)
    missing = shape.model_fields.keys() - values.keys()
    for name in missing:
        if shape.model_fields[name].is_required():
            raise _lacking(shape, name)
        values[name] = shape.model_fields[name].get_default(call_default_factory=True)
    state = shape.__new__(shape)
    state.__setstate__(
        {
            "__dict__": values,
            "__pydantic_extra__": found.get("__pydantic_extra__"),
            "__pydantic_fields_set__": found.get("__pydantic_fields_set__", set()),
            "__pydantic_private__": _private(shape, found.get("__pydantic_private__")),
        }
    )
    return state


def _private(shape: Any, found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the private attributes, with defaults for those that the class has got since."""
    declared = shape.__private_attributes__
    if not declared:
        return found
    from pydantic_core import PydanticUndefined

    defaults = {
        name: each.default_factory() if each.default_factory else each.get_default()
        for name, each in declared.items()
    }
    return {
        name: value
        for name, value in {**defaults, **(found or {})}.items()
        if value is not PydanticUndefined
    }


def _checked(
    shape: type[Any], found: dict[str, Any], fields: tuple[dataclasses.Field[Any], ...]
) -> dict[str, Any]:
    for name in found.keys() - {each.name for each in fields}:
        raise _unknown(shape, name)
    values = {}
    for each in fields:
        if each.name in found:
            values[each.name] = found[each.name]
        elif each.default is not dataclasses.MISSING:
            values[each.name] = each.default
        elif each.default_factory is not dataclasses.MISSING:
            values[each.name] = each.default_factory()
        else:
            raise _lacking(shape, each.name)
    return values


def _unknown(shape: type[Any], name: str) -> InvalidStateError:
    return InvalidStateError(
        f"the checkpoint holds {name!r}, which {shape.__name__} has no field for (any more): "
        "declare it, or begin the run anew",
        key=name,
    )


def _lacking(shape: type[Any], name: str) -> InvalidStateError:
    return InvalidStateError(
        f"the checkpoint lacks {name!r}, which {shape.__name__} needs: give the field a default, "
        "or begin the run anew",
        key=name,
    )
