"""One statement of a user, asked of a server; and the answer of any database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from checkpointdb.database import Database
from checkpointdb.database_errors import LostRace, is_lost, translate
from checkpointdb.errors import CheckpointError, InvalidInputError
from checkpointdb.reports import Answer

# What a statement may begin with. The transaction refuses what changes rows; not, for a user who
# may do everything, COPY to a program of the server's machine, or DO.
_ASKING = {"select", "with", "values", "table", "explain", "show"}

_CANCELED = "57014"
_READ_ONLY = "25006"
_MORE_THAN_ASKS = "the statement does more than ask: only SELECT is allowed"


def answer_of(columns: Sequence[str], rows: Sequence[Any], limit: int | None) -> Answer:
    """Return the first `limit` of the rows, and whether there are more."""
    kept = rows if limit is None else rows[:limit]
    return Answer(tuple(columns), tuple(map(tuple, kept)), is_cut=len(kept) < len(rows))


def asked_of_server(
    database: Database,
    connection: Connection,
    statement: str,
    limit: int | None,
    seconds: float | None,
) -> Answer:
    """Ask a server one statement, in a transaction that only reads, for at most so long.

    Raises InvalidInputError for what is no statement that only reads, is wrong, or takes longer.
    """
    first = statement.lstrip(" \t\r\n(").split(maxsplit=1)[:1]
    if not first or first[0].lower().rstrip(";(") not in _ASKING:
        raise InvalidInputError(_MORE_THAN_ASKS)
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        try:
            if seconds is not None:
                most_ms = max(1, round(seconds * 1000))
                cursor.execute(f"SET LOCAL statement_timeout = {most_ms}")
            # Prepared, since of several statements in one text the second could be anything.
            cursor.execute(statement, prepare=True)
            if cursor.description is None:
                raise InvalidInputError("the statement asks for nothing: write a SELECT")
            rows = cursor.fetchall() if limit is None else cursor.fetchmany(limit + 1)
            return answer_of([column.name for column in cursor.description], rows, limit)
        except driver.Error as error:
            raise _explained(error, database, seconds) from error


def _explained(error: Any, database: Database, seconds: float | None) -> CheckpointError:
    if error.sqlstate == _CANCELED and seconds is not None:
        return InvalidInputError(
            f"the statement took longer than {seconds:g} seconds: ask for less, or allow more"
        )
    if error.sqlstate == _READ_ONLY:
        return InvalidInputError(_MORE_THAN_ASKS)
    if is_lost(error):
        found = translate(error, database.where, database.busy_seconds)
        if not isinstance(found, LostRace):
            return found
    return InvalidInputError(f"the statement cannot be asked: {error}")
