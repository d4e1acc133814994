"""What tells one SQLite file, and one state of it, from another."""

from __future__ import annotations

import os
import sqlite3
import time
import urllib.parse
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

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


def state_of(path: Path) -> tuple[int, int, bool] | None:
    """Return what changes when somebody writes to a database whose locks we cannot take."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, path.with_name(path.name + "-wal").exists()


def identity(path: str) -> tuple[int, int] | None:
    """Return what a file keeps for as long as it is the same file; None if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def create_file(path: Path, busy_seconds: float) -> None:
    """Create a new SQLite file, with what can only be set before its first table.

    Only a new one is opened by ourselves: to close any descriptor of a database would drop
    all locks that SQLite holds on it in this process.
    """
    if path.exists() and path.stat().st_size:
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
            with sqlite3.connect(path, timeout=busy_seconds) as connection:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.close()
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
