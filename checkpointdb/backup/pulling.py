"""A pull: a snapshot fetched into an empty directory, and the payloads that it names."""

from __future__ import annotations

import threading
from collections.abc import Collection
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select

from checkpointdb.backup import ledger
from checkpointdb.backup.layout import (
    KEYRING,
    PAYLOADS,
    Snapshot,
    hash_digits,
    payload_name,
    payload_path,
)
from checkpointdb.backup.meter import Meter, Progress, Run
from checkpointdb.backup.remote import Blob, Remote
from checkpointdb.backup.snapshots import blocks_in, fetch, opened, pointer_of, set_free
from checkpointdb.database import Database
from checkpointdb.errors import CorruptionError, NotFoundError
from checkpointdb.forgetting import collect, remove_checkpoints
from checkpointdb.inventory import PayloadRow, payload_rows
from checkpointdb.local_payloads import LocalPayloads
from checkpointdb.payloads import PayloadReader
from checkpointdb.schema import checkpoints, keyring, pipelines, removals


class Wanted(NamedTuple):
    """What of a backup is wanted: all, some pipelines, or some checkpoints of one."""

    pipelines: Collection[str] | None = None
    checkpoint_ids: Collection[str] | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self.pipelines is None and self.checkpoint_ids is None


class Fetched(NamedTuple):
    """What a pull has brought into a directory."""

    checkpoints: int
    payloads: int
    fetched_bytes: int


class Pull:
    """One pull into a directory of its own, where what an interrupted one left is used."""

    def __init__(
        self,
        remote: Remote,
        directory: Path,
        payloads: LocalPayloads,
        run: Run,
        progress: Progress | None,
    ) -> None:
        self._remote = remote
        self._directory = directory
        self._payloads = payloads
        self._run = run
        self._meter = Meter(progress)
        self._lock = threading.Lock()
        self._damaged: list[str] = []
        self._fetched_bytes = 0

    def fetch(
        self, snapshot: Snapshot, wanted: Wanted, database_name: str
    ) -> tuple[Fetched, bytes | None]:
        """Fetch a snapshot and what it names; return the keyring that belongs to it, too.

        Raises CorruptionError, which names what is missing or damaged; NotFoundError for what
        is wanted and is not in it.
        """
        path = self._directory / database_name
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        fetch(self._remote, snapshot, self._directory).replace(path)
        set_free(path)
        database = opened(path)
        try:
            self._reduce(database, snapshot, wanted)
            with database.read() as connection:
                rows = payload_rows(connection)
                count = connection.scalar(select(func.count()).select_from(checkpoints)) or 0
                document = connection.scalar(select(keyring.c.document))
            self._fetch_payloads(rows)
        finally:
            database.close()
        found = Fetched(count, len(rows), self._fetched_bytes)
        return found, None if document is None else str(document).encode()

    def fetch_all_payloads(self) -> tuple[int, int]:
        """Fetch every payload, for a rebuild; return how many, and their bytes.

        Of two of one name, which a store that was brought back from an older snapshot may have
        pushed, the newer is taken. Those that are damaged are left to the rebuild to tell.
        """
        chosen: dict[str, Blob] = {}
        for blob in self._remote.blobs(PAYLOADS):
            name = payload_name(blob.path)
            if name is not None:
                other = chosen.setdefault(name, blob)
                chosen[name] = max(blob, other, key=_age)
        self._meter.total = sum(blob.stored_bytes for blob in chosen.values())
        self._run(lambda item: self._store(item[0], item[1].path), chosen.items())
        return len(chosen), self._fetched_bytes

    def keyring(self) -> bytes | None:
        """Return the keyring that lies at the remote."""
        return self._remote.small(KEYRING)

    # --- rows

    def _reduce(self, database: Database, snapshot: Snapshot, wanted: Wanted) -> None:
        """Take out of the rows what is not wanted, and say from which backup they are."""
        with database.write() as connection:
            if wanted.is_all:
                pointer = pointer_of(self._remote)
                if pointer is not None and pointer.snapshot == snapshot:
                    # It may go on where the other has stopped; of what is a part, or older, that
                    # would hide the rest.
                    ledger.note(connection, self._remote.url, snapshot=snapshot.name)
                    rows = list(connection.scalars(select(checkpoints.c.id)))
                    ledger.note_copied(connection, self._remote.url, payload_rows(connection))
                    ledger.note_backed_up(connection, self._remote.url, rows)
                return
            kept = _wanted_rows(connection, snapshot, wanted)
            every = connection.scalars(select(checkpoints.c.id).order_by(checkpoints.c.id))
            touched = remove_checkpoints(connection, [row for row in every if row not in kept])
            collect(connection, touched)
            connection.execute(delete(removals))  # there are no files of these here

    # --- payloads

    def _fetch_payloads(self, rows: list[PayloadRow]) -> None:
        """Fetch what is not here yet, and remove what an interrupted pull brought besides."""
        names = {row.name for row in rows}
        for file in list(self._payloads.files()):
            if file.name not in names:
                self._payloads.delete(file.name)
        missing = [row for row in rows if not self._is_here(row)]
        self._meter.total = sum(row.stored_bytes for row in missing)
        self._run(self._fetch_payload, missing)
        if self._damaged:
            raise CorruptionError(
                f"{len(self._damaged)} payloads at {self._remote.url!r} are missing or damaged "
                f"({'; '.join(sorted(self._damaged)[:5])}): name an older snapshot of `backup "
                "list`, or pull the checkpoints that `backup verify` does not name",
                payload=min(self._damaged).partition(":")[0],
            )

    def _is_here(self, row: PayloadRow) -> bool:
        try:
            reader = self._payloads.open(row.name)
        except FileNotFoundError:
            return False
        with reader:
            return reader.stored_bytes == row.stored_bytes and _hash(reader) == row.sha256

    def _fetch_payload(self, row: PayloadRow) -> None:
        try:
            self._store(row.name, payload_path(row.name, row.sha256), row)
        except (CorruptionError, FileNotFoundError) as error:
            with self._lock:
                self._damaged.append(f"{row.name}: {_reason(error)}")

    def _store(self, name: str, path: str, row: PayloadRow | None = None) -> None:
        """Write a payload, durable, if its bytes are those that its row or its path says."""
        reader = self._remote.open(path)
        writer = self._payloads.create(name)
        try:
            digest = sha256()
            for block in blocks_in(reader):
                digest.update(block)
                writer.write([block])
                self._meter.move(len(block))
            if row is not None and digest.digest() != row.sha256:
                raise CorruptionError("its bytes are not those that were pushed", payload=name)
            if row is not None or digest.hexdigest().startswith(hash_digits(path)):
                writer.finish()
                with self._lock:
                    self._payloads.publish(writer, name)
                    self._fetched_bytes += reader.stored_bytes
        finally:
            writer.discard()
            reader.close()


def _wanted_rows(connection: Connection, snapshot: Snapshot, wanted: Wanted) -> set[int]:
    """Return the rows of what is wanted. Raises NotFoundError for what is not in the snapshot."""
    query = (
        select(checkpoints.c.id, checkpoints.c.checkpoint_id, pipelines.c.name)
        .join(pipelines, pipelines.c.id == checkpoints.c.pipeline_id)
        .order_by(checkpoints.c.id)
    )
    every = connection.execute(query).all()
    found = [row for row in every if wanted.pipelines is None or row.name in wanted.pipelines]
    _expect(wanted.pipelines, {row.name for row in found}, "pipeline", snapshot)
    ids = wanted.checkpoint_ids
    found = [row for row in found if ids is None or row.checkpoint_id in ids]
    _expect(ids, {row.checkpoint_id for row in found}, "checkpoint", snapshot)
    return {row.id for row in found}


def _expect(wanted: Collection[str] | None, found: set[str], what: str, snapshot: Snapshot) -> None:
    if missing := sorted(set(wanted or ()) - found):
        shown = ", ".join(map(repr, missing[:5]))
        raise NotFoundError(
            f"the snapshot {snapshot.name!r} has no {what} {shown}: an older one may"
        )


def _age(blob: Blob) -> tuple[datetime, str]:
    return blob.modified_at, blob.path


def _hash(reader: PayloadReader) -> bytes:
    digest = sha256()
    for block in blocks_in(reader):
        digest.update(block)
    return digest.digest()


def _reason(error: Exception) -> str:
    return "it is missing" if isinstance(error, FileNotFoundError) else str(error)
