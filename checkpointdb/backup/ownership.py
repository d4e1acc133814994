"""Whose a backup is: who pushed last, goes on."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection

from checkpointdb.backup import ledger
from checkpointdb.backup.layout import POINTER, decode_pointer
from checkpointdb.backup.remote import Remote
from checkpointdb.database import Database
from checkpointdb.errors import (
    CorruptionError,
    InvalidInputError,
    SchemaVersionError,
    StoreUnavailableError,
)


def expect_ours(database: Database, remote: Remote) -> bytes | None:
    """Return the pointer at a remote, if it is one that this store has put there, or none yet.

    Not by a name of the store, which a copy of its directory would have too: by the snapshot
    that was pushed last, which of two copies only one knows. Raises InvalidInputError if it is
    another's, StoreUnavailableError if ours is gone.
    """
    with database.read() as connection:
        known = ledger.standing(connection, remote.url)
        ours = ledger.our_snapshots(connection)
    content = remote.small(POINTER)
    if content is None:
        if known.snapshot is None:
            return None
        raise StoreUnavailableError(
            f"the backup at {remote.url!r}, to which this store has pushed, is gone: is the place "
            "mounted, is it the right one? If it is to begin anew: takes_over=True, --take-over"
        )
    if decode_pointer(content, remote.url).snapshot.name not in ours:
        raise InvalidInputError(
            f"the backup at {remote.url!r} is that of another store, or another copy of this one "
            "has pushed there since: nothing was written. Give each store a place (a prefix) of "
            "its own; if this one is to go on there: takes_over=True, --take-over"
        )
    return content


def note_held(connection: Connection, remote: Remote, content: bytes | None) -> None:
    """Note what a pointer names as pushed from here, if it was: before another is pending.

    A push that was cut off right behind the pointer has noted it as pending alone. Nothing is
    noted of a pointer that a store takes over, which may be another's, or damaged.
    """
    with suppress(CorruptionError, SchemaVersionError):
        if content is not None:
            name = decode_pointer(content, remote.url).snapshot.name
            if name in ledger.our_snapshots(connection):
                ledger.note(connection, remote.url, snapshot=name)


def overtaken(remote: Remote) -> InvalidInputError:
    """Return what to raise where another store was faster."""
    return InvalidInputError(
        f"another store pushed to {remote.url!r} at the same moment: what it wrote holds. Give "
        "each store a place (a prefix) of its own"
    )
