"""Values to parts of bytes and back, by one of the serializers that are known by name.

The usual one is pickle protocol 5 with large buffers out of band: numpy arrays and the blocks of
a data frame are never copied nor pickled on the way out.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from checkpointdb.errors import InvalidInputError, InvalidStateError
from checkpointdb.json_values import Json
from checkpointdb.manifest import MAX_SERIALIZER_BYTES
from checkpointdb.streamed import SERIALIZER as STREAM
from checkpointdb.text import is_storable
from checkpointdb.trusted_globals import TrustedGlobals

Buffer = bytes | bytearray | memoryview

PICKLE: Final = "pickle5"
PROTOCOL: Final = 5
# A smaller buffer stays in band: a value of one part takes two rows, each further part more.
_IN_BAND_BYTES = 4 << 10
_WITHOUT_BUFFERS = {str, bytes, int, float, bool, type(None)}


class Serializer(Protocol):
    """What makes bytes of values. Its name is recorded with each value, and needed to load it.

    It is called by several threads at once. A newer form of the bytes needs a name of its own.
    """

    @property
    def name(self) -> str: ...

    def dump(self, value: Any) -> Sequence[Buffer]:
        """Return a value as parts: a stream that is not empty, then large buffers, not copied.

        A stream is cut where its content says so, buffers in blocks, so that what did not change
        is not stored again. Whatever it raises becomes an InvalidStateError.
        """
        ...

    def load(self, parts: Sequence[Buffer]) -> Any:
        """Return the value of parts, which may be kept: nobody else has them."""
        ...


class Pickle:
    """The usual serializer."""

    name = PICKLE

    def dump(self, value: Any) -> list[Buffer]:
        """Return the in-band stream, then each buffer of at least 4 KiB."""
        if type(value) in _WITHOUT_BUFFERS:
            return [pickle.dumps(value, PROTOCOL)]
        buffers: list[memoryview] = []
        stream = pickle.dumps(value, PROTOCOL, buffer_callback=kept_in_band(buffers))
        return [stream, *buffers]

    def load(self, parts: Sequence[Buffer]) -> Any:
        """Return the value; its arrays use `parts[1:]` as their memory."""
        return pickle.loads(parts[0], buffers=parts[1:])


def kept_in_band(buffers: list[memoryview]) -> Callable[[pickle.PickleBuffer], bool]:
    """Return what tells pickle which buffers stay in the stream, and adds the others to a list."""

    def is_kept(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous: pickle copies it
            return True
        if raw.nbytes < _IN_BAND_BYTES:
            return True
        buffers.append(raw)
        return False

    return is_kept


_BUILT_IN: dict[str, Serializer] = {PICKLE: Pickle(), "json": Json()}
_known: dict[str, Serializer] = dict(_BUILT_IN)


def register_serializer(serializer: Serializer) -> None:
    """Make a serializer known by its name, in this process, to save and to load with.

    One of a class of the same name replaces the one before, as when a notebook's cell runs again.

    Raises InvalidInputError if the name cannot be one, or is that of another serializer.
    """
    name = getattr(serializer, "name", None)
    if not isinstance(name, str) or not is_storable(name):
        raise InvalidInputError(f"a serializer's name must be text, not {name!r}")
    if not 0 < len(name.encode()) <= MAX_SERIALIZER_BYTES:
        raise InvalidInputError(
            f"a serializer's name must have 1 to {MAX_SERIALIZER_BYTES} bytes: {name[:100]!r}"
        )
    if name == STREAM:
        raise InvalidInputError(f"{name!r} is how a StreamedValue is saved: choose another name")
    before = _known.setdefault(name, serializer)
    if type_name(before) != type_name(serializer) or name in _BUILT_IN:
        raise InvalidInputError(
            f"the serializer {name!r} is registered already, as {type_name(before)}: values that "
            "it saved need it; choose another name"
        )
    _known[name] = serializer


def find_serializer(name: object) -> Serializer:
    """Return a serializer by its name. Raises InvalidInputError if it is not known."""
    if isinstance(name, str) and name in _known:
        return _known[name]
    raise InvalidInputError(
        f"the serializer {name!r} is not known: take one of {', '.join(sorted(_known))}, or "
        "register yours (register_serializer)"
    )


def is_known(name: str) -> bool:
    """Say whether a serializer can be found by its name."""
    return name in _known


class Serialized(NamedTuple):
    """A value as bytes: `parts[0]` is the stream, the others are its buffers, not copied.

    A part that is `bytes`, and no view of them, may be any length, but most are small: a view is
    two objects more.
    `layout` holds the bytes of each part.
    """

    serializer: str
    type_name: str
    parts: tuple[bytes | memoryview, ...]
    layout: tuple[int, ...]


def dump(key: str, value: object, serializer: Serializer) -> Serialized:
    """Serialize the value of `key`.

    Raises InvalidStateError, naming the key, if the serializer cannot.
    """
    return described(key, value, serializer, dump_parts(key, value, serializer))


def dump_parts(key: str, value: object, serializer: Serializer) -> list[Buffer]:
    """Do the first half of `dump`: it may be seen already that no more is needed.

    Raises InvalidStateError, naming the key, if the serializer cannot.
    """
    try:
        return list(serializer.dump(value))
    except Exception as error:  # noqa: BLE001 - __reduce__ and __getstate__ may raise anything
        refuse(key, serializer, error)


def described(
    key: str, value: object, serializer: Serializer, parts: Sequence[Buffer]
) -> Serialized:
    """Do the second half of `dump`. Raises InvalidStateError, naming the key, for no such parts."""
    if len(parts) == 1 and type(parts[0]) is bytes and parts[0]:  # as nearly all are, in no time
        size = len(parts[0])
        return Serialized(serializer.name, type_name(value), (parts[0],), (size,))
    try:
        views = tuple([memoryview(part).cast("B") for part in parts])
    except Exception as error:  # noqa: BLE001 - a registered serializer may give anything
        refuse(key, serializer, error)
    if not views or not views[0].nbytes:
        raise InvalidStateError(
            f"the value of key {key!r} cannot be saved: the serializer {serializer.name!r} gave "
            "an empty stream",
            key=key,
        )
    return Serialized(serializer.name, type_name(value), views, tuple(map(len, views)))


def refuse(key: str, serializer: Serializer, error: Exception) -> NoReturn:
    """Raise InvalidStateError for what serializing a value raised; MemoryError stays what it is."""
    if isinstance(error, MemoryError):
        raise error
    reason = f"({type(error).__name__}: {error})"
    if serializer.name == PICKLE:
        message = (
            f"the value of key {key!r} cannot be pickled {reason}; leave it out of the state or "
            "give its class a __getstate__"
        )
    else:
        message = (
            f"the value of key {key!r} cannot be saved by the serializer {serializer.name!r} "
            f"{reason}; change it or leave it out of the state"
        )
    raise InvalidStateError(message, key=key) from error


def restore(serializer: str, parts: Sequence[Buffer], trusted: TrustedGlobals | None) -> Any:
    """Return the value that `dump` was given.

    The serializer must be known. Raises Untrusted for a pickle that names what is not `trusted`
    (None: all is); whatever restoring raises passes through.
    """
    if trusted is not None and serializer == PICKLE:
        return trusted.load(parts)
    return _known[serializer].load(parts)


def restorer(serializer: str, trusted: TrustedGlobals | None) -> Callable[[bytes], Any]:
    """Return what does as `restore` does, for a value of one part; ten thousand times a little."""
    if trusted is None and serializer == PICKLE:
        return pickle.loads
    return lambda part: restore(serializer, [memoryview(part)], trusted)


def type_name(value: object) -> str:
    """Return the name of the value's type, without its module for a builtin."""
    return name_of(type(value))


def name_of(cls: type[object]) -> str:
    """Return the name of a type, without its module for a builtin."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    name = f"{cls.__module__}.{cls.__qualname__}"
    # A class that was made by a program may have any: a rebuild could not read its manifest.
    return name if is_storable(name) else ascii(name)[1:-1]
