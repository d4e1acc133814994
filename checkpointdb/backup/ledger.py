"""What the database knows of its backups: remotes, what they hold, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, delete, exists, func, insert, select, true, update

from checkpointdb.batches import batches
from checkpointdb.inventory import PayloadRow
from checkpointdb.queries import listed
from checkpointdb.schema import (
    backed_up,
    backups,
    checkpoints,
    failures,
    keyring,
    payloads,
    remotes,
)

_PRIME = 1_000_003


class Standing(NamedTuple):
    """What is known of a remote: which snapshot we pushed last, and the store as it was then."""

    snapshot: str | None = None
    mark: str | None = None
    pushed_at: datetime | None = None


def standing(connection: Connection, url: str) -> Standing:
    """Return what is known of a remote."""
    query = select(remotes.c.snapshot, remotes.c.mark, remotes.c.pushed_at)
    row = connection.execute(query.where(remotes.c.url == url)).one_or_none()
    return Standing(*row) if row else Standing()


def our_snapshots(connection: Connection) -> set[str]:
    """Return the snapshots that are ours wherever a pointer names them.

    At any remote: one that was moved, or is mounted elsewhere now, has another URL.
    """
    query = select(remotes.c.snapshot, remotes.c.pending).order_by(remotes.c.id)
    return {name for row in connection.execute(query) for name in row if name is not None}


def remote_id(connection: Connection, url: str) -> int:
    """Return a remote's number, given now if it is new."""
    found = connection.scalar(select(remotes.c.id).where(remotes.c.url == url))
    if found is None:
        made = connection.execute(insert(remotes).returning(remotes.c.id), {"url": url})
        found = made.scalar_one()
    return int(found)


def note(connection: Connection, url: str, **facts: object) -> None:
    """Note facts of a remote: columns of `remotes`."""
    number = remote_id(connection, url)
    connection.execute(update(remotes).where(remotes.c.id == number).values(**facts))


def note_copied(connection: Connection, url: str, rows: Iterable[PayloadRow]) -> None:
    """Note that a remote holds payloads."""
    number, now = remote_id(connection, url), datetime.now(UTC)
    query = select(backups.c.name, backups.c.sha256).where(backups.c.remote_id == number)
    known = {row.name: row.sha256 for row in connection.execute(query)}
    new = [row for row in rows if known.get(row.name) != row.sha256]
    drop_copied(connection, url, [row.name for row in new if row.name in known])
    facts = [
        {
            "remote_id": number,
            "name": row.name,
            "sha256": row.sha256,
            "stored_bytes": row.stored_bytes,
            "copied_at": now,
        }
        for row in new
    ]
    if facts:
        connection.execute(insert(backups), facts)


def drop_copied(connection: Connection, url: str, names: Iterable[str]) -> None:
    """Note that a remote no longer holds payloads."""
    number = remote_id(connection, url)
    for batch in batches(names):
        connection.execute(
            delete(backups).where(backups.c.remote_id == number).where(backups.c.name.in_(batch))
        )


def note_backed_up(connection: Connection, url: str, rows: Sequence[int]) -> None:
    """Note that a snapshot at a remote has checkpoints, and forget of those that are gone."""
    number, now = remote_id(connection, url), datetime.now(UTC)
    gone = ~exists().where(checkpoints.c.id == backed_up.c.checkpoint_row)
    connection.execute(delete(backed_up).where(backed_up.c.remote_id == number).where(gone))
    among = listed(rows)
    known = and_(backed_up.c.checkpoint_row == checkpoints.c.id, backed_up.c.remote_id == number)
    now_column = select(checkpoints.c.id).where(checkpoints.c.id.in_(select(among.c.id)))
    new = list(connection.scalars(now_column.where(~exists().where(known))))
    if new:
        connection.execute(
            insert(backed_up),
            [{"checkpoint_row": row, "remote_id": number, "backed_up_at": now} for row in new],
        )


def mark_of(connection: Connection) -> str:
    """Return a text that changes when anything changes that a backup would have.

    By sums over a few tables, which nobody notices; the digest of a copy of the database would
    take as long as the copy, and differ by where its pages lie.
    """
    of_checkpoints = select(
        func.count(),
        func.max(checkpoints.c.id),
        func.sum(checkpoints.c.id),
        func.sum(checkpoints.c.payload_id),
    ).select_from(checkpoints)
    # Numbers only grow, but pins come and go: of 1 and 2, and of 3, the sums are the same.
    row = checkpoints.c.id
    of_pins = select(func.count(), func.sum(row), func.sum(row * row % _PRIME)).where(
        checkpoints.c.pinned == true()
    )
    of_payloads = select(
        func.count(),
        func.max(payloads.c.id),
        func.sum(payloads.c.id),
        func.sum(payloads.c.stored_bytes),
        func.sum(payloads.c.key_epoch),
        func.count(payloads.c.damaged_at),  # one that is whole again may be what a push left out
    ).select_from(payloads)
    of_failures = select(func.count(), func.max(failures.c.id))
    of_keys = select(func.max(keyring.c.generation))
    queries = (of_checkpoints, of_pins, of_payloads, of_failures, of_keys)
    found = [connection.execute(each).one() for each in queries]
    return " ".join("-" if each is None else str(each) for row in found for each in row)
