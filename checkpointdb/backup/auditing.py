"""A remote compared with one of its snapshots: whether each payload is there, and whole."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from sqlalchemy import func, select

from checkpointdb.affected import checkpoints_of_payload
from checkpointdb.backup.layout import PAYLOADS, payload_path
from checkpointdb.backup.meter import Meter, Run
from checkpointdb.backup.remote import Remote
from checkpointdb.backup.snapshots import blocks_in, chosen, fetch, opened
from checkpointdb.callbacks import Progress
from checkpointdb.inventory import PayloadRow, payload_rows
from checkpointdb.reports import BackupReport, Problem
from checkpointdb.schema import checkpoints


def verify(
    remote: Remote,
    room: Path,
    run: Run,
    *,
    snapshot: str | None = None,
    read_data: bool = False,
    progress: Progress | None = None,
) -> BackupReport:
    """Compare what a remote holds with what its latest snapshot names, or another of that name.

    The snapshot itself is read and verified; with `read_data`, each payload too.

    Raises CorruptionError if the snapshot is damaged or missing, NotFoundError without a backup.
    """
    named = chosen(remote, snapshot)
    database = opened(fetch(remote, named, room))
    try:
        with database.read() as connection:
            rows = payload_rows(connection)
            count = connection.scalar(select(func.count()).select_from(checkpoints)) or 0
        audit = Audit(remote, Meter(progress), read_data=read_data)
        audit.look_at_all(rows, run)
        problems = []
        with database.read() as connection:
            for row, (kind, detail) in sorted(audit.found.items()):
                affected = connection.execute(checkpoints_of_payload(row.id))
                ids = tuple(each.checkpoint_id for each in affected)
                problems.append(Problem(kind, row.name, detail, ids))
    finally:
        database.close()
    return BackupReport(
        remote.url, named.name, count, len(rows), audit.verified_bytes, tuple(problems)
    )


class Audit:
    """What was found so far."""

    def __init__(self, remote: Remote, meter: Meter, *, read_data: bool) -> None:
        self._remote = remote
        self._meter = meter
        self._read_data = read_data
        self._there = {blob.path: blob.stored_bytes for blob in remote.blobs(PAYLOADS)}
        self._verified: list[int] = []
        self.found: dict[PayloadRow, tuple[str, str]] = {}

    @property
    def verified_bytes(self) -> int:
        """How many bytes were read and are whole."""
        return sum(self._verified)

    def look_at_all(self, rows: list[PayloadRow], run: Run) -> None:
        """Look at payloads, in threads where they are read."""
        if self._read_data:
            self._meter.total += sum(row.stored_bytes for row in rows)
            run(self._look, rows)
            return
        for row in rows:
            self._look(row)

    def _look(self, row: PayloadRow) -> None:
        path = payload_path(row.name, row.sha256)
        stored_bytes = self._there.get(path)
        if stored_bytes is None:
            self.found[row] = ("missing", "it is not at the remote")
        elif stored_bytes != row.stored_bytes:
            self.found[row] = ("length", f"it has {stored_bytes} bytes, not {row.stored_bytes}")
        elif self._read_data:
            self._read(row, path)

    def _read(self, row: PayloadRow, path: str) -> None:
        try:
            reader = self._remote.open(path)
        except FileNotFoundError:
            self.found[row] = ("missing", "it is not at the remote")
            return
        digest = sha256()
        try:
            for block in blocks_in(reader):
                digest.update(block)
                self._meter.move(len(block))
        finally:
            reader.close()
        if digest.digest() == row.sha256:
            self._verified.append(row.stored_bytes)
        else:
            self.found[row] = ("damaged", "its bytes are not those that were pushed")
