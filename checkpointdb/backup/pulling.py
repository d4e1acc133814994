"""A pull: a snapshot fetched into an empty directory, and the payloads that it names."""

from __future__ import annotations

import threading
from collections.abc import Collection
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select

from checkpointdb.affected import checkpoints_of_payload
from checkpointdb.backup import ledger
from checkpointdb.backup.layout import (
    KEYRING,
    PAYLOADS,
    Snapshot,
    hash_digits,
    payload_name,
    payload_path,
)
from checkpointdb.backup.meter import Meter, Run
from checkpointdb.backup.remote import Blob, Remote
from checkpointdb.backup.snapshots import blocks_in, fetch, opened, pointer_of, set_free
from checkpointdb.callbacks import Progress
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
    left_out: tuple[str, ...] = ()


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
        self.damaged: dict[str, str] = {}  # payloads that are missing or not whole, and why
        self._fetched_bytes = 0

    def fetch(
        self, snapshot: Snapshot, wanted: Wanted, database_name: str, *, skips_damaged: bool = False
    ) -> tuple[Fetched, bytes | None]:
        """Fetch a snapshot and what it names; return the keyring that belongs to it, too.

        Raises CorruptionError, which names what is missing or damaged, unless checkpoints that
        need such are left out; NotFoundError for what is wanted and is not in it.
        """
        path = self._directory / database_name
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        fetch(self._remote, snapshot, self._directory).replace(path)
        set_free(path)
        database = opened(path)
        try:
            if not wanted.is_all:
                with database.write() as connection:
                    _keep_only(connection, _wanted_rows(connection, snapshot, wanted))
            self._fetch_payloads(_rows_in(database))
            left_out = self._leave_out(database) if skips_damaged else self._refuse_damaged()
            rows = _rows_in(database)
            self._delete_others({row.name for row in rows})
            with database.write() as connection:
                if wanted.is_all and not left_out:
                    self._note_origin(connection, snapshot)
                count = connection.scalar(select(func.count()).select_from(checkpoints)) or 0
                document = connection.scalar(select(keyring.c.document))
        finally:
            database.close()
        found = Fetched(count, len(rows), self._fetched_bytes, tuple(left_out))
        return found, None if document is None else str(document).encode()

    def fetch_all_payloads(self) -> tuple[int, int]:
        """Fetch every payload, for a rebuild; return how many, and their bytes.

        Of two of one name, which a store that was brought back from an older snapshot may have
        pushed, the newer is taken. Those that are damaged stay away, and are in `damaged`.
        """
        chosen: dict[str, Blob] = {}
        for blob in self._remote.blobs(PAYLOADS):
            name = payload_name(blob.path)
            if name is not None:
                other = chosen.setdefault(name, blob)
                chosen[name] = max(blob, other, key=_age)
        self._delete_others(chosen)
        missing = [(name, blob) for name, blob in chosen.items() if not self._is_here(name, blob)]
        self._meter.total = sum(blob.stored_bytes for _, blob in missing)
        self._run(lambda each: self._fetch(each[0], each[1].path), missing)
        return len(chosen) - len(self.damaged), self._fetched_bytes

    def keyring(self) -> bytes | None:
        """Return the keyring that lies at the remote."""
        return self._remote.small(KEYRING)

    # --- rows

    def _leave_out(self, database: Database) -> list[str]:
        """Take out of the rows the checkpoints that need what is damaged; return their ids."""
        lost: dict[int, str] = {}
        with database.write() as connection:
            for row in payload_rows(connection):
                if row.name in self.damaged:
                    found = connection.execute(checkpoints_of_payload(row.id))
                    lost.update((each.id, each.checkpoint_id) for each in found)
            if lost:
                every = connection.scalars(select(checkpoints.c.id))
                _keep_only(connection, {row for row in every if row not in lost})
            remaining = {row.name for row in payload_rows(connection)}
        self.damaged = {name: why for name, why in self.damaged.items() if name in remaining}
        self._refuse_damaged()
        return list(lost.values())

    def _note_origin(self, connection: Connection, snapshot: Snapshot) -> None:
        """Say from which backup the rows are, so that this store may go on with that.

        Only if they are all, and of its latest snapshot: else they would hide the rest.
        """
        pointer = pointer_of(self._remote)
        if pointer is None or pointer.snapshot != snapshot:
            return
        ledger.note(connection, self._remote.url, snapshot=snapshot.name)
        rows = list(connection.scalars(select(checkpoints.c.id)))
        ledger.note_copied(connection, self._remote.url, payload_rows(connection))
        ledger.note_backed_up(connection, self._remote.url, rows)

    # --- payloads

    def _fetch_payloads(self, rows: list[PayloadRow]) -> None:
        """Fetch what is not here yet, and remove what an interrupted pull brought besides."""
        self._delete_others({row.name for row in rows})
        missing = [row for row in rows if not self._is_here(row.name, row)]
        self._meter.total = sum(row.stored_bytes for row in missing)
        self._run(lambda row: self._fetch(row.name, _path_of(row), row), missing)

    def _refuse_damaged(self) -> list[str]:
        """Raise CorruptionError if anything is missing or damaged; else nothing is left out."""
        if self.damaged:
            told = sorted(f"{name}: {why}" for name, why in self.damaged.items())
            raise CorruptionError(
                f"{len(told)} payloads at {self._remote.url!r} are missing or damaged "
                f"({'; '.join(told[:5])}): name an older snapshot of `backup list`, or leave out "
                "the checkpoints that need them (skip_damaged=True, --skip-damaged)",
                payload=min(self.damaged),
            )
        return []

    def _delete_others(self, names: Collection[str]) -> None:
        for file in list(self._payloads.files()):
            if file.name not in names:
                self._payloads.delete(file.name)

    def _is_here(self, name: str, wanted: PayloadRow | Blob) -> bool:
        """Say whether an attempt before has brought a payload."""
        try:
            reader = self._payloads.open(name)
        except FileNotFoundError:
            return False
        with reader:
            if reader.stored_bytes != wanted.stored_bytes:
                return False
            return _is_it(_hash(reader), wanted)

    def _fetch(self, name: str, path: str, row: PayloadRow | None = None) -> None:
        try:
            self._store(name, path, row)
        except (CorruptionError, FileNotFoundError) as error:
            with self._lock:
                self.damaged[name] = _reason(error)

    def _store(self, name: str, path: str, row: PayloadRow | None) -> None:
        """Write a payload, durable, if its bytes are those that its row or its path says."""
        reader = self._remote.open(path)
        writer = self._payloads.create(name)
        try:
            digest = sha256()
            for block in blocks_in(reader):
                digest.update(block)
                writer.write([block])
                self._meter.move(len(block))
            if not _is_it(digest.digest(), row or path):
                raise CorruptionError("its bytes are not those that were pushed", payload=name)
            writer.finish()
            with self._lock:
                self._payloads.publish(writer, name)
                self._fetched_bytes += reader.stored_bytes
        finally:
            writer.discard()
            reader.close()


def _rows_in(database: Database) -> list[PayloadRow]:
    with database.read() as connection:
        return payload_rows(connection)


def _path_of(row: PayloadRow) -> str:
    return payload_path(row.name, row.sha256)


def _is_it(digest: bytes, wanted: PayloadRow | Blob | str) -> bool:
    """Say whether a payload is what its row says; or else its path at the remote."""
    if isinstance(wanted, PayloadRow):
        return digest == wanted.sha256
    path = wanted.path if isinstance(wanted, Blob) else wanted
    return digest.hex().startswith(hash_digits(path))


def _keep_only(connection: Connection, kept: Collection[int]) -> None:
    """Take checkpoints out of the rows, and what only they need."""
    every = connection.scalars(select(checkpoints.c.id).order_by(checkpoints.c.id))
    collect(connection, remove_checkpoints(connection, [row for row in every if row not in kept]))
    connection.execute(delete(removals))  # there are no files of these here


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
