"""Records what an operation does to files: each effect with its bytes, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tracing import Child, Stop

WRITES = {"write", "pwrite64", "writev", "sendfile", "copy_file_range"}
_WITHOUT_EFFECT = {"chmod", "fchmod"}  # that what is there is private is not lost here
_HERE = -100 & (2**64 - 1)  # AT_FDCWD


@dataclass(frozen=True)
class Write:
    """Bytes at an offset of a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    """A file cut, or lengthened by zeros."""

    file: int
    size: int


@dataclass(frozen=True)
class Sync:
    """All of a file, or of a directory, made durable."""

    what: int


@dataclass(frozen=True)
class Names:
    """Names of directories that change at once: (directory, name) to a file, or to none."""

    changed: tuple[tuple[int, str, int | None], ...]


@dataclass(frozen=True)
class Directory:
    """A directory made, which has no name yet."""

    directory: int


Effect = Write | Truncate | Sync | Names | Directory


class Recorder:
    """Says what each stop of a child did. Files and directories get numbers, never used again."""

    def __init__(self, room: Path) -> None:
        self.room = room
        self._numbers: dict[int, int] = {}  # by inode, whose numbers are used again
        self._last = 0
        for path in [room, *sorted(room.rglob("*"))]:
            self._number(path.lstat().st_ino)

    def number_of(self, path: Path) -> int:
        return self._number(path.lstat().st_ino)

    def record(self, act: Callable[[], None]) -> Iterator[Effect]:
        child = Child(act)
        before: dict[int, _Before] = {}
        for stop in child.stops(with_results=True):
            if stop.result is None:
                before[stop.thread] = self._before(stop)
            elif stop.result >= 0:
                yield from self._effects(stop, before.pop(stop.thread))
        assert child.exit == 0, f"it fails by itself: {child.exit}"

    def _number(self, inode: int) -> int:
        return self._numbers.get(inode) or self._new(inode)

    def _new(self, inode: int) -> int:
        self._last += 1
        self._numbers[inode] = self._last
        return self._last

    def _before(self, stop: Stop) -> _Before:
        if stop.call in _PATHS:
            paths = files_of(stop)
            return _Before(paths, [os.path.lexists(each) for each in paths], 0)
        is_at = stop.call in WRITES and stop.call != "pwrite64"
        return _Before([], [], _position(stop) if is_at else 0)

    def _effects(self, stop: Stop, before: _Before) -> Iterator[Effect]:
        if before.paths:
            if self._is_inside(before.paths[-1]):
                yield from self._of_names(stop.call, before)
        elif stop.call not in _WITHOUT_EFFECT and self._is_inside(_opened(stop)):
            yield from self._of_bytes(stop, before.position)

    def _is_inside(self, path: Path) -> bool:
        """The index beside SQLite's log is made anew after each crash: it is left out."""
        return path.is_relative_to(self.room) and not path.name.endswith("-shm")

    def _of_names(self, call: str, before: _Before) -> Iterator[Effect]:
        path, other = before.paths[0], before.paths[-1]
        if call == "openat":
            if not before.existed[0]:
                yield Names((self._named(path, self._new(path.lstat().st_ino)),))
            else:
                yield Truncate(self.number_of(path), path.stat().st_size)
        elif call.startswith("mkdir"):
            made = self._new(path.lstat().st_ino)
            yield Directory(made)
            yield Names((self._named(path, made),))
        elif call.startswith("link"):
            yield Names((self._named(other, self.number_of(other)),))
        elif call.startswith("rename"):
            yield Names((self._named(other, self.number_of(other)), self._named(path, None)))
        else:
            yield Names((self._named(path, None),))

    def _named(self, path: Path, file: int | None) -> tuple[int, str, int | None]:
        return self.number_of(path.parent), path.name, file

    def _of_bytes(self, stop: Stop, position: int) -> Iterator[Effect]:
        file = Path(f"/proc/{stop.thread}/fd/{_descriptor(stop)}")
        number = self._number(file.stat().st_ino)
        if stop.call in WRITES:
            offset = stop.arguments[3] if stop.call == "pwrite64" else position
            with file.open("rb") as content:
                content.seek(offset)
                yield Write(number, offset, content.read(stop.result))
        elif stop.call in {"ftruncate", "fallocate"}:
            yield Truncate(number, file.stat().st_size)
        elif stop.call in {"fsync", "fdatasync"}:
            yield Sync(number)


@dataclass(frozen=True)
class _Before:
    paths: list[Path]
    existed: list[bool]
    position: int


# Which arguments are the directory (None: there is none) and the path.
_PATHS = {
    "access": [(None, 0)],
    "faccessat": [(0, 1)],
    "faccessat2": [(0, 1)],
    "stat": [(None, 0)],
    "lstat": [(None, 0)],
    "newfstatat": [(0, 1)],
    "statx": [(0, 1)],
    "openat": [(0, 1)],
    "mkdir": [(None, 0)],
    "mkdirat": [(0, 1)],
    "rmdir": [(None, 0)],
    "unlink": [(None, 0)],
    "unlinkat": [(0, 1)],
    "link": [(None, 0), (None, 1)],
    "linkat": [(0, 1), (2, 3)],
    "rename": [(None, 0), (None, 1)],
    "renameat": [(0, 1), (2, 3)],
    "renameat2": [(0, 1), (2, 3)],
}


def files_of(stop: Stop) -> list[Path]:
    """Return the paths that a call names, or of the file that it has open."""
    if stop.call in _PATHS:
        return [_path(stop, *at) for at in _PATHS[stop.call]]
    return [_opened(stop)]


def _descriptor(stop: Stop) -> int:
    at = {"sendfile": 0, "copy_file_range": 2}.get(stop.call, 0)
    return stop.arguments[at]


def _opened(stop: Stop) -> Path:
    found = str(Path(f"/proc/{stop.thread}/fd/{_descriptor(stop)}").readlink())
    return Path(found.removesuffix(" (deleted)"))


def _position(stop: Stop) -> int:
    told = Path(f"/proc/{stop.thread}/fdinfo/{_descriptor(stop)}").read_text()
    return int(told.split()[1])


def _path(stop: Stop, directory: int | None, at: int) -> Path:
    base = Path(f"/proc/{stop.thread}/cwd")
    if directory is not None and stop.arguments[directory] % 2**32 != _HERE % 2**32:
        base = Path(f"/proc/{stop.thread}/fd/{stop.arguments[directory]}")
    with Path(f"/proc/{stop.thread}/mem").open("rb", buffering=0) as memory:
        memory.seek(stop.arguments[at])
        text = memory.read(4_096).split(b"\0")[0]
    return Path(os.path.normpath(base.readlink() / os.fsdecode(text)))
