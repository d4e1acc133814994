"""What tells one SQLite file, and one state of it, from another."""

from __future__ import annotations

import os
import sqlite3
import urllib.parse
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa


def path_of(url: sa.URL) -> Path | None:
    """Return the SQLite file that a URL names; None for a server."""
    if url.get_backend_name() != "sqlite":
        return None
    name = url.database or ""
    return Path(urllib.parse.unquote(name[5:]) if name.startswith("file:") else name)


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


def truncate_log(path: Path) -> None:
    """Write a database's log back into it and empty it, if nobody reads or writes just now."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
