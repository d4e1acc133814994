"""What finds a checkpoint's place: by its id, by its row, or as the newest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, select

from checkpointdb import queries
from checkpointdb.errors import CorruptionError, InvalidInputError, NotFoundError
from checkpointdb.schema import utc_of
from checkpointdb.statements import prepared
from checkpointdb.text import is_storable


class Row(NamedTuple):
    """The row of a checkpoint, and when that was saved.

    A row's number alone may be another's: where a database is put back to an older state while
    handles live on, it gives the numbers again that it had given since.
    """

    id: int
    created_at: datetime | object  # what the row has, if that is no time: `check` tells it


def time_of(stored: object) -> datetime | object:
    """Return the time that a row has, or what it has in its place."""
    try:
        return utc_of(stored)
    except (TypeError, ValueError):
        return stored


class Place(NamedTuple):
    """A row of `queries.place_…` as the driver gives it: a checkpoint, and where it stands."""

    id: int
    checkpoint_id: str
    chain_id: int
    uuid: str
    depth: int
    since_full: int
    state_digest: bytes
    state_version: int | None
    is_encrypted: int
    created_at: Any

    @property
    def row(self) -> Row:
        return Row(self.id, time_of(self.created_at))


Find = Callable[[Connection], Place]  # or NotFoundError


def find_place(
    connection: Connection, query: Callable[[], Select[Any]], where: dict[str, Any]
) -> Place | None:
    """Return what one of `queries.place_…` finds, None if that is nothing.

    Raises ValueError, which a transaction tells as damage, if several checkpoints have one id.
    """
    rows = prepared(query).run(connection, where)
    if len(rows) > 1:
        raise ValueError("several checkpoints have one id")
    return Place._make(rows[0]) if rows else None


def find_row(connection: Connection, row: Row) -> Place | None:
    """Return the place of the checkpoint that a row was, None if it is gone."""
    place = find_place(connection, queries.place_by_row, {"id": row.id})
    return place if place is not None and place.row == row else None


class Finding:
    """Finds checkpoints of one pipeline."""

    def __init__(self, pipeline: str) -> None:
        self.pipeline = pipeline

    def place_of(self, checkpoint_id: object) -> Find:
        """Return what finds a checkpoint of the pipeline by its id."""
        if not isinstance(checkpoint_id, str):
            kind = type(checkpoint_id).__name__
            raise InvalidInputError(f"the checkpoint id must be text, not {kind}")
        unknown = f"checkpoint {checkpoint_id!r} is not in pipeline {self.pipeline!r}"
        if not is_storable(checkpoint_id):
            raise NotFoundError(unknown, checkpoint_id=checkpoint_id)

        def find(connection: Connection) -> Any:
            where = {"pipeline_id": self._id(connection), "checkpoint_id": checkpoint_id}
            place = find_place(connection, queries.place_by_checkpoint_id, where)
            if place is None:
                raise NotFoundError(unknown, checkpoint_id=checkpoint_id)
            return place

        return find

    def place_of_row(self, row: Row, checkpoint_id: str) -> Find:
        """Return what finds the checkpoint of a row, and never one that replaced it."""

        def find(connection: Connection) -> Any:
            place = find_row(connection, row)
            if place is None:
                gone = f"checkpoint {checkpoint_id!r} was forgotten or replaced since it was opened"
                raise NotFoundError(gone, checkpoint_id=checkpoint_id)
            return place

        return find

    def newest_place(self) -> Find:
        """Return what finds the pipeline's newest checkpoint.

        Raises CorruptionError, and not NotFoundError, if that has lost its chain.
        """

        def find(connection: Connection) -> Any:
            pipeline_id = self._id(connection)
            place = find_place(connection, queries.newest_place, {"pipeline_id": pipeline_id})
            if place is not None:
                return place
            row = None if pipeline_id is None else select(queries.newest_row(pipeline_id))
            if row is None or connection.scalar(row) is None:
                raise NotFoundError(f"pipeline {self.pipeline!r} has no checkpoint")
            raise CorruptionError(
                f"the newest checkpoint of pipeline {self.pipeline!r} has no chain in the rows of "
                f"{connection.engine.url.database!r}: restore a backup, or rebuild the database"
            )

        return find

    def _id(self, connection: Connection) -> int | None:
        rows = prepared(queries.pipeline_by_name).run(connection, {"name": self.pipeline})
        return rows[0][0] if rows else None
