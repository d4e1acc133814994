"""Unpickling that may only name what is trusted.

A pickle runs code by naming something callable and calling it. Two readers: pickles of plain data,
most of all there are, name nothing and are read by C; for others the one written in Python lets
us also refuse to change what was only named (`BUILD`), and resolve extension codes ourselves,
which the one in C takes from a cache without asking.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import re
import sys
from collections.abc import Iterable, Sequence
from enum import Enum, EnumMeta
from typing import Any, ClassVar

from checkpointdb.errors import InvalidInputError
from checkpointdb.safe_globals import SAFE_GLOBALS

_PATTERN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(\.\*)?")


class Untrusted(Exception):
    """A pickle names what is not trusted, or changes what it may only name. Internal."""

    def __init__(self, name: str, reason: str = "") -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason


class TrustedGlobals:
    """The patterns of a handle, and pickles read by them.

    A full name admits what it names, called or not. A pattern that ends in `.*` admits classes
    (that are defined under one of the patterns too, not only imported there), and functions
    that SAFE_GLOBALS has; not all functions, since `numpy.*` has some that run their argument.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        if isinstance(patterns, str | bytes):
            raise InvalidInputError("trusted_globals must be a list of names, not one text")
        checked = [_checked(each) for each in patterns]
        self._names = frozenset(each for each in checked if not each.endswith(".*"))
        self._prefixes = tuple(each[:-1] for each in checked if each.endswith(".*"))

    def load(self, parts: Sequence[bytes | bytearray | memoryview]) -> Any:
        """Return the value pickled in `parts`. Raises Untrusted, and what unpickling raises."""
        stream = bytes(parts[0])
        if not _has_extensions():
            try:
                return _PlainData(io.BytesIO(stream)).load()
            except _NamesSomethingError:
                pass
        return _Checked(self, stream, parts[1:]).load()

    def admits(self, name: str) -> bool:
        """Say whether a name is covered at all, before anything is imported for it."""
        return name in self._names or name.startswith(self._prefixes)

    def check(self, name: str, found: object) -> None:
        """Raise Untrusted unless what was found under a name that is covered may be had."""
        if name in self._names or name in SAFE_GLOBALS:
            return
        if not isinstance(found, type):
            raise Untrusted(name, "it is no class, and such must be named in full")
        if issubclass(found, type):
            raise Untrusted(name, "it makes classes, and such must be named in full")
        own = f"{found.__module__}.{found.__qualname__}"
        if not self.admits(own) or not _is_public(found):
            raise Untrusted(name, f"it is {own}")

    def attribute(self, owner: object, name: object) -> Any:
        """Do what `getattr` does in pickles: members of an enum, methods that make an object."""
        if not isinstance(owner, type) or not isinstance(name, str):
            raise Untrusted("builtins.getattr")
        if isinstance(owner, EnumMeta) and name in owner.__members__:
            return owner[name]
        full = f"{owner.__module__}.{owner.__qualname__}.{name}"
        if full not in self._names:
            raise Untrusted(full)
        return getattr(owner, name)


class _NamesSomethingError(Exception):
    pass


class _PlainData(pickle.Unpickler):
    """Reads what names nothing."""

    def find_class(self, module: str, name: str) -> Any:
        raise _NamesSomethingError


class _Checked(pickle._Unpickler):
    """Reads what names only what is trusted."""

    def __init__(self, trusted: TrustedGlobals, stream: bytes, buffers: Sequence[Any]) -> None:
        # Names of Python 2 are not translated: it would be done after our look at them.
        super().__init__(io.BytesIO(stream), fix_imports=False, buffers=buffers)
        self._trusted = trusted
        self._named: dict[int, object] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        found: Any
        if self._trusted.admits(full):
            found = super().find_class(module, name)
            self._trusted.check(full, found)
        elif full == "builtins.getattr":
            found = self._trusted.attribute
        else:
            raise Untrusted(full)
        self._named[id(found)] = found
        return found

    def get_extension(self, code: int) -> None:
        name = copyreg._inverted_registry.get(code)  # type: ignore[attr-defined]
        if name is None:
            raise pickle.UnpicklingError(f"unregistered extension code {code}")
        self.append(self.find_class(*name))  # type: ignore[attr-defined]

    def load_build(self) -> None:
        built = self.stack[-2]  # type: ignore[attr-defined]
        # A member of an enum is everybody's, though it was asked for by a call.
        if id(built) in self._named or isinstance(built, Enum | type):
            raise Untrusted(repr(built)[:200], "a pickle may not change what it names")
        super().load_build()  # type: ignore[misc]

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


def _has_extensions() -> bool:
    return bool(copyreg._inverted_registry or copyreg._extension_cache)  # type: ignore[attr-defined]


def _is_public(cls: type) -> bool:
    """Say whether a class is found under its own name; the one of functions, say, is not."""
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


def _checked(pattern: object) -> str:
    if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern):
        raise InvalidInputError(
            f"{pattern!r} in trusted_globals is neither a full name such as 'myapp.models.Tree' "
            "nor one that ends in '.*'"
        )
    return pattern
