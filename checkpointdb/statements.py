"""Statements of a hot path: compiled once, then run by the driver itself.

SQLAlchemy takes ten times as long to execute a small statement as SQLite does, and a save has
twenty. What is given up for it: lists of parameters, and results that need a conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Executable, LargeBinary


class Prepared:
    """A Core statement whose parameters are no lists, whose results integers, texts or bytes."""

    def __init__(self, statement: Executable, columns: Iterable[str] | None = None) -> None:
        """Take a statement; `columns` are those that an INSERT gets values of."""
        self.statement = statement
        self._columns = None if columns is None else list(columns)
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, bound: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Execute it and return the rows of its result, an empty list if it has none."""
        compiled = self._compile(connection.dialect)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(compiled.text, compiled.parameters(bound))
            # To the last row: until then SQLite holds the statement for unfinished.
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            # Interrupted before: its traceback keeps the cursor, and nothing could be committed.
            cursor.close()

    def run_each(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Execute it once for each row of parameters; it must have no result."""
        compiled = self._compile(connection.dialect)
        cursor: Any = connection.connection.cursor()
        try:
            cursor.executemany(compiled.text, map(compiled.parameters, rows))
        except Exception:
            _give_up_broken(connection)
            raise

    def run_columns(self, connection: Connection, columns: Mapping[str, Iterable[Any]]) -> None:
        """Do what `run_each` does for rows given by columns: SQLite's driver takes them by C."""
        compiled = self._compile(connection.dialect)
        cursor: Any = connection.connection.cursor()
        try:
            cursor.executemany(compiled.text, compiled.rows(columns))
        except Exception:
            _give_up_broken(connection)
            raise

    def _compile(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = _compile(self.statement, self._columns, dialect)
            self._compiled[dialect.name] = found
        return found


def _give_up_broken(connection: Connection) -> None:
    """Close a server's connection that broke within a pipeline of rows.

    The driver may leave it in that state, in which a ROLLBACK fails, and would be what is told.
    """
    driver: Any = connection.connection.driver_connection
    if hasattr(driver, "pgconn") and (driver.closed or driver.pgconn.pipeline_status):
        connection.invalidate()


@cache
def prepared(query: Callable[[], Executable]) -> Prepared:
    """Return a question of `queries`, prepared."""
    return Prepared(query())


class Bound(NamedTuple):
    """A prepared statement with its parameters."""

    prepared: Prepared
    parameters: dict[str, Any]

    def run(self, connection: Connection) -> list[tuple[Any, ...]]:
        """Execute it and return the rows of its result."""
        return self.prepared.run(connection, self.parameters)


class _Compiled(NamedTuple):
    text: str
    names: list[str]  # of the parameters, in their order
    pick: Callable[[Mapping[str, Any]], Any] | None  # what the driver takes by position
    constants: dict[str, Any]  # of the statement itself, such as the 1 in `depth + 1`
    converters: list[tuple[str, Callable[[Any], Any]]]

    def parameters(self, bound: Mapping[str, Any]) -> Any:
        """Return one execution's parameters as the driver wants them."""
        if self.constants or self.converters:
            bound = {**self.constants, **bound}
            for name, convert in self.converters:
                bound[name] = convert(bound[name])
        return bound if self.pick is None else self.pick(bound)

    def rows(self, columns: Mapping[str, Iterable[Any]]) -> Iterator[Any]:
        """Return the parameters of many executions, given by name."""
        if self.pick is None or self.constants or self.converters:
            rows = zip(*columns.values(), strict=True)
            return (self.parameters(dict(zip(columns, row, strict=True))) for row in rows)
        return zip(*map(columns.__getitem__, self.names), strict=True)


def _compile(statement: Executable, columns: list[str] | None, dialect: Dialect) -> _Compiled:
    compiled: Any = statement.compile(  # type: ignore[attr-defined]
        dialect=dialect, column_keys=columns
    )
    names = list(compiled.positiontup or compiled.binds)
    constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    converters = [
        (name, convert)
        for name, bind in compiled.binds.items()
        if (convert := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
        # SQLite's driver takes bytes as they are; a view of each is an object more for nothing.
        and not (dialect.name == "sqlite" and isinstance(bind.type, LargeBinary))
    ]
    pick = _picker(names) if compiled.positional else None
    return _Compiled(compiled.string, names, pick, constants, converters)


def _picker(names: list[str]) -> Callable[[Mapping[str, Any]], Any]:
    if len(names) == 1:  # an itemgetter of one name gives no tuple
        [name] = names
        return lambda bound: (bound[name],)
    return itemgetter(*names) if names else lambda _bound: ()
