"""A lease: while it is open nobody else does the same, and no payload is unlinked."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from checkpointdb.contexts import contextmanager
from checkpointdb.database import Database
from checkpointdb.errors import CheckpointError, StoreBusyError, UnknownOutcomeError
from checkpointdb.queries import clock
from checkpointdb.schema import leases

# Longer than anything that is done between two renewals: a snapshot of a large database.
_SECONDS = 600.0
_RENEWED_AFTER_SECONDS = 30.0
_TRIES_TO_END = 2  # a server may not answer once

# The holders of leases in this process: any other that names it was left by an interrupt.
_held: set[str] = set()


class Lease:
    """An open lease. Threads share it; whoever works under it renews it now and then."""

    def __init__(self, database: Database, purpose: str) -> None:
        self._database = database
        self._purpose = purpose
        self._here = _here(is_shared=database.path is None)
        self.holder = f"{self._here} {os.getpid()} {uuid.uuid4().hex}"
        self._lock = threading.Lock()
        self._renewed_at = time.monotonic()

    def take(self) -> None:
        """Open it. Raises StoreBusyError if somebody else has it open, and lives."""
        with self._database.write() as connection:
            holder = connection.scalar(
                select(leases.c.holder)
                .where(leases.c.purpose == self._purpose)
                .where(leases.c.expires_at > clock(datetime.now(UTC)))
            )
            if holder is not None and not _is_dead(holder, self._here):
                raise StoreBusyError(
                    f"{self._purpose}: another process is at it ({_shown(holder)}); wait for it"
                )
            _drop(connection, self._purpose)
            connection.execute(
                insert(leases).values(
                    purpose=self._purpose, holder=self.holder, expires_at=_expiry()
                )
            )

    def renew(self) -> None:
        """Move its expiry on, if it is time to. Raises StoreBusyError if it was lost."""
        with self._lock:
            if time.monotonic() - self._renewed_at < _RENEWED_AFTER_SECONDS:
                return
            with self._database.write() as connection:
                self.confirm(connection)
            self._renewed_at = time.monotonic()

    def confirm(self, connection: Connection) -> None:
        """Move its expiry on, within a write transaction. Raises StoreBusyError if it was lost.

        Also if it had expired, and nobody took over: payloads may have been unlinked since. So it
        is where a machine slept, or its clock was put forward.
        """
        renewed = connection.execute(
            update(leases)
            .where(leases.c.purpose == self._purpose)
            .where(leases.c.holder == self.holder)
            .where(leases.c.expires_at > clock(datetime.now(UTC)))
            .values(expires_at=_expiry())
        )
        if not renewed.rowcount:
            raise StoreBusyError(
                f"{self._purpose}: this process stood still for so long that others may have gone "
                "on without it; start again"
            )

    def end(self) -> None:
        """Close it; if that cannot be, it expires."""
        ours = (leases.c.purpose == self._purpose) & (leases.c.holder == self.holder)
        for _ in range(_TRIES_TO_END):
            try:
                with self._database.write() as connection:
                    connection.execute(delete(leases).where(ours))
            except UnknownOutcomeError:
                continue
            except CheckpointError:
                pass
            return


@contextmanager
def leased(database: Database, purpose: str) -> Iterator[Lease]:
    """Open a lease for as long as the block lasts. Raises StoreBusyError if another has it."""
    lease = Lease(database, purpose)
    _held.add(lease.holder)
    try:
        try:
            lease.take()
        except UnknownOutcomeError:
            lease.end()  # it may be open
            raise
        try:
            yield lease
        finally:
            lease.end()
    finally:
        _held.discard(lease.holder)


def _drop(connection: Connection, purpose: str) -> None:
    """Delete the lease that expired or whose holder died, and others that have expired."""
    is_over = (leases.c.purpose == purpose) | (leases.c.expires_at <= clock(datetime.now(UTC)))
    connection.execute(delete(leases).where(is_over))


def _expiry() -> ColumnElement[datetime]:
    return clock(datetime.now(UTC), in_seconds=_SECONDS)


def _here(*, is_shared: bool) -> str:
    """Return what processes share whose numbers we can ask about: machine and namespace.

    Machines that share a database may have one name, and these are told apart by when they were
    started. One alone is not: what ran before it was started anew is gone.
    """
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip() if is_shared else ""
    except OSError:  # not Linux: there is one
        namespace, boot = 0, f"{uuid.getnode():x}"
    host = socket.gethostname().replace(" ", "-")
    return f"{host}/{namespace}/{boot}" if is_shared else f"{host}/{namespace}"


def _is_dead(holder: str, ours: str) -> bool:
    """Say whether a holder is gone: a process of this machine, killed in the middle.

    Or this process itself, which was interrupted while it took the lease or closed it.
    """
    here, _, rest = holder.partition(" ")
    pid = rest.partition(" ")[0]
    if here != ours or not pid.isdecimal() or os.name == "nt":
        return False
    if int(pid) == os.getpid():
        return holder not in _held
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
