"""Where the bytes of a streamed value come from before they are saved."""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from types import GeneratorType
from typing import IO, Any, Protocol
from weakref import WeakValueDictionary, ref

from checkpointdb.errors import InvalidInputError, StateChangedError

Buffer = bytes | bytearray | memoryview
Streamable = (
    str
    | os.PathLike[str]
    | IO[bytes]
    | Buffer
    | Iterable[Buffer]
    | Callable[[], "IO[bytes] | Buffer | Iterable[Buffer]"]
)

_PIECE_BYTES = 1 << 20
_JOINED_BYTES = 64 << 10  # less than this is not worth a call
_BYTES_LIKE = (bytes, bytearray, memoryview)


class Source(Protocol):
    """Bytes that can be opened for reading: each time anew, or once."""

    @property
    def is_once(self) -> bool:
        """Say whether it can be opened only once. May raise what opening raises."""
        ...

    @property
    def raw_bytes(self) -> int | None: ...

    def open(self) -> io.RawIOBase:
        """Open it at its first byte. Reading and opening may raise anything."""
        ...


def source_of(given: object) -> Source:
    """Return what `given` is as a source. Raises InvalidInputError if it is none."""
    if isinstance(given, (str, os.PathLike)):
        return _Path(given)
    if isinstance(given, io.TextIOBase):
        raise InvalidInputError("a file in text mode is no stream of bytes: open it with mode 'rb'")
    if isinstance(given, _BYTES_LIKE):
        return _Call(lambda: given, memoryview(given).nbytes)
    if hasattr(given, "read") and not isinstance(given, type):
        return _seekable(given) or _once(given)
    if callable(given):
        return _Call(given)
    if isinstance(given, Iterator):
        return _once(given)
    if isinstance(given, Iterable):
        return _Once(given)
    raise InvalidInputError(
        "a StreamedValue is made of a path, a binary file, an iterable of bytes, or a function "
        f"that opens one, not of {type(given).__name__}"
    )


class _Path:
    """A file by its name; what is no regular file (a pipe) can be read once."""

    raw_bytes = None

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)

    @property
    def is_once(self) -> bool:
        return not stat.S_ISREG(os.stat(self._path).st_mode)  # noqa: PTH116 - a name, not a Path

    def open(self) -> io.RawIOBase:
        file = io.FileIO(self._path)
        return _Reading(file, file.close)


class _Call:
    """A function that opens the bytes anew."""

    is_once = False

    def __init__(self, function: Callable[[], Any], raw_bytes: int | None = None) -> None:
        self._function = function
        self._before: object = None  # what it gave last, if that can be read only once
        self.raw_bytes = raw_bytes

    def open(self) -> io.RawIOBase:
        given = self._function()
        if hasattr(given, "read") or isinstance(given, Iterator):
            if given is self._before:  # by now it is at its end, and would pass for empty
                raise InvalidInputError(
                    "its function returned the same file or iterator again, which was read "
                    "already: let it return a new one each time it is called"
                )
            self._before = given
        return _reading(given, getattr(given, "close", None))


class _File:
    """An open file that can be sought in, from where it stood; one reader has it at a time."""

    is_once = False
    raw_bytes = None

    def __init__(self, file: Any, start: int) -> None:
        self._file = file
        self._start = start
        self._in_use = threading.Lock()

    def open(self) -> io.RawIOBase:
        if not self._in_use.acquire(blocking=False):
            raise InvalidInputError(
                "the file of this stream is being read already, and has one position: give its "
                "path, or a function that opens it"
            )
        try:
            self._file.seek(self._start)
            return _reading(self._file, self._in_use.release)
        except BaseException:
            self._in_use.release()
            raise


def _seekable(file: Any) -> _File | None:
    try:
        return _File(file, file.tell()) if file.seekable() else None
    except (AttributeError, OSError, ValueError):  # no such method; a pipe; closed
        return None


class _Once:
    """What is gone when it was read."""

    is_once = True
    raw_bytes = None

    def __init__(self, given: Any) -> None:
        self._left = [given]  # popped by one thread alone

    def open(self) -> io.RawIOBase:
        try:
            given = self._left.pop()
        except IndexError:
            raise InvalidInputError(
                "this stream was read already, by a save that goes on or has failed: make a new "
                "StreamedValue of what it came from"
            ) from None
        _unread.pop(id(given), None)
        if _is_gone_when_read(given):
            _note_read(given)
        return _reading(given)


_unread: WeakValueDictionary[int, _Once] = WeakValueDictionary()  # by what it is made of
_read: dict[int, ref[Any]] = {}  # what was read and cannot be again, for as long as it lives


def _once(given: Any) -> _Once:
    """Return the source of a file or iterator: one, however many StreamedValues are made of it."""
    return _unread.setdefault(id(given), _Once(given))


def _is_gone_when_read(given: Any) -> bool:
    """Say whether there is no way back to what was read."""
    if not hasattr(given, "read"):
        return isinstance(given, Iterator)
    try:
        return not given.seekable()
    except AttributeError:
        return not hasattr(given, "seek")
    except (OSError, ValueError):  # closed
        return True


def _note_read(given: Any) -> None:
    """Note that it is read now. Raises InvalidInputError if it was before: the rest is no whole.

    Of what takes no weak reference, such as the iterator of a list, that is not known.
    """
    key = id(given)
    try:
        noted = ref(given, lambda _: _read.pop(key, None))
    except TypeError:
        return
    if _read.setdefault(key, noted) is not noted:
        raise InvalidInputError(
            "the file or iterator that it is made of was read already, by another StreamedValue: "
            "make it anew"
        )


# --- reading


def _reading(given: Any, release: Callable[[], object] | None = None) -> io.RawIOBase:
    """Read what was given; `release` is called at the end, and an iterator is closed then."""
    if isinstance(given, _BYTES_LIKE):
        return Flowing(iter([given]))
    if hasattr(given, "readinto"):
        return _Reading(given, release)
    if hasattr(given, "read"):
        return Flowing(_pieces(given), release)
    if isinstance(given, GeneratorType) and given.gi_frame is None:
        raise InvalidInputError("its generator was read already: make it anew")
    if isinstance(given, Iterable):
        return Flowing(iter(given), getattr(given, "close", None))
    raise TypeError(f"a stream is a binary file or an iterable of bytes, not {given!r:.200}")


def _pieces(file: Any) -> Iterator[Buffer]:
    while True:
        piece = _bytes_of(file.read(_PIECE_BYTES))
        if not piece:
            return
        yield piece


class _Reading(io.RawIOBase):
    """A file, and an error if it was changed meanwhile."""

    def __init__(self, file: Any, release: Callable[[], object] | None = None) -> None:
        self._file = file
        self._release = release
        self._before = _marks(file)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any, /) -> int:
        count = self._file.readinto(target)
        if count is None:
            raise BlockingIOError("the file of a stream must not be in non-blocking mode")
        if not 0 <= count <= len(target):
            raise InvalidInputError(
                f"its readinto says that it read {count} bytes, where there was room for "
                f"{len(target)}: it has to return how many it put there"
            )
        if not count and len(target) and _marks(self._file) != self._before:
            raise StateChangedError("its file was changed while it was read")
        return int(count)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if self._release is not None:
            self._release()


def _marks(file: Any) -> tuple[int, int] | None:
    """Return size and time of a regular file; None for what is none."""
    try:
        found = os.fstat(file.fileno())
    except (AttributeError, OSError, ValueError):  # BytesIO, an archive's member
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


class Flowing(io.RawIOBase):
    """Pieces of bytes, of any lengths, as a file."""

    def __init__(self, pieces: Iterator[Any], release: Callable[[], object] | None = None) -> None:
        # Each read goes on where the one before has ended, also where `iter` begins anew.
        self._pieces = (piece for piece in pieces)
        self._release = release
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any, /) -> int:
        if not self._rest:
            self._rest = _joined(self._pieces)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if self._release is not None:
            self._release()


def _joined(pieces: Iterator[Any]) -> memoryview:
    """Return what comes next, of small pieces (lines, say) several; nothing at the end.

    One that can be changed is copied before the next is asked for: a buffer may be filled anew.
    """
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        if type(piece) is not bytes:
            view = _bytes_of(piece)
            if view and not gathered:
                return view
            piece = bytes(view)
        gathered.append(piece)
        size += len(piece)
        if size >= _JOINED_BYTES:
            break
    return memoryview(gathered[0] if len(gathered) == 1 else b"".join(gathered))


def _bytes_of(piece: Any) -> memoryview:
    if isinstance(piece, str):
        raise TypeError("a stream gives bytes, not text: encode it, or open the file with 'rb'")
    view = memoryview(piece)
    return view.cast("B") if view.nbytes else memoryview(b"")
