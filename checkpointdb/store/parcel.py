"""One checkpoint in one file: a full payload, or a tar archive of an encrypted store of one.

A sealed payload alone would be of no use: its key comes from a master key, which the keyring
wraps. So that one travels along, of a store made for this file: the master key of the store that
the checkpoint comes from never leaves it, and whoever has the file and the user's key needs
nothing else. `tar xf` and PipelineCheckpoint.rebuild(directory, key) open it without us.

Both ways go through a store of its own in a temporary directory, so that nothing here writes or
reads a payload in another way than a save and a rebuild do.
"""

from __future__ import annotations

import logging
import re
import shutil
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from glob import escape
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple

from checkpointdb.contexts import contextmanager
from checkpointdb.directories import (
    check_target,
    link_or_rename,
    make_directories,
    matching,
    room_in,
    sync,
    sync_directory,
    target_exists,
)
from checkpointdb.errors import (
    CheckpointError,
    CorruptionError,
    EncryptionError,
    NotFoundError,
)
from checkpointdb.format import payload_name
from checkpointdb.keyring import MOST_BYTES
from checkpointdb.keys import Key
from checkpointdb.local_payloads import LocalPayloads, unavailable
from checkpointdb.manifests import read_manifest
from checkpointdb.reports import ImportReport
from checkpointdb.schema import checkpoints
from checkpointdb.sealing import PLAIN
from checkpointdb.store.arrivals import Arrivals, OnConflict
from checkpointdb.store.copying import Open, copy_checkpoint, copy_store, opener
from checkpointdb.store.key_sources import given_key
from checkpointdb.store.keyring_copies import KEYRING_NAME
from checkpointdb.store.places import PAYLOAD_DIRECTORY
from checkpointdb.store.rebuilding import rebuild_directory

if TYPE_CHECKING:
    from checkpointdb.store.pipeline_checkpoint import PipelineCheckpoint

log = logging.getLogger("checkpointdb")

_PAYLOAD = re.compile(PAYLOAD_DIRECTORY + r"/p-[\w-]{1,80}/\d{10,20}-[\w-]{1,80}\.ckpt\.gz", re.A)
_ROOM = ".import-"  # of a directory in the store, while a file is imported
_GZIP = b"\x1f\x8b"  # RFC 1952, 2.3.1
_TRIES = 3  # of an export of what is replaced meanwhile
_USTAR = slice(257, 262)  # POSIX.1, pax: the header's magic


class Parcel(NamedTuple):
    """A file that was opened: its checkpoint in a store of its own, and the key of that."""

    file: Path
    source: Open
    key: Key | None


# --- writing


def write_parcel(
    source: Open, pipeline: str, checkpoint_id: str, file: Path, key: Key | None, *, overwrite: bool
) -> None:
    """Write a checkpoint into a file, encrypted if there is a key; whole or not at all."""
    file = file.absolute()
    try:
        check_target(file, overwrite=overwrite)
        prefix = f".{file.name[:40]}.checkpointdb-"
        with suppress(PermissionError):  # one may write into a directory, and not list it
            remove_rooms(file.parent, prefix)
        with room_in(file.parent, prefix) as room:
            directory = room / "store"
            target = opener(directory, key, is_encrypted=key is not None)
            _copy_one(source, target, pipeline, checkpoint_id)
            payloads = LocalPayloads(directory / PAYLOAD_DIRECTORY, durable=True)
            [made] = [Path(payloads.locate(each.name)) for each in payloads.files()]
            _publish(made if key is None else _packed(directory, made), file, overwrite=overwrite)
    except CheckpointError:
        raise
    except OSError as error:
        missing = "there is no directory to write it into: make it first"
        raise unavailable(error, file, missing=missing) from error


def _copy_one(source: Open, target: Open, pipeline: str, checkpoint_id: str) -> None:
    """Copy one checkpoint; where it is replaced meanwhile, what replaced it."""
    for _ in range(_TRIES):
        if copy_store([pipeline], source, target, checkpoints.c.checkpoint_id == checkpoint_id):
            return
    raise NotFoundError(
        f"checkpoint {checkpoint_id!r} was forgotten meanwhile, or replaced again and again: "
        "export another, or when nobody saves it",
        checkpoint_id=checkpoint_id,
    )


def _packed(directory: Path, payload: Path) -> Path:
    made = directory / "parcel.tar"
    with made.open("xb") as file:
        made.chmod(0o600)
        with tarfile.open(fileobj=file, mode="w") as archive:
            for path in (directory / KEYRING_NAME, payload):
                info = tarfile.TarInfo(path.relative_to(directory).as_posix())
                info.size, info.mode = path.stat().st_size, 0o600
                with path.open("rb") as content:
                    archive.addfile(info, content)
        file.flush()
        sync(file.fileno())
    return made


def _publish(made: Path, file: Path, *, overwrite: bool) -> None:
    if overwrite:
        made.replace(file)
    else:
        try:
            link_or_rename(made, file)
        except FileExistsError as error:
            raise target_exists(file) from error
    sync_directory(file.parent)


# --- reading


@contextmanager
def opened_parcel(file: Path, beside: Path, key: bytes | str | Key | None) -> Iterator[Parcel]:
    """Open a file as a store in a temporary directory of `beside`, every byte verified.

    Raises CorruptionError, naming the file, if it holds no whole checkpoint; EncryptionError.
    """
    with _room(beside) as directory:
        try:
            is_encrypted = _unpack(file, directory)
        except OSError as error:
            missing = "name a file that export_checkpoint has written"
            raise unavailable(error, file, "read", missing=missing) from error
        found = given_key(key) if is_encrypted else None
        if is_encrypted and found is None:
            raise EncryptionError(
                f"{str(file)!r} is encrypted: pass the key that opens it (key, --source-key-file)"
            )
        report = rebuild_directory(directory, found)
        if len(report.checkpoints) != 1 or report.unreadable:
            raise _not_whole(file, [reason for _, reason in report.unreadable])
        yield Parcel(file, opener(directory, found, is_encrypted=is_encrypted), found)


def remove_rooms(directory: Path, prefix: str = _ROOM) -> list[str]:
    """Remove what imports or exports that were killed over a day ago left; return the names.

    What cannot be removed is named in the log, and stays. Raises OSError where the directory may
    not be listed.
    """
    latest = time.time() - timedelta(days=1).total_seconds()
    removed = []
    for room in matching(directory, escape(prefix) + "*"):
        try:
            if room.is_dir() and not room.is_symlink() and room.stat().st_mtime <= latest:
                shutil.rmtree(room)
                removed.append(room.name)
        except FileNotFoundError:
            continue  # its owner, or another sweep, has just removed it
        except OSError as error:
            log.warning("%s could not be removed, the next sweep will retry: %s", room, error)
    return removed


@contextmanager
def _room(beside: Path) -> Iterator[Path]:
    try:
        with room_in(beside, _ROOM) as room:
            yield room
    except CheckpointError:
        raise
    except OSError as error:
        raise unavailable(error, beside) from error


def take(parcel: Parcel, theirs: PipelineCheckpoint, on_conflict: OnConflict) -> ImportReport:
    """Save the checkpoint of a parcel into a pipeline."""
    arrivals = Arrivals.into(theirs, on_conflict)
    with parcel.source("default") as any_pipeline:
        [name] = any_pipeline.pipelines()
    with parcel.source(name) as ours:
        each = replace(ours.list_checkpoints()[0], pinned=False)  # a rebuild pins
        created_at = datetime.fromisoformat(each.timestamp)
        arrival = arrivals.place(each.checkpoint_id, created_at)
        if arrival.is_saved:
            find = ours._engine.place_of(each.checkpoint_id)
            try:
                copy_checkpoint(ours, theirs, find, each, arrival, None)
            except CorruptionError as error:
                raise _not_whole(parcel.file, [str(error)]) from error
    arrivals.record(each.checkpoint_id, created_at, arrival)
    return arrivals.report()


def _unpack(file: Path, directory: Path) -> bool:
    """Bring a file's payload to its place in a directory; say whether it is sealed."""
    with file.open("rb") as content:
        head = content.read(512)
        content.seek(0)
        if head[_USTAR] == b"ustar":
            _unpack_archive(file, content, directory)
            return True
        if not head.startswith(_GZIP):
            raise CorruptionError(
                f"{str(file)!r} is no exported checkpoint: neither a payload in the clear nor an "
                "archive (a payload out of an encrypted store needs that store: use "
                "export_checkpoint there)"
            )
        _write(content, directory / PAYLOAD_DIRECTORY / "p-incoming" / "0000000001-x.ckpt.gz")
    _name_payload(file, directory / PAYLOAD_DIRECTORY)
    return False


def _name_payload(file: Path, root: Path) -> None:
    """Move a payload to the directory of its pipeline, where a rebuild expects it."""
    payloads = LocalPayloads(root, durable=False)
    reader = payloads.open("p-incoming/0000000001-x.ckpt.gz")
    try:
        described = read_manifest(reader, "", PLAIN).checkpoints
    except CorruptionError as error:
        raise _not_whole(file, [str(error)]) from error
    finally:
        reader.close()
    if not described:
        raise _not_whole(file, ["it describes no checkpoint"])
    target = root / payload_name(described[0].pipeline, 1, described[0].checkpoint_id)
    if target.parent != root / "p-incoming":
        (root / "p-incoming").rename(target.parent)


def _unpack_archive(file: Path, content: BinaryIO, directory: Path) -> None:
    try:
        with tarfile.open(fileobj=content, mode="r:") as archive:
            for member in archive:
                _write(_opened(archive, member), directory / member.name)
    except FileExistsError as error:
        raise _not_whole(file, [f"it has {error.filename!r} twice"]) from error
    except (CorruptionError, tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise _not_whole(file, [str(error)]) from error
    if not (directory / KEYRING_NAME).exists():
        raise _not_whole(file, [f"it has no {KEYRING_NAME}"])


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    """Open one of the two files that an archive has, by names that lead nowhere else."""
    is_keyring = member.name == KEYRING_NAME and member.size <= MOST_BYTES
    # What is sparse may claim any size.
    content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
    if content is None or not (is_keyring or _PAYLOAD.fullmatch(member.name)):
        raise CorruptionError(f"it has {member.name[:200]!r}, which it should not")
    return content


def _write(content: IO[bytes], path: Path) -> None:
    make_directories(path.parent, durable=False)
    with path.open("xb") as file:
        path.chmod(0o600)
        shutil.copyfileobj(content, file, 1 << 20)


def _not_whole(file: Path, reasons: list[str]) -> CorruptionError:
    why = "; ".join(reasons) or "it is incremental, or of several: export_checkpoint writes one"
    return CorruptionError(
        f"{str(file)!r} holds no whole checkpoint, nothing was imported ({why})", payload=str(file)
    )
