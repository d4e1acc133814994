"""A store pushed to a remote and pulled from it; with the rebuild, where the snapshot is gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from checkpointdb import directories
from checkpointdb.backup import auditing, ledger, retaining
from checkpointdb.backup.layout import INCOMING, PAYLOADS, SNAPSHOTS, Snapshot
from checkpointdb.backup.pulling import Fetched, Pull, Wanted
from checkpointdb.backup.pushing import Source, push
from checkpointdb.backup.remote import Remote
from checkpointdb.backup.snapshots import chosen, opened, pointer_of
from checkpointdb.bucket_urls import directory_of_url, is_file_url, parse_url
from checkpointdb.callbacks import Progress
from checkpointdb.contexts import contextmanager
from checkpointdb.database import Database
from checkpointdb.directories import (
    locked_directory,
    make_directories,
    make_private,
    matching,
    sync,
    sync_directory,
)
from checkpointdb.errors import (
    CheckpointError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    SchemaVersionError,
    StoreBusyError,
    StoreUnavailableError,
)
from checkpointdb.local_payloads import LocalPayloads, unavailable
from checkpointdb.reports import BackupPruneReport, BackupReport, PullReport, PushReport
from checkpointdb.store.claims import CLAIM_NAME, INSIDE, place_of
from checkpointdb.store.engine import Engine
from checkpointdb.store.keyring_copies import KEYRING_NAME, write_file
from checkpointdb.store.moving import move_rows
from checkpointdb.store.places import DATABASE_NAME, PAYLOAD_DIRECTORY
from checkpointdb.store.pool import Pool
from checkpointdb.store.rebuilding import rebuild_directory
from checkpointdb.store.trash import Trash

ROOM = ".push-"  # of a directory in the store, while it is pushed
_THREADS = 8  # most of the time they wait


def push_store(
    engine: Engine,
    directory: Path,
    remote: Remote,
    *,
    takes_over: bool = False,
    read_remote: bool = False,
    progress: Progress | None = None,
) -> PushReport:
    """Back the store of an engine up, and unlink what was held back meanwhile."""
    if engine.database.read_only:
        raise StoreUnavailableError(
            f"the store {str(directory)!r} was opened read-only: what was backed up could not be "
            "noted in it"
        )
    _refuse_own_claim(remote, engine.database)
    with room_in(directory) as room, _threads() as pool:
        source = Source(engine.database, engine.payloads, pool.run)
        report = push(
            source,
            remote,
            room,
            takes_over=takes_over,
            read_remote=read_remote,
            progress=progress,
        )
    Trash(engine.payloads, engine.database).empty_leftovers()
    return report


def prune_remote(
    database: Database, directory: Path, remote: Remote, keep: Any, **options: bool
) -> BackupPruneReport:
    """Delete what a policy does not keep at a remote."""
    with room_in(directory) as room:
        return retaining.prune(database, remote, keep, room, **options)


def refuse_own_place(remote: Remote, directory: Path, payload_url: str | None) -> None:
    """Raise InvalidInputError for a remote that shares a place with the store itself.

    It is a place of the store, or lies in one; or one lies among the remote's own files.
    """
    own = [directory.as_uri()] if payload_url is None else [directory.as_uri(), payload_url]
    there = _place_of(remote.url)
    if any(there.is_within(_place_of(each)) for each in own):
        raise InvalidInputError(
            f"{remote.url!r} is a place of the store itself: a backup there would be lost with it; "
            "name another directory, or another prefix"
        )
    for each in own:
        if any(_place_of(each).is_within(there / name) for name in (PAYLOADS, SNAPSHOTS, INCOMING)):
            raise InvalidInputError(
                f"{each!r}, a place of the store itself, lies where a backup at {remote.url!r} "
                "has its own files: name another directory, or another prefix, for the backup"
            )


def _refuse_own_claim(remote: Remote, database: Database) -> None:
    """Raise InvalidInputError where the claim of the store's own place is found.

    URLs alone do not tell: an endpoint has several names, or is in the environment, and a
    directory may be mounted twice.
    """
    with database.read() as connection:
        place = place_of(connection)
    if place is None or not _may_be_one(remote.url, place.url):
        return
    below = [CLAIM_NAME, *(f"{name}/{CLAIM_NAME}" for name in (PAYLOADS, SNAPSHOTS, INCOMING))]
    claims = chain(map(remote.small, below), remote.around(CLAIM_NAME))
    if any(claim == place.note for claim in claims):
        raise InvalidInputError(
            f"{remote.url!r} is a place of the store itself by another name, or one lies in the "
            "other, as the store's claim is there: a backup there would be lost with it; name "
            "another directory, or another prefix (or remove the claim, if it is left of a place "
            "that the store has no more)"
        )


def _may_be_one(url: str, other: str) -> bool:
    """Say whether two URLs can name the same: if both are directories, or buckets of one name."""
    if is_file_url(url) or other == INSIDE or is_file_url(other):
        return is_file_url(url) and (other == INSIDE or is_file_url(other))
    return parse_url(url)[:2] == parse_url(other)[:2]


class _Place(NamedTuple):
    """What a URL names, whatever it says of how to reach it."""

    root: object
    parts: tuple[str, ...]

    def __truediv__(self, name: str) -> _Place:
        return self._replace(parts=(*self.parts, name))

    def is_within(self, other: _Place) -> bool:
        """Say whether it is the other one, or lies in it."""
        return self.root == other.root and self.parts[: len(other.parts)] == other.parts


def _place_of(url: str) -> _Place:
    if is_file_url(url):
        return _Place("file", directory_of_url(url).resolve().parts)
    found = parse_url(url)
    parts = tuple(found.prefix.split("/")) if found.prefix else ()
    return _Place((found.scheme, found.bucket, found.endpoint), parts)


def verify_remote(
    remote: Remote, *, snapshot: str | None, read_data: bool, progress: Progress | None
) -> BackupReport:
    """Compare a remote with a snapshot of it."""
    with directories.room_in(None, "checkpointdb-") as room, _threads() as pool:
        return auditing.verify(
            remote,
            room,
            pool.run,
            snapshot=snapshot,
            read_data=read_data,
            progress=progress,
        )


def pull_store(
    remote: Remote,
    directory: Path,
    wanted: Wanted,
    *,
    snapshot: str | None = None,
    skips_damaged: bool = False,
    database_url: str | None = None,
    progress: Progress | None = None,
) -> PullReport:
    """Bring a snapshot back into a new directory; an interrupted pull is gone on with.

    Its rows go to a server, if one is named. Where the latest is wanted, and is another at the
    end since somebody pushed and pruned, that one is gone on with.
    """
    named = chosen(remote, snapshot)
    with _room_beside(directory) as room, _threads() as pool, _explained(directory):

        def fetch(named: Snapshot) -> tuple[Fetched, bytes | None]:
            pull = Pull(remote, room, _payloads_in(room), pool.run, progress)
            return pull.fetch(named, wanted, DATABASE_NAME, skips_damaged=skips_damaged)

        try:
            found, keyring = fetch(named)
        except CorruptionError:
            latest = named if snapshot else chosen(remote, None)
            if latest == named:
                raise
            named = latest
            found, keyring = fetch(named)
        if keyring is not None:
            write_file(room, keyring.decode())
        if database_url is not None:
            move_rows(room / DATABASE_NAME, _payloads_in(room), database_url)
        _publish(room, directory)
    return PullReport(
        remote.url,
        named.name,
        str(directory),
        found.checkpoints,
        found.payloads,
        found.fetched_bytes,
        found.left_out,
    )


def rebuild_from(
    remote: Remote, directory: Path, key: object | None, progress: Progress | None = None
) -> PullReport:
    """Bring all payloads back into a new directory, and make the database anew from them."""
    with _room_beside(directory) as room, _threads() as pool, _explained(directory):
        for path in matching(room, f"{DATABASE_NAME}*"):
            path.unlink()  # of an attempt before
        pull = Pull(remote, room, _payloads_in(room), pool.run, progress)
        count, fetched_bytes = pull.fetch_all_payloads()
        if not count:
            raise NotFoundError(f"there are no payloads at {remote.url!r} to rebuild from")
        if keyring := pull.keyring():
            write_file(room, keyring.decode())
        report = rebuild_directory(room, key)
        if not report.checkpoints:
            raise CorruptionError(
                f"of the {count} payloads at {remote.url!r} none brings a checkpoint back whole: "
                "they are damaged, or what is left of checkpoints that were forgotten"
            )
        _note_origin(remote, room / DATABASE_NAME)
        _publish(room, directory)
    unreadable = {name for name, _ in report.unreadable} | pull.damaged.keys()
    left_out = (*report.left_out, *sorted(unreadable))
    found = len(report.checkpoints)
    return PullReport(remote.url, None, str(directory), found, count, fetched_bytes, left_out)


def _note_origin(remote: Remote, path: Path) -> None:
    """Let a rebuilt store go on with the backup, if that still says which snapshot was its last."""
    try:
        pointer = pointer_of(remote)
    except (CorruptionError, SchemaVersionError):
        return
    if pointer is not None:
        database = opened(path)
        try:
            with database.write() as connection:
                ledger.note(connection, remote.url, snapshot=pointer.snapshot.name)
        finally:
            database.close()


# --- directories


@contextmanager
def room_in(directory: Path) -> Iterator[Path]:
    """Make a directory in a store for what is needed only meanwhile."""
    try:
        with directories.room_in(directory, ROOM) as room:
            yield room
    except CheckpointError:
        raise
    except OSError as error:
        raise unavailable(error, directory) from error


@contextmanager
def _threads() -> Iterator[Pool]:
    pool = Pool()
    pool.threads = _THREADS
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def _room_beside(directory: Path) -> Iterator[Path]:
    """Make where a pull collects what it brings, if it is not there yet, for this pull alone.

    Its name is always the same, so that an interrupted pull is gone on with; but one that wants
    what is not there leaves nothing.

    Raises InvalidInputError if the directory exists and is not empty, or nothing can be renamed
    to it; StoreBusyError if another process pulls into it.
    """
    if os.path.ismount(directory):
        raise InvalidInputError(
            f"{str(directory)!r} is where a file system is mounted, and no store can take its "
            "place at once: name a new directory in it"
        )
    _refuse_existing(directory)
    room = directory.with_name(f".{directory.name}.pull")
    with _explained(directory):
        is_new = not room.exists()
        make_directories(room, durable=True)
        with locked_directory(room) as is_ours:
            if not is_ours:
                raise StoreBusyError(f"another process pulls into {str(directory)!r}: wait for it")
            try:
                _refuse_existing(directory)  # another pull may have ended meanwhile
            except InvalidInputError:
                with suppress(OSError):
                    room.rmdir()  # which we made anew, as that pull has renamed its own
                raise
            try:
                make_private(room / PAYLOAD_DIRECTORY)
                (room / KEYRING_NAME).unlink(missing_ok=True)  # of an attempt before
                yield room
            except NotFoundError:
                if is_new:
                    shutil.rmtree(room, ignore_errors=True)
                raise


def _refuse_existing(directory: Path) -> None:
    if os.path.lexists(directory) and not (directory.is_dir() and not any(directory.iterdir())):
        raise InvalidInputError(
            f"{str(directory)!r} exists, and a pull overwrites nothing: name a new directory, or "
            "move it away"
        )


def _payloads_in(room: Path) -> LocalPayloads:
    return LocalPayloads(room / PAYLOAD_DIRECTORY, durable=True)


def _publish(room: Path, directory: Path) -> None:
    """Let what was pulled be a store, all at once, and durable."""
    shutil.rmtree(room / PAYLOAD_DIRECTORY / "incoming", ignore_errors=True)
    with suppress(FileNotFoundError), (room / DATABASE_NAME).open("rb+") as file:
        sync(file.fileno())  # unless its rows are on a server
    for each in (room / PAYLOAD_DIRECTORY, room):
        sync_directory(each)
    if os.name == "nt" and directory.exists():
        directory.rmdir()
    room.rename(directory)  # over an empty one, but never over one that is not
    sync_directory(directory.parent)


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except (CheckpointError, FileNotFoundError):
        raise
    except OSError as error:
        raise unavailable(error, directory) from error
