"""The methods of a handle that look closely: at one checkpoint, at all places, in free SQL."""

from __future__ import annotations

import sqlite3
import time
from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from checkpointdb import queries
from checkpointdb.errors import CheckpointError, InvalidInputError
from checkpointdb.records import CheckpointDetails, StateKey
from checkpointdb.text import is_storable, storable

if TYPE_CHECKING:
    from checkpointdb.records import CheckpointMetadata
    from checkpointdb.reports import Answer, CheckpointPlace, KeyVersion, StateDiff
    from checkpointdb.store.engine import Engine


class Inspecting:
    """What shows how a store is made."""

    _engine: Engine
    pipeline: str

    @abstractmethod
    def _describe(self, connection: Connection, rows: list[int]) -> list[CheckpointMetadata]: ...

    @abstractmethod
    def query(self) -> AbstractContextManager[Connection]: ...

    def details(self, checkpoint_id: str) -> CheckpointDetails:
        """Return all that the rows say of a checkpoint, with the types and sizes of its keys.

        Raises NotFoundError if it does not exist.
        """
        with self._engine.database.read() as connection:
            place = self._engine.place_of(checkpoint_id)(connection)
            where = {"chain_id": place.chain_id, "depth": place.depth}
            keys = [
                StateKey(row.key, row.type_name, row.raw_bytes, row.digest.hex())
                for row in connection.execute(queries.values_at(), where)
            ]
            [metadata] = self._describe(connection, [place.id])
            [found] = connection.execute(
                queries.overview(), {"rows": queries.array([place.id])}
            ).all()
            is_damaged = _needs_damaged(connection, place.id)
        return CheckpointDetails(
            metadata, place.uuid, place.depth, found.parent_id, tuple(keys), is_damaged
        )

    def history(self, key: str) -> list[KeyVersion]:
        """Return every value that `key` had in checkpoints that still exist, oldest first.

        Its removals are among them. Raises InvalidInputError for a key that is no text.
        """
        from checkpointdb.store.comparing import key_history

        if not isinstance(key, str):
            raise InvalidInputError(f"a key is text, not {type(key).__name__}")
        if not is_storable(key):
            return []
        with self._engine.database.read() as connection:
            return key_history(connection, self.pipeline, key)

    def diff(self, old: str, new: str) -> StateDiff:
        """Return what changed from checkpoint `old` to `new`, by key; no payload is read.

        Raises NotFoundError if one of them does not exist.
        """
        from checkpointdb.store.comparing import diff_states

        with self._engine.database.read() as connection:
            places = [self._engine.place_of(each)(connection) for each in (old, new)]
            return diff_states(connection, *places)

    def lineage(self) -> list[CheckpointPlace]:
        """Return where each checkpoint of the pipeline stands, in the order of saving."""
        from checkpointdb.reports import CheckpointPlace

        with self._engine.database.read() as connection:
            return [
                CheckpointPlace(**row._mapping)
                for row in connection.execute(queries.lineage(self.pipeline))
            ]

    def sql(
        self, statement: str, *, limit: int | None = None, seconds: float | None = None
    ) -> Answer:
        """Ask one SQL statement of the whole store, which can only read; see docs/reference.

        Returns at most `limit` rows; `seconds` is how long it may take.

        Raises InvalidInputError for what is no statement that only reads, is wrong, or takes
        longer.
        """
        from checkpointdb.sqlite_connection import only_questions
        from checkpointdb.store.asking import answer_of, asked_of_server

        storable(statement, "the statement")
        with self.query() as connection:
            if connection.dialect.name != "sqlite":
                return asked_of_server(self._engine.database, connection, statement, limit, seconds)
            driver: Any = connection.connection.driver_connection
            started = time.monotonic()
            try:
                with only_questions(driver, seconds):
                    result = connection.exec_driver_sql(statement)
                    if not result.returns_rows:
                        raise InvalidInputError("the statement asks for nothing: write a SELECT")
                    columns = tuple(column[0] for column in result.cursor.description)
                    rows = result.fetchall() if limit is None else result.fetchmany(limit + 1)
                    result.close()
            except (DBAPIError, sqlite3.Error, sqlite3.Warning) as error:
                raise self._explained(error, seconds, time.monotonic() - started) from error
        return answer_of(columns, rows, limit)

    def _explained(
        self, error: Exception, seconds: float | None, after_seconds: float
    ) -> CheckpointError:
        """Return our error for what a user's statement raised."""
        from checkpointdb.database_errors import LostRace, translate

        cause = getattr(error, "orig", None) or error
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT and after_seconds < (seconds or 0):
            raise KeyboardInterrupt from error  # it came in our look at the clock, which lost it
        if code == sqlite3.SQLITE_INTERRUPT:
            return InvalidInputError(
                f"the statement took longer than {seconds:g} seconds: ask for less, or allow more"
            )
        if code == sqlite3.SQLITE_AUTH:
            return InvalidInputError("the statement does more than ask: only SELECT is allowed")
        if code not in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE):
            found = translate(cause, self._engine.database.where, 0)
            if not isinstance(found, LostRace):
                return found
        return InvalidInputError(f"the statement cannot be asked: {cause}")


def _needs_damaged(connection: Connection, row: int) -> bool:
    marked = [each.id for each in connection.execute(queries.marked_payloads())]
    # Seldom there is any, and the question who needs them takes longer than all the others.
    return bool(marked) and row in connection.scalars(queries.checkpoints_that_need(marked))
