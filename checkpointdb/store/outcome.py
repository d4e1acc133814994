"""What became of a save whose commit was not answered."""

from __future__ import annotations

import time

from sqlalchemy import select

from checkpointdb.database import Database
from checkpointdb.errors import StoreBusyError, StoreUnavailableError, UnknownOutcomeError
from checkpointdb.payloads import PayloadStore
from checkpointdb.schema import payloads as payload_table

_PAUSE_SECONDS = 0.2


def was_saved(
    database: Database,
    payloads: PayloadStore,
    pipeline_id: int,
    name: str,
    lost: UnknownOutcomeError,
) -> bool:
    """Say whether the save that published a payload was committed, asked until that is known.

    Under the lock that its transaction had: whoever gets it knows that the transaction is over.
    A row that is gone was there if its file is gone: others forgot the checkpoint meanwhile. Where
    it was never there the file is removed, and the save may be tried again. Raises `lost` if the
    server does not answer for as long as one waits for other writers.
    """
    deadline = time.monotonic() + database.busy_seconds
    while True:
        try:
            with database.write(pipeline=pipeline_id) as connection:
                row = select(payload_table.c.id).where(payload_table.c.name == name)
                if connection.scalar(row) is not None or not payloads.exists(name):
                    return True
                payloads.delete(name)
            return False
        except (StoreBusyError, StoreUnavailableError, UnknownOutcomeError):
            if time.monotonic() > deadline:
                raise lost from None
            time.sleep(_PAUSE_SECONDS)
