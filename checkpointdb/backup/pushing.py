"""A push: what the remote lacks is copied, then the snapshot that names it, then the pointer."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select

from checkpointdb.affected import checkpoints_of_payload
from checkpointdb.backup import ledger
from checkpointdb.backup.auditing import Audit
from checkpointdb.backup.layout import (
    KEYRING,
    POINTER,
    Pointer,
    Snapshot,
    encode_pointer,
    new_snapshot,
    payload_path,
)
from checkpointdb.backup.lease import Lease, leased
from checkpointdb.backup.meter import Meter, Run
from checkpointdb.backup.ownership import expect_ours, note_held, overtaken
from checkpointdb.backup.remote import Remote
from checkpointdb.backup.snapshots import blocks_in, blocks_of, copy_of, pack
from checkpointdb.callbacks import Progress
from checkpointdb.damage import only_damage
from checkpointdb.database import Database
from checkpointdb.errors import (
    CorruptionError,
    InvalidInputError,
    StoreBusyError,
)
from checkpointdb.inventory import PayloadRow, payload_rows
from checkpointdb.marks import note_damage
from checkpointdb.payloads import PayloadReader, PayloadStore
from checkpointdb.reports import PushReport
from checkpointdb.schema import checkpoints, keyring
from checkpointdb.sqlite_backup import use_log


class Source(NamedTuple):
    """The store that is pushed; `run` does work for each of many, in threads."""

    database: Database
    payloads: PayloadStore
    run: Run


def push(
    source: Source,
    remote: Remote,
    room: Path,
    *,
    takes_over: bool = False,
    read_remote: bool = False,
    progress: Progress | None = None,
) -> PushReport:
    """Back a store up; `room` is a directory for what is only needed meanwhile.

    With `read_remote` what is there is read, and replaced if it is damaged.

    Raises StoreBusyError if another process pushes there, InvalidInputError if another store
    does, StoreUnavailableError if the remote cannot be reached, or if the backup there is gone.
    """
    with leased(source.database, f"backup to {remote.url}") as lease:
        started = _Push(source, remote, room, lease, progress)
        return started.run(takes_over=takes_over, read_remote=read_remote)


class _Contents(NamedTuple):
    """What a snapshot names, and what it is a snapshot of."""

    rows: list[PayloadRow]
    checkpoints: list[int]
    keyring: str | None
    mark: str


class _Push:
    """One push, under a lease."""

    def __init__(
        self, source: Source, remote: Remote, room: Path, lease: Lease, progress: Progress | None
    ) -> None:
        self._source = source
        self._remote = remote
        self._room = room
        self._lease = lease
        self._meter = Meter(progress, self._show_life)
        self._unreadable: dict[PayloadRow, str] = {}
        self._lock = threading.Lock()

    def run(self, *, takes_over: bool, read_remote: bool) -> PushReport:
        if takes_over:
            seen = self._remote.small(POINTER)
        else:
            seen = expect_ours(self._source.database, self._remote)
        created_at = datetime.now(UTC)
        copy = copy_of(self._source.database, self._room / "copy.db", self._lease.renew)
        try:
            found = _contents(copy)
            self._lease.renew()
            missing = self._missing(found.rows, read_remote=read_remote)
            self._meter.total += sum(row.stored_bytes for row in missing)
            self._source.run(self._copy, missing)
            note_damage(self._source.database.write, [row.name for row in self._unreadable])
            whole = self._whole(copy, found.checkpoints)
        finally:
            copy.close()
        use_log(self._room / "copy.db", is_used=False)
        packed = self._room / "copy.db.gz"
        digits = pack(self._room / "copy.db", packed, lambda _: self._show_life())
        snapshot = new_snapshot(created_at, digits)
        if found.keyring is not None:
            self._put_keyring(found.keyring.encode())
        self._publish(snapshot, packed, seen)
        self._note(snapshot, found, whole)
        copied = [row for row in missing if row not in self._unreadable]
        return PushReport(
            self._remote.url,
            snapshot.name,
            len(whole),
            len(found.rows) - len(self._unreadable),
            len(copied),
            sum(row.stored_bytes for row in copied),
            tuple((row.name, why) for row, why in self._unreadable.items()),
        )

    def _show_life(self) -> None:
        """Renew the lease, and what a sweep goes by, which takes a room for left after a day."""
        self._lease.renew()
        with suppress(OSError):
            os.utime(self._room)

    # --- before

    def _missing(self, rows: list[PayloadRow], *, read_remote: bool) -> list[PayloadRow]:
        """Return what the remote lacks, or does not hold whole: that is replaced."""
        audit = Audit(self._remote, self._meter, read_data=read_remote)
        audit.look_at_all(rows, self._source.run)
        return [row for row in rows if row in audit.found]

    # --- copying

    def _copy(self, row: PayloadRow) -> None:
        try:
            with only_damage(self._source.payloads, row.name):
                reader = self._source.payloads.open(row.name)
            try:
                pieces = self._checked(reader, row)
                self._remote.put(payload_path(row.name, row.sha256), pieces)
            finally:
                reader.close()
        except (CorruptionError, FileNotFoundError) as error:
            with self._lock:
                self._unreadable[row] = str(error)

    def _checked(self, reader: PayloadReader, row: PayloadRow) -> Iterator[bytes]:
        """Yield a payload's bytes; raise before the end if they are not what was saved."""
        digest = sha256()
        if reader.stored_bytes != row.stored_bytes:
            raise CorruptionError("it is not as long as its row says", payload=row.name)
        blocks = blocks_in(reader)
        while True:
            with only_damage(self._source.payloads, row.name):
                block = next(blocks, None)
            if block is None:
                break
            digest.update(block)
            self._meter.move(len(block))
            yield block
        if digest.digest() != row.sha256:
            raise CorruptionError("its bytes are not those that were saved", payload=row.name)

    def _whole(self, copy: Database, rows: list[int]) -> list[int]:
        """Return the checkpoints that need none of the unreadable payloads."""
        lost: set[int] = set()
        with copy.read() as connection:
            for row in self._unreadable:
                lost.update(connection.scalars(checkpoints_of_payload(row.id)))
        return [row for row in rows if row not in lost]

    # --- the end

    def _put_keyring(self, content: bytes) -> None:
        seen = self._remote.small(KEYRING)
        if seen != content and not self._remote.swap(KEYRING, seen, content):
            raise overtaken(self._remote)

    def _publish(self, snapshot: Snapshot, packed: Path, seen: bytes | None) -> None:
        """Write the snapshot and let the pointer name it: from then on it holds."""
        stored_bytes = packed.stat().st_size
        self._meter.total += stored_bytes
        self._remote.put(snapshot.path, blocks_of(packed, self._meter.move))
        try:
            self._point_to(Pointer(snapshot, stored_bytes), seen)
        except (StoreBusyError, InvalidInputError):
            # Payloads that it names may be missing, or the place is another's by now: no retention
            # of snapshots may count it, and let a whole one go for it.
            self._remote.delete(snapshot.path)
            raise

    def _point_to(self, pointer: Pointer, seen: bytes | None) -> None:
        with self._source.database.write() as connection:
            # Else payloads that the snapshot names may be gone already, and not at the remote.
            self._lease.confirm(connection)
            note_held(connection, self._remote, seen)
            # Before the pointer: if we are killed right after it, it is known to be ours.
            ledger.note(connection, self._remote.url, pending=pointer.snapshot.name)
        if not self._remote.swap(POINTER, seen, encode_pointer(pointer)):
            raise overtaken(self._remote)

    def _note(self, snapshot: Snapshot, found: _Contents, whole: list[int]) -> None:
        url = self._remote.url
        facts = {
            "snapshot": snapshot.name,
            "pending": None,
            "mark": found.mark,
            "pushed_at": snapshot.created_at,
            "failed_at": None,
            "failure": None,
        }
        copied = [row for row in found.rows if row not in self._unreadable]
        with self._source.database.write() as connection:
            ledger.note(connection, url, **facts)
            ledger.note_copied(connection, url, copied)
            ledger.note_backed_up(connection, url, whole)


def _contents(copy: Database) -> _Contents:
    with copy.read() as connection:
        return _Contents(
            payload_rows(connection),
            list(connection.scalars(select(checkpoints.c.id).order_by(checkpoints.c.id))),
            connection.scalar(select(keyring.c.document)),
            ledger.mark_of(connection),
        )
