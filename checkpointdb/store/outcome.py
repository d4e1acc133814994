"""What became of a write whose commit was not answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sqlalchemy import Connection, exists, select

from checkpointdb.batches import batches
from checkpointdb.database import Database
from checkpointdb.errors import StoreBusyError, StoreUnavailableError, UnknownOutcomeError
from checkpointdb.inventory import named_files
from checkpointdb.payloads import PayloadStore
from checkpointdb.schema import checkpoints

if TYPE_CHECKING:
    from checkpointdb.reports import PruneReport

_PAUSE_SECONDS = 0.2

Did = TypeVar("Did")
Begin = Callable[[], AbstractContextManager[Connection]]  # a write transaction


class Forgotten(NamedTuple):
    """The rows of checkpoints that a transaction forgot, and the payloads that it freed."""

    rows: list[int]
    freed: list[str]
    report: PruneReport | None = None


def was_saved(
    database: Database,
    payloads: PayloadStore,
    pipeline_id: int,
    name: str,
    lost: UnknownOutcomeError,
) -> bool:
    """Say whether the save that published a payload was committed, asked until that is known.

    A row that is gone was there if its file is gone, or is to go: others forgot the checkpoint
    meanwhile. Where it was never there the file is removed, and the save may be tried again.
    Raises `lost` if the server does not answer for as long as one waits for other writers.
    """
    removed: list[str] = []

    def look(connection: Connection) -> bool:
        if named_files(connection, [name]):
            return True
        if not removed and not payloads.exists(name):
            return True
        removed.append(name)  # by us: asked again, that it is gone says nothing any more
        payloads.delete(name)
        return False

    return _asked(lambda: database.write(pipeline=pipeline_id), database.busy_seconds, look, lost)


def found_out(
    begin: Begin,
    busy_seconds: float,
    act: Callable[[Connection], Did],
    is_done: Callable[[Connection, Did], bool],
) -> tuple[Did, bool]:
    """Act in a write transaction; where its commit is not answered, look whether it was done.

    If not, act again. Return what `act` did, and whether its answer was lost. Raises
    UnknownOutcomeError as `was_saved` does.
    """
    deadline = time.monotonic() + busy_seconds
    while True:
        did: list[Did] = []
        try:
            with begin() as connection:
                did.append(act(connection))
            return did[0], False
        except UnknownOutcomeError as lost:
            if _asked(begin, busy_seconds, partial(_look, is_done, did[0]), lost):
                return did[0], True
            if time.monotonic() > deadline:
                raise


def _look(is_done: Callable[[Connection, Did], bool], did: Did, connection: Connection) -> bool:
    return is_done(connection, did)


def are_gone(connection: Connection, rows: Iterable[int]) -> bool:
    """Say whether no checkpoint has any of these rows: one transaction forgot them all."""
    return not any(
        connection.scalar(select(exists().where(checkpoints.c.id.in_(batch))))
        for batch in batches(rows)
    )


def _asked(
    begin: Begin,
    busy_seconds: float,
    look: Callable[[Connection], bool],
    lost: UnknownOutcomeError,
) -> bool:
    """Look until it is answered, under the lock that the transaction had: it is over by then."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            with begin() as connection:
                found = look(connection)
            return found
        except (StoreBusyError, StoreUnavailableError, UnknownOutcomeError):
            if time.monotonic() > deadline:
                raise lost from None
            time.sleep(_PAUSE_SECONDS)
