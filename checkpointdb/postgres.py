"""PostgreSQL: what its URL says, and how its transactions begin.

    read      REPEATABLE READ, READ ONLY: one state of the store, that of the first query
    write     READ COMMITTED, begun by one lock: that of a pipeline's row, so that its writers
              take turns, or that of the table of pipelines, which keeps all writers out

Whoever has the lock sees what the one before committed, and what is not of the pipeline is not
touched; so no write is stopped by another. (SERIALIZABLE, which would also find the conflicts,
stops writers that touch different rows of one page.)

A transaction's settings come with its BEGIN, in one message, and end with it: behind a pooler
that hands connections round they would reach others.
"""

from __future__ import annotations

import os
from typing import Any, Final

from sqlalchemy import ARRAY, URL, Connection, Text, bindparam, func, make_url, select
from sqlalchemy.exc import ArgumentError

from checkpointdb.errors import InvalidInputError, StoreUnavailableError

DRIVER: Final = "postgresql+psycopg"

# A client that dies within a transaction, its machine with it, holds its lock until the server
# ends that: a save is done in milliseconds; a sweep or a rebuild reads files in between.
_IDLE_SECONDS_OF_PIPELINE: Final = 60
_IDLE_SECONDS_OF_STORE: Final = 3600

# A server that falls silent, its machine or the network with it, is given up after half a minute;
# systems by themselves take from a quarter of an hour to two hours. Not after `busy_seconds`: who
# waits for another writer hears nothing either, but for the answers to these probes.
_LIMITS: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,  # milliseconds, for what was sent and is not acknowledged
}
_CONNECT_SECONDS: Final = 10  # for each host

_MIGRATIONS_LOCK: Final = 0x436B7044  # "CkpD", as in the header of a SQLite file
_MOST_NAME_BYTES: Final = 63  # of an identifier: PostgreSQL cuts off what is longer

# What a role, a database or the environment may be set to, by which values would come back as
# others, or not at all.
_READABLE: Final = (
    "SET LOCAL timezone = 'UTC'",
    "SET LOCAL datestyle = 'ISO, MDY'",
    "SET LOCAL intervalstyle = 'postgres'",
    "SET LOCAL extra_float_digits = 1",  # 0 and less round
)

# A server may be set to acknowledge before it has flushed, or before a standby that it has to wait
# for has: what a failover would take. `remote_apply` is more than `on`, and stays.
_FLUSHED = (
    "SELECT set_config('synchronous_commit', 'on', true) "
    "WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')"
)


def server_url(url: str | URL) -> URL:
    """Return the URL of a database on a server.

    Raises InvalidInputError if it names none. A SQLite file is none: each directory has its own,
    and two that shared one would each miss the payloads of the other.
    """
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):  # whose text may have the password, and so is not shown
        raise InvalidInputError(f"database_url is no URL: {_ADVICE}") from None
    if found.get_backend_name() != "postgresql":
        raise InvalidInputError(
            f"{found.drivername!r} is no database that rows can be in: {_ADVICE}"
        )
    # What stands before it would be a part of a password, shown wherever the host is. As the first
    # of a host behind `?` it names a socket.
    if "@" in (found.host or "") or any("@" in each[1:] for each in _hosts(found)):
        raise InvalidInputError(
            "database_url has an '@' in its host: write one that is in the user or in the password "
            "as %40, and no user into ?host="
        )
    return found


def _hosts(url: URL) -> tuple[str, ...]:
    """Return the hosts behind the `?`."""
    hosts = url.query.get("host", ())
    return (hosts,) if isinstance(hosts, str) else hosts


_ADVICE: Final = "give postgresql://HOST/DATABASE, or none for SQLite in the store's directory"


class Server:
    """A database on a server, and the schema of it that holds a store's rows."""

    def __init__(self, url: URL, *, durable: bool, busy_seconds: float) -> None:
        """Take a URL; its `schema=` and `prepared_statements=` are ours, the rest is the driver's.

        Raises InvalidInputError if it names no PostgreSQL database, or psycopg is not installed.
        """
        url = server_url(url)
        _require_driver(url)
        query = dict(url.query)
        schema = query.pop("schema", None)
        self.schema = None if schema is None else _checked_schema(schema)
        self._prepares = _checked_prepares(query.pop("prepared_statements", "on"))
        self.url = _checked_options(url.set(drivername=DRIVER, query=query))
        self._settings = self._of_session(durable=durable, busy_seconds=busy_seconds)

    @property
    def where(self) -> str:
        """What to call it in messages, without password; of several hosts, all are named."""
        url = self.url
        shown = URL.create("postgresql", url.username, None, url.host, url.port, url.database)
        said = [f"host={host}" for host in _hosts(url)]
        if self.schema is not None:
            said.append(f"schema={self.schema}")
        name = shown.render_as_string()
        return f"{name}?{'&'.join(said)}" if said else name

    def options(self) -> dict[str, Any]:
        """Return what `create_engine` is told.

        Transactions are begun and ended by us. A connection that the server closed meanwhile, at
        a restart, is noticed before it is used. Only the encoding is asked for when connecting: a
        transaction is too late for the driver, and other settings are refused there by poolers.
        """
        asked: dict[str, Any] = _limits(self.url) | {"client_encoding": "UTF8"}
        if not self._prepares:
            asked["prepare_threshold"] = None
        return {"isolation_level": "AUTOCOMMIT", "pool_pre_ping": True, "connect_args": asked}

    @staticmethod
    def checked_in(connection: Any, record: Any) -> None:
        """Close a connection that an interrupt has left within an `executemany`: SQLAlchemy's hook.

        The driver sends its rows in a pipeline, in which all that comes later would fail.
        """
        if connection is not None and connection.pgconn.pipeline_status:
            record.invalidate()

    def read_on(self, connection: Connection, *_: object) -> None:
        """Begin to read again where a user has ended the transaction: SQLAlchemy's hook.

        Not by a session that may only read, and looks in the schema: behind a pooler, whoever has
        its connection next would have these settings too.
        """
        from psycopg.pq import TransactionStatus

        driver: Any = connection.connection.driver_connection
        if driver.info.transaction_status == TransactionStatus.IDLE:
            driver.execute(self.begin_read())

    def check_encoding(self, connection: Connection) -> None:
        """Raise StoreUnavailableError for a database that cannot hold every text."""
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise StoreUnavailableError(
                f"the database {self.where!r} keeps text as {encoding}: make one with ENCODING "
                "'UTF8'"
            )

    def begin_read(self) -> str:
        """Return what begins a transaction that reads."""
        return f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {self._settings}"

    def begin_write(self, pipeline_id: int | None) -> str:
        """Return what begins one that writes: to a pipeline, or to the whole store.

        The lock of a row takes a lock of its table too, with which EXCLUSIVE conflicts.
        """
        if pipeline_id is None:
            idle, lock = _IDLE_SECONDS_OF_STORE, "LOCK TABLE pipelines IN EXCLUSIVE MODE"
        else:
            idle = _IDLE_SECONDS_OF_PIPELINE
            lock = f"SELECT id FROM pipelines WHERE id = {int(pipeline_id)} FOR UPDATE"  # noqa: S608
        return f"{self._begin(idle)}; {_waiting(lock)}"

    def begin_migration(self) -> str:
        """Return what begins one that changes the schema: there may be no table to lock yet."""
        lock = f"SELECT pg_advisory_xact_lock({_MIGRATIONS_LOCK})"
        begun = f"{self._begin(_IDLE_SECONDS_OF_STORE)}; {_waiting(lock)}"
        if self.schema is None:
            return begun
        return f"{begun}; CREATE SCHEMA IF NOT EXISTS {_quoted(self.schema)}"

    def _begin(self, idle_seconds: int) -> str:
        ends = f"SET LOCAL idle_in_transaction_session_timeout = '{idle_seconds}s'"
        return f"BEGIN ISOLATION LEVEL READ COMMITTED; {self._settings}; {ends}"

    def _of_session(self, *, durable: bool, busy_seconds: float) -> str:
        patience_ms = max(1, round(busy_seconds * 1000))  # 0 would be for ever
        settings = [
            f"SET LOCAL lock_timeout = {patience_ms}",
            *_READABLE,
            "SET LOCAL jit = off",  # it compiles for longer than our queries run
            _FLUSHED if durable else "SET LOCAL synchronous_commit = off",
        ]
        if self.schema is not None:
            settings.append(f"SET LOCAL search_path = {_quoted(self.schema)}")
        return "; ".join(settings)


def _limits(url: URL) -> dict[str, Any]:
    """Return how long a server may be silent, as far as the URL does not say."""
    connect = os.environ.get("PGCONNECT_TIMEOUT", _CONNECT_SECONDS)
    limits = {"connect_timeout": connect, **_LIMITS}
    return {name: limit for name, limit in limits.items() if name not in url.query}


def _waiting(lock: str) -> str:
    """Return a lock that is waited for as long as `lock_timeout` says, whatever else is set.

    What comes after it takes no longer than the operator allows.
    """
    return f"SET LOCAL statement_timeout = 0; {lock}; SET LOCAL statement_timeout TO DEFAULT"


def _checked_options(url: URL) -> URL:
    """Raise InvalidInputError for an option that the driver does not know, or SQLAlchemy."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    try:
        _, options = url.get_dialect()().create_connect_args(url)
        make_conninfo(**options)
    except (ArgumentError, ProgrammingError) as error:
        raise InvalidInputError(f"the database_url cannot be used: {error}") from error
    return url


def _require_driver(url: URL) -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise InvalidInputError(
            f"for {url.drivername} psycopg is needed: pip install 'checkpointdb[postgres]'"
        ) from error


def _checked_schema(schema: object) -> str:
    if (
        not isinstance(schema, str)
        or not schema.isprintable()
        or not 0 < len(schema.encode()) <= _MOST_NAME_BYTES
        or schema.startswith("pg_")
        or schema == "$user"  # which means one of that name in a search path, quoted or not
    ):
        raise InvalidInputError(f"{schema!r} cannot be the name of a schema")
    return schema


def _checked_prepares(value: object) -> bool:
    """Say whether statements are prepared, which some poolers lose between two transactions."""
    if value not in {"on", "off"}:
        raise InvalidInputError(f"prepared_statements={value!r} is neither on nor off")
    return value == "on"


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


# --- what it is


def server_version(connection: Connection) -> str:
    """Return the server's name and version."""
    version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    return f"PostgreSQL {version}"


def bytes_of_tables(connection: Connection, names: list[str]) -> int:
    """Return what those of the tables that there are take, with their indexes."""
    named = func.unnest(bindparam("names", names, ARRAY(Text))).table_valued("name")
    table = func.to_regclass(named.c.name)  # in the schema that the transaction looks in
    found = select(func.sum(func.pg_total_relation_size(table)))
    return int(connection.scalar(found) or 0)
