"""Lets another do something whole right before a call that sees, or changes, what all see.

By the profile function of the interpreter, which is told of each call: of
SQLite and of PostgreSQL alike. Only the thread that enters is told of; the other runs in one of its
own, and may have to wait for what this one holds.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import NamedTuple

_LONG_SECONDS = 0.4  # for the other to end, if it has not to wait for this one
_IN_SQLITE = {"execute", "executemany", "commit", "rollback"}
_IN_PSYCOPG = ("psycopg/cursor.py", "psycopg/connection.py")
_ON_SOCKETS = {"connect", "send", "sendall"}
_OF_FILES = {
    "chmod",
    "link",
    "listdir",
    "lstat",
    "mkdir",
    "open",
    "posix_fallocate",
    "read",
    "remove",
    "rename",
    "replace",
    "rmdir",
    "scandir",
    "stat",
    "truncate",
    "unlink",
    "utime",
    "write",
}


class Call(NamedTuple):
    """A call of that name, by that line."""

    name: str
    code: CodeType
    line: int

    def __str__(self) -> str:
        return f"{self.name} in {self.code.co_qualname}:{self.line}"


class Meanwhile:
    """Within it, calls of the thread are told one by one to `at`, which may let the other act."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def at(self) -> None:
        """Called right before each call, the last of `calls`."""

    def points(self) -> list[int]:
        """Return the numbers of the first and the last call by each line."""
        first: dict[Call, int] = {}
        last: dict[Call, int] = {}
        for number, call in enumerate(self.calls):
            first.setdefault(call, number)
            last[call] = number
        return sorted({*first.values(), *last.values()})

    def __enter__(self) -> None:
        sys.setprofile(self._told)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _told(self, frame: FrameType, event: str, called: object) -> None:
        name = _name_of(frame, event, called)
        if name is None:
            return
        caller: FrameType | None = frame
        while caller is not None and not _is_ours(caller):
            caller = caller.f_back
        caller = caller or frame
        self.calls.append(Call(name, caller.f_code, caller.f_lineno))
        self.at()


class OtherAt(Meanwhile):
    """Lets the other act before the call of that number, the first being 0."""

    def __init__(self, number: int, act: Callable[[], None]) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._number = number
        self._act = act
        self._other: threading.Thread | None = None

    @property
    def has_come(self) -> bool:
        return self._other is not None

    def at(self) -> None:
        if len(self.calls) == self._number + 1:
            self._other = threading.Thread(target=self._run)
            self._other.start()
            self._other.join(_LONG_SECONDS)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._other is not None:
            self._other.join()

    def _run(self) -> None:
        try:
            self._act()
        except BaseException as error:  # noqa: BLE001 - judged by who entered
            self.error = error


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("checkpointdb.")


def _name_of(frame: FrameType, event: str, called: object) -> str | None:
    """Return what is called, if others may see it or be seen by it."""
    if event == "call":
        code = frame.f_code
        is_seen = code.co_name in _IN_SQLITE and code.co_filename.endswith(_IN_PSYCOPG)
        return f"psycopg's {code.co_name}" if is_seen else None
    if event != "c_call":
        return None
    name = str(getattr(called, "__name__", ""))
    owner = getattr(called, "__self__", None)
    if isinstance(owner, (sqlite3.Connection, sqlite3.Cursor)):
        is_seen = name in _IN_SQLITE
    elif type(owner).__module__ == "_socket":
        is_seen = name in _ON_SOCKETS
    else:
        module = getattr(called, "__module__", None)
        is_seen = (module in {"posix", "nt", "_io"} and name in _OF_FILES) or module == "fcntl"
    return name if is_seen else None
