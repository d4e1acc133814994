"""What finds a checkpoint's place: by its id, by its row, or as the newest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, select

from checkpointdb import queries
from checkpointdb.errors import CorruptionError, InvalidInputError, NotFoundError
from checkpointdb.text import is_storable

Find = Callable[[Connection], Any]  # a row of queries.place_…, or NotFoundError


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
            pipeline_id = connection.scalar(queries.pipeline_id(self.pipeline))
            where = {"pipeline_id": pipeline_id, "checkpoint_id": checkpoint_id}
            query = queries.place_by_checkpoint_id()
            return _found(connection, query, where, unknown, checkpoint_id)

        return find

    def place_of_row(self, row_id: int, checkpoint_id: str) -> Find:
        """Return what finds the checkpoint of a row, and never one that replaced it."""

        def find(connection: Connection) -> Any:
            gone = f"checkpoint {checkpoint_id!r} was forgotten or replaced since it was opened"
            return _found(connection, queries.place_by_row(), {"id": row_id}, gone, checkpoint_id)

        return find

    def newest_place(self) -> Find:
        """Return what finds the pipeline's newest checkpoint.

        Raises CorruptionError, and not NotFoundError, if that has lost its chain.
        """

        def find(connection: Connection) -> Any:
            pipeline_id = connection.scalar(queries.pipeline_id(self.pipeline))
            where = {"pipeline_id": pipeline_id}
            place = connection.execute(queries.newest_place(), where).one_or_none()
            if place is not None:
                return place
            if connection.scalar(select(queries.newest_row(pipeline_id))) is None:
                raise NotFoundError(f"pipeline {self.pipeline!r} has no checkpoint")
            raise CorruptionError(
                f"the newest checkpoint of pipeline {self.pipeline!r} has no chain in the rows of "
                f"{connection.engine.url.database!r}: restore a backup, or rebuild the database"
            )

        return find


def _found(
    connection: Connection,
    query: Any,
    where: dict[str, Any],
    message: str,
    checkpoint_id: str,
) -> Any:
    place = connection.execute(query, where).one_or_none()
    if place is None:
        raise NotFoundError(message, checkpoint_id=checkpoint_id)
    return place
