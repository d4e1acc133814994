"""A directory of the predecessor, read: an index in JSON, and beside it one file a checkpoint.

A file is a gzip-compressed pickle of a state; in an encrypted directory, a Fernet token of that.
An incremental one holds the keys that changed since its base, and names those that went.

All of it is data, and may be damaged or forged: a file is looked for beside the index by the id
alone, whatever path the index names; no link is followed; the SHA-256 is compared before a byte is
decompressed, and the bytes that come out are bounded. The hash is no signature: whoever can write
the directory can write the index too. Against a pickle's code there is `trusted` alone.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from checkpointdb.directories import matching
from checkpointdb.errors import (
    CorruptionError,
    InvalidInputError,
    StoreUnavailableError,
    WrongKeyError,
)
from checkpointdb.keys import FernetKey
from checkpointdb.trusted_globals import TrustedGlobals, Untrusted

INDEX_NAME: Final = "checkpoint_index.json"
_SUFFIX = ".ckpt.gz"
_DELETED_KEYS = "__deleted_keys__"
_VERSION = "1.0.0"
_MOST_INDEX_BYTES = 64 << 20  # a hundred thousand checkpoints
_BLOCK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Separators and drives of any system, and names that are directories.
_NO_FILE_NAME = re.compile(r"[/\\:\x00-\x1f]|^\.{1,2}$")
# Neither a link is followed, nor a pipe waited for.
_TO_READ = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
)


class Unreadable(Exception):
    """Why a checkpoint cannot be had. Internal: it becomes a line of a report."""


@dataclass(frozen=True, slots=True)
class LegacyCheckpoint:
    """What the index says of a checkpoint; `base_id` is None for a full one."""

    checkpoint_id: str
    created_at: datetime
    sha256: str
    is_encrypted: bool
    base_id: str | None
    custom_metadata: Any  # as the index has it: to be checked when it is saved


@dataclass(slots=True)
class LegacyDirectory:
    """An index, and the states that it names; `unreadable` gives reasons, by id or file."""

    path: Path
    checkpoints: dict[str, LegacyCheckpoint]
    unreadable: dict[str, str]
    trusted: TrustedGlobals | None
    most_state_bytes: int
    key: FernetKey | None = None
    _held: dict[str, dict[str, Any]] = field(default_factory=dict)  # the base used last

    @property
    def is_encrypted(self) -> bool:
        return any(each.is_encrypted for each in self.checkpoints.values())

    def in_order(self) -> list[LegacyCheckpoint]:
        """Return the checkpoints in the order of time."""
        return sorted(
            self.checkpoints.values(), key=lambda each: (each.created_at, each.checkpoint_id)
        )

    def check_key(self) -> None:
        """Raise WrongKeyError if the key opens none of the files whose hash is right."""
        wrong = None
        for each in self.in_order():
            if each.is_encrypted:
                try:
                    self._packed(each)
                    return
                except _NotOpenedError as error:
                    wrong = error
                except Unreadable:
                    continue
        if wrong is None and any(each.is_encrypted for each in self.in_order()):
            raise CorruptionError(
                f"no encrypted checkpoint of {str(self.path)!r} is whole, so that nothing shows "
                "whether the key is theirs: nothing was imported; bring them back from a backup"
            )
        if wrong is not None:
            raise WrongKeyError(
                f"the key {self.key!r} opens no checkpoint of {str(self.path)!r}: nothing was "
                "imported; give the one that they were saved with"
            )

    def state(self, checkpoint_id: str) -> dict[str, Any]:
        """Return a state as the predecessor's load gave it: base, what changed, what went.

        Raises Unreadable.
        """
        path, state = self._path_to(checkpoint_id)
        for each in reversed(path):
            try:
                content = self._content(each)
            except Unreadable as error:
                if each.checkpoint_id == checkpoint_id:
                    raise
                raise Unreadable(f"its base {each.checkpoint_id!r}: {error}") from error
            if each.base_id is None:
                state = content
            else:
                self._held = {each.base_id: state}
                state = _applied(state, content)
        return state

    def _path_to(self, checkpoint_id: str) -> tuple[list[LegacyCheckpoint], dict[str, Any]]:
        """Return what must be read, down to a full one or a base at hand, and that one's state."""
        path: dict[str, LegacyCheckpoint] = {}
        wanted: str | None = checkpoint_id
        while wanted is not None and wanted not in self._held:
            if wanted in path:
                raise Unreadable("its bases lead back to themselves")
            if wanted not in self.checkpoints:
                reason = self.unreadable.get(wanted, "is not in the index")
                raise Unreadable(f"its base {wanted!r}: {reason}")
            path[wanted] = self.checkpoints[wanted]
            wanted = path[wanted].base_id
        return list(path.values()), {} if wanted is None else self._held[wanted]

    # --- a file, from the outside in

    def _content(self, each: LegacyCheckpoint) -> dict[str, Any]:
        content = self._unpickled(self._decompressed(self._packed(each)))
        if not isinstance(content, dict):
            raise Unreadable(f"its file holds {type(content).__name__}, not a dict")
        return content

    def _packed(self, each: LegacyCheckpoint) -> bytes:
        """Return a file's gzip stream, its hash compared, decrypted if it is encrypted."""
        name = each.checkpoint_id + _SUFFIX
        # A token is a third longer than what is in it.
        raw = _read(self.path / name, self.most_state_bytes * 3 // 2 + _BLOCK_BYTES)
        if sha256(raw).hexdigest() != each.sha256:
            raise Unreadable(f"Hash verification failed: {name!r} is not the file that was saved")
        if not each.is_encrypted:
            return raw
        assert self.key is not None
        try:
            return self.key.unwrap(raw)
        except WrongKeyError as error:
            raise _NotOpenedError(f"{name!r} cannot be decrypted by {self.key!r}") from error

    def _decompressed(self, packed: bytes) -> bytearray:
        plain = bytearray()
        try:
            with gzip.GzipFile(fileobj=BytesIO(packed)) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    plain += block
                    if len(plain) > self.most_state_bytes:
                        raise Unreadable(
                            f"its state has over {self.most_state_bytes} bytes: if it is no bomb, "
                            "raise most_state_bytes"
                        )
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(f"its file is no whole gzip stream ({error})") from error
        return plain

    def _unpickled(self, plain: bytearray) -> Any:
        try:
            return pickle.loads(plain) if self.trusted is None else self.trusted.load([plain])
        except MemoryError as error:  # of a state within bounds: it claims what it does not hold
            raise Unreadable("its state asks for more memory than there is") from error
        except Untrusted as error:
            reason = f": {error.reason}" if error.reason else ""
            raise Unreadable(
                f"its pickle names {error.name}, which trusted_globals does not allow{reason}"
            ) from error
        except Exception as error:  # whatever a class does when it is restored
            raise Unreadable(
                f"its state cannot be unpickled ({type(error).__name__}: {error})"
            ) from error


class _NotOpenedError(Unreadable):
    """The key does not fit, or the file was never encrypted by it."""


def is_legacy(directory: Path) -> bool:
    """Say whether a directory was made by the predecessor.

    Raises StoreUnavailableError if it cannot be looked into.
    """
    try:
        has_index = (directory / INDEX_NAME).is_file()
    except OSError as error:
        raise StoreUnavailableError(f"{str(directory)!r} cannot be looked into: {error}") from error
    return has_index and bool(_files(directory))


def open_legacy(
    directory: Path,
    *,
    time_zone: tzinfo | None,
    trusted: TrustedGlobals | None,
    most_state_bytes: int,
) -> LegacyDirectory:
    """Read the index of a directory; times without a zone are of `time_zone` (None: local).

    Raises InvalidInputError if there is no index, CorruptionError if it is none,
    StoreUnavailableError if it cannot be read.
    """
    found: dict[str, LegacyCheckpoint] = {}
    unreadable: dict[str, str] = {}
    entries = _read_index(directory / INDEX_NAME)
    for checkpoint_id, entry in entries.items():
        try:
            found[checkpoint_id] = _checkpoint(checkpoint_id, entry, time_zone)
        except Unreadable as error:
            unreadable[checkpoint_id] = str(error)
    for name in _files(directory):
        if name.removesuffix(_SUFFIX) not in entries:
            unreadable[name] = "the index does not name this file"
    return LegacyDirectory(directory, found, unreadable, trusted, most_state_bytes)


def _read_index(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        raise InvalidInputError(
            f"there is no {INDEX_NAME} in {str(path.parent)!r}: it is no directory of the "
            "predecessor"
        )
    try:
        index = json.loads(_read(path, _MOST_INDEX_BYTES), parse_constant=str)  # NaN
    except Unreadable as error:
        raise StoreUnavailableError(f"the index {str(path)!r} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise CorruptionError(f"the index {str(path)!r} is no JSON: {error}") from error
    entries = index.get("checkpoints") if isinstance(index, dict) else None
    if not isinstance(entries, dict):
        raise CorruptionError(f"the index {str(path)!r} has no object `checkpoints`")
    return entries


def _files(directory: Path) -> list[str]:
    try:
        return [path.name for path in matching(directory, "*" + _SUFFIX)]
    except OSError as error:
        raise StoreUnavailableError(f"{str(directory)!r} cannot be listed: {error}") from error


def _checkpoint(checkpoint_id: str, entry: Any, time_zone: tzinfo | None) -> LegacyCheckpoint:
    """Return an entry of the index, checked."""
    if not isinstance(entry, dict) or entry.get("checkpoint_id", checkpoint_id) != checkpoint_id:
        raise Unreadable("its entry in the index is that of no checkpoint, or of another")
    if _NO_FILE_NAME.search(checkpoint_id) or not checkpoint_id:
        raise Unreadable("its id cannot be the name of a file")
    if entry.get("version") != _VERSION:
        raise Unreadable(f"its version is {entry.get('version')!r}, and not {_VERSION}")
    is_incremental = _field(entry, "is_incremental", bool)
    hexadecimal = _field(entry, "hash_sha256", str).lower()
    if not _SHA256.fullmatch(hexadecimal):
        raise Unreadable("its hash_sha256 is none")
    return LegacyCheckpoint(
        checkpoint_id,
        _utc(_field(entry, "timestamp", str), time_zone),
        hexadecimal,
        _field(entry, "is_encrypted", bool),
        # On a full one the field may be set too, and means nothing.
        _field(entry, "base_checkpoint_id", str) if is_incremental else None,
        entry.get("custom_metadata"),
    )


def _field(entry: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(entry.get(name), kind):
        raise Unreadable(f"its {name} in the index is missing, or not {kind.__name__}")
    return entry[name]


def _utc(timestamp: str, time_zone: tzinfo | None) -> datetime:
    """Return a time as UTC. An hour that summer time's end repeats is taken for the first."""
    try:
        time = datetime.fromisoformat(timestamp)
        if time.tzinfo is None and time_zone is not None:
            time = time.replace(tzinfo=time_zone)
        return time.astimezone(UTC)  # a time without a zone: the machine's
    except (ValueError, OverflowError, OSError) as error:
        raise Unreadable(f"its timestamp {timestamp[:60]!r} is no time ({error})") from error


def _applied(base: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """Return a base with the content of an incremental; the base is left as it is."""
    deleted = content.get(_DELETED_KEYS, [])
    if not isinstance(deleted, (list, tuple, set)) or not all(isinstance(k, str) for k in deleted):
        raise Unreadable(f"its {_DELETED_KEYS} is no list of keys")
    gone = {_DELETED_KEYS, *deleted}
    return {key: value for key, value in {**base, **content}.items() if key not in gone}


def _read(path: Path, most_bytes: int) -> bytes:
    """Return what a file holds. Raises Unreadable if it is none, or larger."""
    try:
        with os.fdopen(os.open(path, _TO_READ), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise Unreadable(f"{path.name!r} is no file")
            if found.st_size > most_bytes:
                raise Unreadable(f"{path.name!r} has {found.st_size} bytes, over {most_bytes}")
            return file.read(found.st_size)
    except (OSError, ValueError) as error:  # ValueError: a name that no file system has
        reason = "is a link" if path.is_symlink() else getattr(error, "strerror", None) or error
        raise Unreadable(f"{path.name!r} {reason}") from error
