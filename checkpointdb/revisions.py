"""The migrations, as Alembic is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from checkpointdb.contexts import contextmanager
from checkpointdb.errors import SchemaVersionError, StoreUnavailableError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

# What the migrations ran in an empty database of a dialect, up to a revision: statements, each
# with its parameters. They would run the same in the next one, and to read and compile them takes
# ten times as long as to execute them.
_creations: dict[tuple[str, str], list[tuple[str, Any]]] = {}


def migrate(connection: Connection, found: str | None, revision: str) -> None:
    """Run the migrations from a revision, None in an empty database, up to another."""
    key = connection.dialect.name, revision
    if found is None and key in _creations:
        with closing(connection.connection.cursor()) as cursor:
            for statement, parameters in _creations[key]:
                cursor.execute(statement, parameters)
        return
    from alembic import command

    with _recorded(connection) as executed:
        command.upgrade(migrations(connection), revision)
    if found is None:
        _creations[key] = executed


@contextmanager
def _recorded(connection: Connection) -> Iterator[list[tuple[str, Any]]]:
    """Note what is executed meanwhile."""
    executed: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        executed.append((statement, parameters))

    event.listen(connection, "after_cursor_execute", note)
    try:
        yield executed
    finally:
        event.remove(connection, "after_cursor_execute", note)


def is_known(revision: str) -> bool:
    """Say whether a schema is that of this version or an older one."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(migrations())
    return revision in {each.revision for each in scripts.walk_revisions()}


def migrations(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for our migrations, on a connection if given."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "checkpointdb.migrations:.")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def no_revision(where: str, table: str) -> StoreUnavailableError:
    """Return the error for a database that does not say what schema it has."""
    return StoreUnavailableError(
        f"the table {table} of {where!r} is empty: it was emptied, or a dump is being restored "
        "just now; wait for that, or restore the database"
    )


def newer_schema(where: str, found: str, expected: str) -> SchemaVersionError:
    """Return the error for a schema that this version does not know."""
    return SchemaVersionError(
        f"the store {where!r} has schema {found}, which is newer than this version of "
        f"checkpointdb reads (up to {expected}): upgrade checkpointdb",
        found=found,
        expected=expected,
    )


def older_schema(
    where: str, found: str, expected: str, *, on_server: bool, read_only: bool
) -> SchemaVersionError:
    """Return the error for a schema that was to be upgraded first."""
    permission = "its directory cannot be written: change that, or copy it; then " * read_only
    advice = permission + (
        "stop what uses it, make a backup, and run `checkpointdb db upgrade` with its "
        "--database-url"
        if on_server
        else "open it with upgrade=True, or run `checkpointdb db upgrade`"
    )
    return SchemaVersionError(
        f"the store {where!r} has schema {found}, this version of checkpointdb needs {expected}: "
        f"{advice}",
        found=found,
        expected=expected,
    )
