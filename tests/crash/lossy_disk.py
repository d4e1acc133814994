"""A disk that keeps what was flushed, and of the rest what it likes.

Bytes of a file are durable after its flush, names after the flush of the directory that has them.
Of what was not flushed each block of 4 KiB and each change of a name may be there or not, in any
order; blocks that were never written are zeros. A file system with a journal keeps more order:
what survives this survives that. A rename within a directory is one change; from one to another
the old name may stay beside the new one, and never goes without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from effects import Directory, Effect, Names, Recorder, Sync, Truncate, Write

BLOCK_BYTES = 4_096
Tree = dict[str, bytes | None]  # None: a directory


@dataclass
class File:
    """What a file holds for certain, and what was done to it since."""

    durable: bytes = b""
    pending: list[Write | Truncate] = field(default_factory=list)

    def content(self, keeps: Keeps) -> bytes:
        found = bytearray(self.durable)
        for effect in self.pending:
            if isinstance(effect, Truncate):
                if keeps(effect):
                    _resize(found, effect.size)
                continue
            for offset, data in _blocks(effect):
                if keeps(effect):
                    _resize(found, max(len(found), offset + len(data)))
                    found[offset : offset + len(data)] = data
        return bytes(found)


@dataclass
class Change:
    """A name that was given or taken: by a rename, never without what it did `first`."""

    name: str
    file: int | None
    first: Change | None = None
    is_beside: bool = False  # in the same directory
    is_kept: bool = False


@dataclass
class Folder:
    """Which names a directory has for certain, and what was changed since."""

    durable: dict[str, int] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)


Keeps = Callable[[object], bool]


class LossyDisk:
    """What the effects so far left on a disk."""

    def __init__(self, recorder: Recorder) -> None:
        """Begin with what lies in a room, all of it durable."""
        room = recorder.room
        self._root = recorder.number_of(room)
        self._files: dict[int, File] = {}
        self._folders: dict[int, Folder] = {self._root: Folder()}
        for path in sorted(room.rglob("*")):
            number = recorder.number_of(path)
            if path.is_dir():
                self._folders[number] = Folder()
            else:
                self._files[number] = File(path.read_bytes())
            self._folders[recorder.number_of(path.parent)].durable[path.name] = number

    def do(self, effect: Effect) -> None:
        if isinstance(effect, Directory):
            self._folders[effect.directory] = Folder()
        elif isinstance(effect, Names):
            self._rename(effect)
        elif isinstance(effect, Sync):
            self._sync(effect.what)
        else:
            self._files.setdefault(effect.file, File()).pending.append(effect)

    def _rename(self, effect: Names) -> None:
        first = None
        for directory, name, file in effect.changed:
            change = Change(name, file, first, is_beside=directory == effect.changed[0][0])
            self._folders[directory].pending.append(change)
            first = change
            if file is not None and file not in self._folders:
                self._files.setdefault(file, File())

    def _sync(self, what: int) -> None:
        if what in self._folders:
            folder = self._folders[what]
            left = []
            for change in folder.pending:
                if change.first is not None and not change.first.is_kept:
                    left.append(change)
                    continue
                _apply(folder.durable, change)
                change.is_kept = True
            folder.pending = left
        elif what in self._files:
            file = self._files[what]
            file.durable, file.pending = file.content(lambda _: True), []

    def after_a_cut(self, keeps: Keeps) -> Tree:
        """What is there when the power is back, if of what was not flushed so much was kept."""
        changes = [each for folder in self._folders.values() for each in folder.pending]
        kept = {id(each) for each in changes if each.first is None and keeps(each)}
        names = {number: _names(folder, keeps, kept) for number, folder in self._folders.items()}
        found: Tree = {}
        self._walk(self._root, "", names, keeps, found)
        return found

    def _walk(
        self, number: int, path: str, names: dict[int, dict[str, int]], keeps: Keeps, found: Tree
    ) -> None:
        for name, file in sorted(names[number].items()):
            below = f"{path}/{name}" if path else name
            if file in self._folders:
                found[below] = None
                self._walk(file, below, names, keeps, found)
            else:
                found[below] = self._files[file].content(keeps)


def _names(folder: Folder, keeps: Keeps, kept: set[int]) -> dict[str, int]:
    found = dict(folder.durable)
    for change in folder.pending:
        first = change.first
        if first is None:
            is_there = id(change) in kept
        else:
            is_there = first.is_kept or id(first) in kept
            is_there = is_there and (change.is_beside or keeps(change))
        if is_there:
            _apply(found, change)
    return found


def write_tree(tree: Tree, room: Path) -> None:
    room.mkdir()
    for name, content in tree.items():
        if content is None:
            (room / name).mkdir()
        else:
            (room / name).write_bytes(content)


def _apply(names: dict[str, int], change: Change) -> None:
    if change.file is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.file


def _resize(content: bytearray, size: int) -> None:
    content.extend(bytes(max(0, size - len(content))))
    del content[size:]


def _blocks(write: Write) -> list[tuple[int, bytes]]:
    """A write cut at the borders of blocks."""
    found = []
    offset, data = write.offset, write.data
    while data:
        length = BLOCK_BYTES - offset % BLOCK_BYTES
        found.append((offset, data[:length]))
        offset, data = offset + length, data[length:]
    return found
