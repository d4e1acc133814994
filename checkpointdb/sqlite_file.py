"""What tells one SQLite file, and one state of it, from another."""

from __future__ import annotations

import os
import sqlite3
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from checkpointdb.contexts import contextmanager
from checkpointdb.database_errors import translate
from checkpointdb.errors import StoreUnavailableError

APPLICATION_ID = 0x436B7044  # "CkpD", in the header of the file: `file` and we know it


def path_of(url: sa.URL) -> Path | None:
    """Return the SQLite file that a URL names; None for a server."""
    if url.get_backend_name() != "sqlite":
        return None
    name = url.database or ""
    quoted = name.removeprefix("file:")
    return Path(os.fsdecode(urllib.parse.unquote_to_bytes(quoted)) if quoted != name else name)


class Unwritten:
    """A database whose locks we cannot take, and which SQLite is told that nobody writes.

    To be made before it is opened: what is written from then on is noticed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._as_opened = _state_of(path)

    @property
    def has_log(self) -> bool:
        """Whether there is a log with content, which SQLite would pass over."""
        return self._as_opened is not None and self._as_opened.log_bytes > 0

    @contextmanager
    def seen(self) -> Iterator[None]:
        """See that it is as it was, from the first query to the last.

        Else these would answer of two states, or fail as if it were damaged.
        """
        self._check()
        try:
            yield
        except Exception:
            self._check()
            raise
        self._check()

    def _check(self) -> None:
        if _state_of(self._path) != self._as_opened:
            raise StoreUnavailableError(
                f"the store {str(self._path)!r} was opened read-only, and somebody has written to "
                "it since: open it again"
            )


class _State(NamedTuple):
    """What changes when somebody writes to a database."""

    stored_bytes: int
    modified_ns: int
    log_bytes: int  # 0 without a log, too: who opens a database makes an empty one


def _state_of(path: Path) -> _State | None:
    found = _seen(path)
    if found is None:
        return None
    return _State(found.st_size, found.st_mtime_ns, size_of(f"{path}-wal"))


def identity(path: str) -> tuple[int, int] | None:
    """Return what a file keeps for as long as it is the same file; None if there is none.

    Raises StoreUnavailableError if it cannot be looked at.
    """
    found = _seen(path)
    return None if found is None else (found.st_dev, found.st_ino)


def size_of(path: str | Path) -> int:
    """Return how long a file is; 0 if there is none. Raises StoreUnavailableError as above."""
    found = _seen(path)
    return 0 if found is None else found.st_size


def expect_same(
    path: str, file: tuple[int, int], opened: dict[Any, Any], *, is_committed: bool
) -> None:
    """Raise StoreUnavailableError unless a file and its log are those that are open.

    SQLite goes on writing to a file that was unlinked, and what it acknowledges is lost. The
    log stays the same file while a connection is open, unless the locks were lost: by a
    program that copied the database in this process, for one. `opened` keeps what a
    connection found at first.
    """
    try:
        found, log = identity(path), identity(f"{path}-wal")
    except StoreUnavailableError as error:
        committed = "what was done is there unless that file was removed or replaced just then"
        told = committed if is_committed else "nothing was changed"
        raise StoreUnavailableError(f"{error}: {told}") from error
    if found != file or log != opened.setdefault("log", log):
        raise StoreUnavailableError(
            f"the database {path!r} or its log was removed or replaced while it was open: nothing "
            "is acknowledged; open the store again"
        )


def _seen(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailableError(
            f"{str(path)!r} cannot be looked at ({error.strerror})"
        ) from error


def create_file(path: Path, busy_seconds: float) -> None:
    """Create a new SQLite file, with what can only be set before its first table.

    Only a new one is opened by ourselves: to close any descriptor of a database would drop
    all locks that SQLite holds on it in this process.
    """
    if size_of(path):
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass  # another process was first; both set the same
    except OSError as error:
        raise StoreUnavailableError(
            f"the database {str(path)!r} cannot be made: {error.strerror}"
        ) from error
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            with closing(sqlite3.connect(path, timeout=busy_seconds)) as connection:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.commit()
            return
        except sqlite3.DatabaseError as error:
            # Two processes that create at once: the change to WAL does not wait by itself.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise translate(error, str(path), busy_seconds) from error
            time.sleep(0.01)


def give_back_pages(path: Path, busy_seconds: float) -> int:
    """Give the pages that a database no longer uses back to the disk; return how many.

    Only where it is worth it, and some at a time, so that others may write in between. The file
    is shorter once its log is written back. Not by VACUUM, which writes all of it anew and locks
    everybody out meanwhile; the database was made with `auto_vacuum = INCREMENTAL`. What `sqlite3`
    raises passes through.
    """
    with closing(sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)) as connection:
        first = left = _free_pages(connection)
        while left >= _MANY_PAGES:
            # As a script: `execute` stops after the first page.
            connection.executescript(f"PRAGMA incremental_vacuum({_MANY_PAGES})")
            now = _free_pages(connection)
            if now >= left:
                break  # one that somebody made without auto_vacuum
            left = now
        if left < first:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    return first - left


_MANY_PAGES = 500  # of 4 KiB, mostly: fewer are used again soon


def _free_pages(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def truncate_log(path: Path) -> None:
    """Write a database's log back into it and empty it, if nobody reads or writes just now."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise translate(error, str(path), 0) from error
