"""Copies of the database: made, packed, sent; found, fetched, unpacked. Each is verified."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO

from isal import isal_zlib
from sqlalchemy import URL, delete

from checkpointdb.backup.layout import (
    POINTER,
    SNAPSHOTS,
    Pointer,
    Snapshot,
    decode_pointer,
    snapshot_of,
)
from checkpointdb.backup.remote import Remote
from checkpointdb.database import HEAD_REVISION, Database
from checkpointdb.database_errors import translated
from checkpointdb.errors import (
    CorruptionError,
    InvalidInputError,
    NotFoundError,
)
from checkpointdb.payloads import PayloadReader
from checkpointdb.reports import BackupSnapshot
from checkpointdb.revisions import is_known
from checkpointdb.row_copies import copy_rows
from checkpointdb.schema import backed_up, backups, leases, place, remotes, removals
from checkpointdb.sqlite_backup import check_copy, copy_database, use_log

BLOCK_BYTES = 1 << 20
_GZIP = 31  # zlib's wbits for it
_InflateError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub says otherwise
# Rows shrink to a half or a third, never to a hundredth: what grows more would fill the disk.
_MOST_EXPANDED = 100
_SMALL_BYTES = 64 << 20
Moved = Callable[[int], object]  # so many bytes more

# What a snapshot has no use for: what this machine was about to do, where it pushed to, and where
# its payloads were, since a pull brings them into the store's own directory.
_OF_THIS_MACHINE = (leases, removals, backed_up, backups, remotes, place)


# --- made


def copy_of(
    database: Database, target: Path, step: Callable[[], object] = lambda: None
) -> Database:
    """Copy a database as it is at this moment into a new SQLite file, and open that.

    That of a server row by row, in one transaction that reads: `step` is called now and then.
    """
    if database.path is None:
        copy = _opened(target, is_new=True)
        with database.read() as source, copy.write() as connection:
            copy_rows(source, connection, leaving_out=_OF_THIS_MACHINE, step=step)
        return copy
    with translated(str(database.path), database.busy_seconds):
        copy_database(database.path, target, database.busy_seconds)
    copy = opened(target)
    with copy.write() as connection:
        for table in _OF_THIS_MACHINE:
            connection.execute(delete(table))
    return copy


def opened(path: Path) -> Database:
    """Open a copy that nobody else has, brought up to date if it is of an older schema.

    Raises SchemaVersionError if it is of a newer one, CorruptionError if it is of none.
    """
    return _opened(path, is_new=False)


def _opened(path: Path, *, is_new: bool) -> Database:
    database = Database(URL.create("sqlite", database=str(path)), durable=False)
    try:
        found = database.revision()
        if not is_new:
            _expect_tables(found)
        if found not in {None, HEAD_REVISION} and is_known(str(found)):
            database.migrate(HEAD_REVISION)  # a copy needs no other beside it, as `prepare` makes
        database.prepare(upgrade=False)
    except BaseException:
        database.close()
        raise
    return database


def _expect_tables(revision: str | None) -> None:
    if revision is None:
        raise CorruptionError("the database of the backup is damaged: it is empty")


def pack(plain: Path, packed: Path, moved: Moved = lambda _: None) -> str:
    """Compress a copy that is closed; return the SHA-256 of the file."""
    digest = sha256()
    with _new_file(packed) as target:
        for block in _compressed(plain, moved):
            digest.update(block)
            target.write(block)
    return digest.hexdigest()


def _compressed(path: Path, moved: Moved) -> Iterator[bytes]:
    packer = isal_zlib.compressobj(1, wbits=_GZIP)
    for block in blocks_of(path, moved):
        yield packer.compress(block)
    yield packer.flush()


def _new_file(path: Path) -> IO[bytes]:
    """Open a new file of its owner's for writing."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def blocks_of(path: Path, moved: Moved = lambda _: None) -> Iterator[bytes]:
    """Yield a file's bytes."""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            moved(len(block))
            yield block


# --- found


def pointer_of(remote: Remote) -> Pointer | None:
    """Return what a remote's pointer says; None if there is none."""
    content = remote.small(POINTER)
    return None if content is None else decode_pointer(content, remote.url)


def snapshots_of(remote: Remote) -> list[tuple[Snapshot, int]]:
    """Return the snapshots at a remote, oldest first, with their stored bytes."""
    found = []
    for blob in remote.blobs(SNAPSHOTS):
        snapshot = snapshot_of(blob.path.rpartition("/")[2])
        if snapshot is not None:
            found.append((snapshot, blob.stored_bytes))
    return sorted(found)


def list_snapshots(remote: Remote) -> list[BackupSnapshot]:
    """Return the snapshots at a remote, oldest first. Raises NotFoundError if there is no backup.

    A place that is not mounted is not taken for an empty backup.
    """
    pointer = pointer_of(remote)
    latest = pointer.snapshot.name if pointer else None
    found = [
        BackupSnapshot(each.name, each.created_at, stored_bytes, each.name == latest)
        for each, stored_bytes in snapshots_of(remote)
    ]
    if pointer is None and not found:
        raise _no_backup(remote)
    return found


def chosen(remote: Remote, name: str | None) -> Snapshot:
    """Return the snapshot of a name, or the one that the pointer names.

    Raises NotFoundError if there is no backup, InvalidInputError for what names no snapshot.
    """
    if name is not None:
        snapshot = snapshot_of(name)
        if snapshot is None:
            raise InvalidInputError(f"{name!r} names no snapshot: list them by `backup list`")
        return snapshot
    pointer = pointer_of(remote)
    if pointer is None:
        raise _no_backup(remote)
    return pointer.snapshot


def _no_backup(remote: Remote) -> NotFoundError:
    return NotFoundError(
        f"there is no backup at {remote.url!r}: look at the place, or rebuild from the payloads if "
        "they are there"
    )


# --- fetched


def fetch(remote: Remote, snapshot: Snapshot, room: Path, moved: Moved = lambda _: None) -> Path:
    """Fetch a snapshot into a directory, verify it, and return the database, closed.

    Raises CorruptionError if it is missing or is not what was pushed.
    """
    packed, plain = room / "snapshot.db.gz", room / "snapshot.db"
    for path in (packed, plain):
        path.unlink(missing_ok=True)
    try:
        reader = remote.open(snapshot.path)
    except FileNotFoundError as error:
        raise _bad(snapshot, "is missing", remote) from error
    try:
        if receive(reader, packed, moved) != snapshot.sha256:
            raise _bad(snapshot, "is damaged", remote)
    finally:
        reader.close()
    try:
        _unpack(packed, plain)
    except _InflateError as error:
        raise _bad(snapshot, "is damaged", remote) from error
    packed.unlink()
    check_copy(plain)
    return plain


def receive(reader: PayloadReader, target: Path, moved: Moved = lambda _: None) -> str:
    """Write all of a blob into a new file of its owner's; return the SHA-256."""
    digest = sha256()
    with _new_file(target) as file:
        for block in blocks_in(reader):
            digest.update(block)
            file.write(block)
            moved(len(block))
    return digest.hexdigest()


def blocks_in(reader: PayloadReader, block_bytes: int = 8 * BLOCK_BYTES) -> Iterator[bytes]:
    """Yield a blob's bytes, up to where it ends now."""
    for offset in range(0, reader.stored_bytes, block_bytes):
        yield reader.read(offset, min(block_bytes, reader.stored_bytes - offset))


def _unpack(packed: Path, plain: Path) -> None:
    unpacker = isal_zlib.decompressobj(wbits=_GZIP)
    left = _MOST_EXPANDED * packed.stat().st_size + _SMALL_BYTES
    with _new_file(plain) as file:
        for block in blocks_of(packed):
            waiting = block
            while waiting:
                piece = unpacker.decompress(waiting, BLOCK_BYTES)
                waiting = unpacker.unconsumed_tail
                left -= file.write(piece)
                if left < 0:
                    raise _InflateError("it grows without end")
        file.write(unpacker.flush())


def _bad(snapshot: Snapshot, what: str, remote: Remote) -> CorruptionError:
    return CorruptionError(
        f"the snapshot {snapshot.name!r} at {remote.url!r} {what}: name an older one of "
        "`backup list`, or rebuild the database from the payloads there (`backup pull --rebuild`)"
    )


def set_free(path: Path) -> None:
    """Make a copy, which is closed, a database like any other: with a log beside it."""
    use_log(path, is_used=True)
