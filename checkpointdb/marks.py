"""Marks of damage: payloads that are out of service, on which no save and no retention relies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, update

from checkpointdb.batches import batches
from checkpointdb.errors import CheckpointError
from checkpointdb.schema import payloads

log = logging.getLogger("checkpointdb")


def mark(connection: Connection, names: Collection[str]) -> None:
    """Take payloads out of service: from the commit on, no save relies on them.

    By their names: a payload that was written anew meanwhile has another, and is not meant.
    """
    now = datetime.now(UTC)
    for batch in batches(names):
        connection.execute(
            update(payloads)
            .where(payloads.c.name.in_(batch))
            .where(payloads.c.damaged_at.is_(None))
            .values(damaged_at=now)
        )


def unmark(connection: Connection, marked: Any) -> bool:
    """Put a payload back in service, unless it was marked again since `marked` was read."""
    return bool(
        connection.execute(
            update(payloads)
            .where(payloads.c.id == marked.id)
            .where(payloads.c.name == marked.name)
            .where(payloads.c.damaged_at == marked.damaged_at)
            .values(damaged_at=None)
        ).rowcount
    )


def note_damage(
    write: Callable[[], AbstractContextManager[Connection]], names: Collection[str]
) -> None:
    """Mark payloads within a write transaction, if that can be; else the log says that it cannot.

    Who found the damage goes on with its own work, and tells of it in any case.
    """
    if not names:
        return
    try:
        with write() as connection:
            mark(connection, names)
    except CheckpointError as error:
        shown = ", ".join(names)
        log.warning("damaged, which could not be noted: payload %s: %s", shown, error)
