"""A lease: while it is open nobody else does the same, and no payload is unlinked."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update

from checkpointdb.database import Database
from checkpointdb.errors import CheckpointError, StoreBusyError
from checkpointdb.schema import leases

# Longer than anything that is done between two renewals: a snapshot of a large database.
_SECONDS = 600.0
_RENEWED_AFTER_SECONDS = 30.0


class Lease:
    """An open lease. Threads share it; whoever works under it renews it now and then."""

    def __init__(self, database: Database, purpose: str) -> None:
        self._database = database
        self._purpose = purpose
        self._holder = f"{_here()} {os.getpid()} {uuid.uuid4().hex}"
        self._lock = threading.Lock()
        self._renewed_at = time.monotonic()

    def take(self) -> None:
        """Open it. Raises StoreBusyError if somebody else has it open, and lives."""
        with self._database.write() as connection:
            holder = connection.scalar(
                select(leases.c.holder)
                .where(leases.c.purpose == self._purpose)
                .where(leases.c.expires_at > datetime.now(UTC))
            )
            if holder is not None and not _is_dead(holder):
                raise StoreBusyError(
                    f"{self._purpose}: another process is at it ({_shown(holder)}); wait for it"
                )
            _drop(connection, self._purpose)
            row = {"purpose": self._purpose, "holder": self._holder, "expires_at": _expiry()}
            connection.execute(insert(leases), row)

    def renew(self) -> None:
        """Move its expiry on, if it is time to. Raises StoreBusyError if it was lost."""
        with self._lock:
            if time.monotonic() - self._renewed_at < _RENEWED_AFTER_SECONDS:
                return
            with self._database.write() as connection:
                renewed = connection.execute(
                    update(leases)
                    .where(leases.c.purpose == self._purpose)
                    .where(leases.c.holder == self._holder)
                    .values(expires_at=_expiry())
                )
            if not renewed.rowcount:
                raise StoreBusyError(
                    f"{self._purpose}: this process stood still for so long that another took "
                    "over; start again"
                )
            self._renewed_at = time.monotonic()

    def end(self) -> None:
        """Close it; if that cannot be, it expires."""
        with suppress(CheckpointError), self._database.write() as connection:
            connection.execute(
                delete(leases)
                .where(leases.c.purpose == self._purpose)
                .where(leases.c.holder == self._holder)
            )


@contextmanager
def leased(database: Database, purpose: str) -> Iterator[Lease]:
    """Open a lease for as long as the block lasts. Raises StoreBusyError if another has it."""
    lease = Lease(database, purpose)
    lease.take()
    try:
        yield lease
    finally:
        lease.end()


def _drop(connection: Connection, purpose: str) -> None:
    """Delete the lease that expired or whose holder died, and others that have expired."""
    is_over = (leases.c.purpose == purpose) | (leases.c.expires_at <= datetime.now(UTC))
    connection.execute(delete(leases).where(is_over))


def _expiry() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=_SECONDS)


def _here() -> str:
    """Return what processes share whose numbers we can ask about: machine and namespace."""
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux: there is one
        namespace = 0
    return f"{socket.gethostname().replace(' ', '-')}/{namespace}"


def _is_dead(holder: str) -> bool:
    """Say whether a holder was a process of this machine that is gone: killed in the middle."""
    here, _, rest = holder.partition(" ")
    pid = rest.partition(" ")[0]
    if here != _here() or not pid.isdecimal() or os.name == "nt":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _shown(holder: str) -> str:
    here, _, rest = holder.partition(" ")
    return f"process {rest.partition(' ')[0]} on {here.partition('/')[0]}"
