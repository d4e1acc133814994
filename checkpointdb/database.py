"""The database: connections, transactions, and the schema's revisions.

A read transaction sees one state of the store from its first query on. A write transaction
begins by taking the write lock (in SQLite `BEGIN IMMEDIATE`; see `postgres` for a server): it
never has to be upgraded, and so never fails half way because another writer was first.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from checkpointdb.abandoned import end_abandoned
from checkpointdb.contexts import contextmanager
from checkpointdb.database_errors import (
    LostRace,
    busy,
    closed,
    contradiction,
    is_lost,
    translated,
    unknown_outcome,
)
from checkpointdb.errors import StoreUnavailableError
from checkpointdb.gate import Turns, follow_fork, is_unsafe_child, the_gate
from checkpointdb.idle_connections import IdleConnections
from checkpointdb.revisions import is_known, migrate, newer_schema, no_revision, older_schema
from checkpointdb.schema import metadata
from checkpointdb.sqlite_backup import back_up
from checkpointdb.sqlite_connection import Connection as SqliteConnection
from checkpointdb.sqlite_connection import (
    check_schema,
    configure,
    refuse_writes,
    roll_back,
    stop_reading,
)
from checkpointdb.sqlite_file import (
    Unwritten,
    create_file,
    expect_same,
    give_back_pages,
    identity,
    path_of,
)

if TYPE_CHECKING:
    from checkpointdb.postgres import Server

VERSION_TABLE = "checkpointdb_version"
HEAD_REVISION = "0008"  # the newest file in migrations/versions; a test compares
_BUSY_SECONDS = 60.0
# As SQLAlchemy's own pool: a server takes a hundred connections, by itself, from all processes.
_MOST_READERS = 15
_READ_SECONDS = 30.0


class Database:
    """A SQLAlchemy engine with this project's transactions. Threads share it; forks do not."""

    def __init__(
        self,
        url: str | sa.URL,
        *,
        durable: bool = True,
        busy_seconds: float = _BUSY_SECONDS,
        read_only: bool = False,
    ) -> None:
        self.url = sa.make_url(url)
        self.path = path_of(self.url)  # the SQLite file; None for a server
        self.server = None if self.path else _server(self.url, durable, busy_seconds)
        self.where = str(self.path) if self.server is None else self.server.where
        if self.path is not None and sqlite3.sqlite_version_info < (3, 35):
            raise StoreUnavailableError(
                f"SQLite {sqlite3.sqlite_version} is too old, 3.35 is needed (for RETURNING): use "
                "a Python that brings a newer one"
            )
        self.read_only = read_only
        self.durable = durable
        self.busy_seconds = busy_seconds
        self._pid = os.getpid()
        self._identity: tuple[int, int] | None = None
        self._writer_thread: int | None = None
        self._seen_unwritten: Callable[[], AbstractContextManager[None]] = nullcontext
        self._start()

    def __repr__(self) -> str:
        return f"Database({self.where!r})"

    @classmethod
    def open_read_only(cls, path: Path, *, busy_seconds: float = _BUSY_SECONDS) -> Database:
        """Open a SQLite file that cannot be written, nor the directory it lies in.

        SQLite reads a WAL database there only if its -wal and -shm files are there, or if it is
        told that nobody writes. A -wal that has content and cannot be used is refused.
        """
        options = {"uri": "true", "mode": "ro"}
        unwritten = Unwritten(path)
        if not unwritten.has_log:
            options["immutable"] = "1"
        quoted = urllib.parse.quote(os.fsencode(path.absolute()))
        url = sa.URL.create("sqlite", database=f"file:{quoted}", query=options)
        database = cls(url, busy_seconds=busy_seconds, read_only=True)
        if "immutable" in options:
            database._seen_unwritten = unwritten.seen
        return database

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that reads one state of the store."""
        self._follow_fork()
        begin = self.server.begin_read() if self.server else "BEGIN"
        # In the gate already: a fork must not wait for who waits here for who waits for it.
        with self._gate.passing(), self._readers.passing(), self._transaction(begin) as connection:
            yield connection

    @contextmanager
    def write(
        self, *, pipeline: int | None = None, retried: bool = False
    ) -> Iterator[sa.Connection]:
        """Open a transaction that may write; committed at the end, rolled back on an error.

        To the rows of a `pipeline`, given by its id; None: of the whole store. SQLite locks the
        whole store either way. Raises UnknownOutcomeError if a server's answer to the commit was
        lost.

        Where a constraint stops it, `retried` raises LostRace: the caller looks again. Nobody
        else can write to SQLite meanwhile, so rows that broke a constraint were broken before:
        CorruptionError; on a server StoreBusyError, as if other writers hold the store for longer
        than the time allowed for waiting.
        """
        self._follow_fork()
        # Threads of one process queue here: SQLite's own waiting is by polling, and unfair.
        writer, me = self._writer, get_ident()
        end_abandoned()
        if self._writer_thread == me:  # a signal's handler, within a transaction
            raise busy(self.busy_seconds)
        try:
            if not writer.acquire(timeout=self.busy_seconds):
                raise busy(self.busy_seconds)
            self._writer_thread = me
            begin = self.server.begin_write(pipeline) if self.server else "BEGIN IMMEDIATE"
            with self._transaction(begin) as connection:
                opened = connection.info  # of the pooled connection: it outlives the transaction
                self._check_files(opened)
                yield connection
                # Committed here, and not by leaving the block: once the connection is back in the
                # pool another thread may close it, and SQLite its log. If the files went
                # meanwhile, nothing is acknowledged.
                self._commit(connection)
                self._check_files(opened, is_committed=True)
        except LostRace as error:
            if retried:
                raise
            if self.path is None:
                raise busy(self.busy_seconds) from error
            raise contradiction(self.where, error) from error
        finally:
            # Nothing here calls a function before the release: an interrupt would come in it.
            if self._writer_thread == me:
                self._writer_thread = None
            try:  # noqa: SIM105
                writer.release()
            except RuntimeError:  # the lock was not to be had
                pass

    @contextmanager
    def read_only_connection(self) -> Iterator[sa.Connection]:
        """Open a read transaction for a user's own statements, which cannot write."""
        self._follow_fork()
        # On a connection of its own: what the user does to it must not reach a save.
        engine = sa.create_engine(self._url, poolclass=sa.NullPool, **self._options())
        if self.path is not None:
            sa.event.listen(engine.pool, "connect", self._connected)
            sa.event.listen(engine.pool, "connect", refuse_writes)
            sa.event.listen(engine.pool, "checkin", stop_reading)
            sa.event.listen(engine.pool, "invalidate", roll_back)
        if self.server is not None:
            sa.event.listen(engine, "before_cursor_execute", self.server.read_on)
        with self._gate.passing():
            with translated(self.where, self.busy_seconds):
                connection = engine.connect()
            # What the user's statements raise is SQLAlchemy's own: it is not about the store.
            with closed(connection):
                begin = self.server.begin_read() if self.server else "BEGIN"
                connection.connection.cursor().execute(begin)
                with self._seen_unwritten():
                    yield connection

    def give_back_pages(self) -> None:
        """Give what SQLite no longer uses back to the disk, after much was deleted."""
        if self.path is not None:
            with self._gate.passing(), translated(self.where, self.busy_seconds):
                give_back_pages(self.path, self.busy_seconds)

    def close(self) -> None:
        """Close the pool's connections; a later use opens new ones."""
        if self._pid == os.getpid():
            with self._gate.passing():  # SQLite has locks of its own, of which a child gets copies
                self._engine.dispose()

    # --- connections

    def _start(self) -> None:
        self._engine = sa.create_engine(self._url, poolclass=IdleConnections, **self._options())
        # It knows its owner: an interrupt right after `acquire` leaves nobody locked out.
        self._writer = threading.RLock()
        self._writer_thread = None
        self._readers = Turns(_MOST_READERS, _READ_SECONDS)
        self._gate = the_gate()
        self._gate.admit(self)
        if self.path is not None:
            sa.event.listen(self._engine.pool, "connect", self._connected)
            sa.event.listen(self._engine.pool, "checkin", stop_reading)
            sa.event.listen(self._engine.pool, "invalidate", roll_back)
        if self.server is not None:
            sa.event.listen(self._engine.pool, "checkin", self.server.checked_in)

    @property
    def server_url(self) -> sa.URL | None:
        """What opens this database again, if it is on a server."""
        return None if self.server is None else self.url

    @property
    def _url(self) -> sa.URL:
        return self.url if self.server is None else self.server.url

    def _options(self) -> dict[str, Any]:
        if self.server is not None:
            return self.server.options()
        arguments = {"timeout": self.busy_seconds, "check_same_thread": False}
        return {"connect_args": arguments | {"factory": SqliteConnection}}

    def _connected(self, connection: sqlite3.Connection, _record: object) -> None:
        configure(connection, durable=self.durable)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sa.Connection]:
        """Open a transaction, begun by `begin`.

        Not by SQLAlchemy's "begin" event: an engine that has any listener calls all hooks for
        each statement, which makes a small save a third slower.
        """
        with (
            self._gate.passing(),
            translated(self.where, self.busy_seconds, self._engine.dialect.loaded_dbapi),
            self._engine.begin() as connection,
        ):
            connection.connection.cursor().execute(begin)
            with self._seen_unwritten():
                yield connection

    def _commit(self, connection: sa.Connection) -> None:
        driver: Any = connection.connection.driver_connection
        try:
            connection.commit()
        except BaseException as error:
            # SQLAlchemy takes a commit that failed for the end of the transaction, and leaves it
            # open; or, interrupted, has closed the connection already.
            with suppress(*self._of_driver()):
                driver.rollback()
            if self.server is not None and is_lost(error):
                raise unknown_outcome(self.where, error) from error
            raise

    def _of_driver(self) -> tuple[type[Exception], ...]:
        return sqlite3.ProgrammingError, self._engine.dialect.loaded_dbapi.Error

    def _check_files(self, opened: dict[Any, Any], *, is_committed: bool = False) -> None:
        if self.path is not None and self._identity is not None:
            expect_same(self.where, self._identity, opened, is_committed=is_committed)

    def _follow_fork(self) -> None:
        """After a fork, begin anew: locks and a server's sockets are the parent's (see `gate`)."""
        if self.path is not None and is_unsafe_child():
            raise StoreUnavailableError(
                f"this process was forked within a transaction, and SQLite's locks do not work in "
                f"it: {str(self.path)!r} was not touched. Fork outside `query()`, or use spawn"
            )
        follow_fork(self, self._begin_anew)

    def _begin_anew(self) -> None:
        _abandoned.append(self._engine)
        self._start()

    # --- revisions

    def revision(self) -> str | None:
        """Return the schema's revision, None for an empty database.

        Raises StoreUnavailableError if it is another application's, or does not say.
        """
        with self.read() as connection:
            return self._revision(connection)

    def _revision(self, connection: sa.Connection) -> str | None:
        if self.path is not None:
            check_schema(connection, self.where)
        inspector = sa.inspect(connection)
        if inspector.has_table(VERSION_TABLE):
            table = sa.table(VERSION_TABLE, sa.column("version_num"))
            found: str | None = connection.scalar(sa.select(table.c.version_num))
            if found is None:  # no empty database, as that is what our migrations begin with
                raise no_revision(self.where, VERSION_TABLE)
            return found
        if self.path is not None and inspector.get_table_names():
            raise StoreUnavailableError(
                f"{str(self.path)!r} is a SQLite database of another application: "
                "give checkpointdb a directory of its own"
            )
        if self.server is not None and set(metadata.tables) & set(inspector.get_table_names()):
            raise StoreUnavailableError(
                f"{self.where!r} has tables of another application that are named as ours: "
                "add ?schema=checkpoints to the URL"
            )
        return None

    def prepare(
        self,
        *,
        upgrade: bool = True,
        check: Callable[[], None] = lambda: None,
        on_command: bool = False,
    ) -> Path | None:
        """Create the schema in an empty database, or bring an older one up to date.

        Before that `check` is called, which raises if it may not be, and a backup is made, whose
        path is returned. A server is brought up to date `on_command` alone, and its backups are
        its owner's: others may be writing to it by the version before.

        Raises SchemaVersionError if the database is newer than this library, or older and
        `upgrade` is False.
        """
        with self._gate.passing(), self._gate.preparing:
            if self.path is not None and not self.read_only:
                create_file(self.path, self.busy_seconds)
            upgrade = upgrade and (self.server is None or on_command)
            found, backup = self.revision(), None
            if found != HEAD_REVISION:
                backup = self._bring_to_head(found, check, upgrade=upgrade)
            self._identity = identity(self.where) if self.path else None
        return backup

    def _bring_to_head(
        self, found: str | None, check: Callable[[], None], *, upgrade: bool
    ) -> Path | None:
        backup = None
        if found is not None:
            if not is_known(found):
                raise newer_schema(self.where, found, HEAD_REVISION)
            if not upgrade:
                at = {"on_server": self.path is None, "read_only": self.read_only}
                raise older_schema(self.where, found, HEAD_REVISION, **at)
            check()
            if self.path is not None:
                with translated(self.where, self.busy_seconds):
                    backup = back_up(self.path, found, self.busy_seconds)
                if self.revision() != found:  # by another process, which has made its own before
                    backup.unlink()
                    backup = None
        self.migrate(HEAD_REVISION)
        return backup

    def migrate(self, revision: str) -> None:
        """Run the migrations up to a revision, in one transaction, once.

        Of several processes that do this at once, the others wait and find it done.
        """
        with self._migration() as connection:
            if (found := self._revision(connection)) != revision:
                migrate(connection, found, revision)

    @contextmanager
    def _migration(self) -> Iterator[sa.Connection]:
        if self.server is None:
            with self.write() as connection:
                yield connection
            return
        with self._transaction(self.server.begin_migration()) as connection:
            self.server.check_encoding(connection)
            yield connection
            self._commit(connection)


_abandoned: list[sa.Engine] = []  # a parent's, kept so that a child never closes what it holds


def _server(url: sa.URL, durable: bool, busy_seconds: float) -> Server:
    from checkpointdb.postgres import Server  # a store in SQLite need not import it

    return Server(url, durable=durable, busy_seconds=busy_seconds)
