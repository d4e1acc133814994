"""Rooms for operations to act in, and the verdict on what is left in one."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from operations import Operation

ACKNOWLEDGED = "acknowledged"  # a file of the room that is made when the operation is done
LOST = "acknowledged, and lost"


def in_a_child(do: Callable[[], None]) -> str | None:
    """Run a function in a process of its own; return what it raised, as text."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            do()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - told by the parent
            os.write(writable, traceback.format_exc().encode()[-4_000:])
            os._exit(1)
    os.close(writable)
    with os.fdopen(readable, "rb") as told:
        text = told.read().decode()
    _, status = os.waitpid(pid, 0)
    return (text or f"it ended with {status}") if status else None


@contextmanager
def prepared(operation: Operation) -> Iterator[Path]:
    """A directory with a `room` in it, ready for the operation; in memory, if there is a place."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        room = Path(name) / "room"
        room.mkdir()
        failed = in_a_child(lambda: operation.prepare(room))
        assert failed is None, failed
        yield Path(name)


def acknowledging(operation: Operation, room: Path) -> Callable[[], None]:
    """The operation, which makes a file when it is done."""
    return lambda: operation.act(room, (room / ACKNOWLEDGED).touch)


_passed: set[tuple[str, str]] = set()  # rooms of an operation in which nothing was wrong


def verdict(operation: Operation, room: Path) -> str | None:
    """Return what is wrong with what was left in a room; it is removed.

    Of rooms that are the same, byte for byte, one is looked at: most calls leave what others left.
    """
    seen = (room.parent.name, _digest(room))

    def judge() -> None:
        found = operation.look(room)
        if (room / ACKNOWLEDGED).exists():
            assert found == operation.after, f"{LOST}: {found!s:.2000}"
        else:
            assert found in (operation.before, operation.after), f"neither nor: {found!s:.2000}"
        operation.go_on(room)

    try:
        failed = None if seen in _passed else in_a_child(judge)
    finally:
        shutil.rmtree(room)
    if failed is None:
        _passed.add(seen)
    return failed


def _digest(room: Path) -> str:
    """Of all that the next process finds: not of SQLite's shared memory, which it makes anew."""
    digest = hashlib.sha256()
    for path in sorted(room.rglob("*")):
        if not path.name.endswith("-shm"):
            content = path.read_bytes() if path.is_file() else None
            told = path.relative_to(room), path.lstat().st_mode, content and len(content)
            digest.update(repr(told).encode())
            digest.update(content or b"")
    return digest.hexdigest()


def is_loss_refused(operation: Operation) -> bool:
    """Say whether the verdict on a room where nothing was done, but acknowledged, is that."""
    with prepared(operation) as place:
        (place / "room" / ACKNOWLEDGED).touch()
        return f"AssertionError: {LOST}" in (verdict(operation, place / "room") or "")
