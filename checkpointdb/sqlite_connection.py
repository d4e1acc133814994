"""How a connection to a SQLite file is set up, and what its schema must not have."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from weakref import ref

import sqlalchemy as sa

from checkpointdb.contexts import contextmanager
from checkpointdb.errors import CorruptionError
from checkpointdb.schema import metadata


class Connection(sqlite3.Connection):
    """A connection that can stop reading.

    Who keeps an exception, as IPython does the last one, keeps the cursors of its frames; and one
    that was not read to its end keeps its connection at what it began to read, whatever
    transaction comes next.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cursors: set[ref[sqlite3.Cursor]] = set()  # those that live

    def cursor(self, *args: Any, **options: Any) -> Any:
        made: sqlite3.Cursor = super().cursor(*args, **options)
        self._cursors.add(ref(made, self._cursors.discard))
        return made

    def stop_reading(self) -> None:
        """Close the cursors that somebody still has."""
        for each in [*self._cursors]:
            cursor = each()
            if cursor is not None:
                cursor.close()


def stop_reading(connection: Connection | None, _record: object) -> None:
    """Stop what is still being read by a connection that nobody uses for now."""
    if connection is not None:  # or it was given up
        connection.stop_reading()


def configure(connection: sqlite3.Connection, *, durable: bool) -> None:
    """Set what lasts as long as a connection.

    The last two are against a file that is damaged or forged: cells are checked to lie within
    their page, and its schema can call no function that has side effects.
    """
    connection.isolation_level = None  # transactions are begun by `Database`
    connection.execute("PRAGMA foreign_keys = ON")
    # EXTRA: where there is a journal in place of a log, as in a backup put back, a commit is that
    # it is unlinked, which FULL does not flush. With a log both are the same.
    connection.execute(f"PRAGMA synchronous = {'EXTRA' if durable else 'NORMAL'}")
    connection.execute("PRAGMA fullfsync = ON")  # of macOS; elsewhere it does nothing
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -16384")  # KiB
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def refuse_writes(connection: sqlite3.Connection, _record: object) -> None:
    """Make a connection refuse to write."""
    connection.execute("PRAGMA query_only = ON")


# What a statement that only asks consists of. Not a list of what is refused: the next version of
# SQLite may have something new.
_ASKING = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
# Besides, these pragmas tell of the schema; as others, they could set something.
_TELLING = {"table_info", "table_xinfo", "table_list", "index_list", "index_info"}


@contextmanager
def only_questions(connection: sqlite3.Connection, seconds: float | None) -> Iterator[None]:
    """Refuse all statements but SELECT, EXPLAIN and pragmas that tell of the schema.

    What runs longer than `seconds` from now is given up. `query_only` alone lets ATTACH make a
    file, and a PRAGMA switch it off.
    """

    def judge(action: int, name: str | None, *_: object) -> int:
        if action in _ASKING or (action == sqlite3.SQLITE_PRAGMA and name in _TELLING):
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    deadline = time.monotonic() + (seconds or 0)
    connection.set_authorizer(judge)
    if seconds is not None:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    finally:  # the transaction's own ROLLBACK would be refused too
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)


_STEPS = 10_000  # of SQLite's machine between two looks at the clock: under a millisecond


def roll_back(connection: Connection, *_: object) -> None:
    """End what a connection does that an interrupt made SQLAlchemy give up.

    It closes it next, and SQLite keeps a closed connection, locks and all, for as long as a
    statement of it is unfinished: every other process would wait for that.
    """
    try:
        connection.stop_reading()
    finally:
        connection.rollback()


# SHA-256 of the view `key_history`, the only one that we ask ourselves, as each revision of the
# schema has it: whoever can write the file could put one there that never ends.
_HISTORIES = {"dca402350f21459d77ab7f703720f023f1aeceaba89ba42bc9bb16496b9a6bb2"}


# Not in Core, like the PRAGMAs: it is asked once for each engine, and Core would compile it anew
# for each, which takes a tenth of an opening.
_SUSPECTS = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('trigger', 'view')"


def check_schema(connection: sa.Connection, where: str) -> None:
    """Raise CorruptionError for SQL in the schema that would run when we read or write.

    We make no trigger, our tables are tables, and our view is what the migrations made. What
    else is there, such as a view of the user's own, runs when somebody asks for it.
    """
    for found in connection.exec_driver_sql(_SUSPECTS):
        if found.type == "view" and not _is_forged(found.name, found.sql):
            continue
        raise CorruptionError(
            f"the database {where!r} has a {found.type} {found.name!r} that checkpointdb did not "
            "make, and that would run when the store is used: drop it, or rebuild the database"
        )


def _is_forged(view: str, sql: str) -> bool:
    name = view.lower()  # SQLite ignores case
    if name == "key_history":
        return sha256(sql.encode()).hexdigest() not in _HISTORIES
    return name in metadata.tables
