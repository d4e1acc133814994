"""The names at a remote, and the pointer to the snapshot that holds."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import NamedTuple

from checkpointdb.errors import CorruptionError, SchemaVersionError
from checkpointdb.payloads import checked_name

PAYLOADS = "payloads"
SNAPSHOTS = "snapshots"
INCOMING = "incoming"
POINTER = "latest.json"
KEYRING = "keyring.json"
MOST_SMALL_BYTES = 1 << 20  # of the pointer and the keyring

_FORMAT = 1
_SUFFIX = ".ckpt.gz"
_HASH_DIGITS = 16
_SNAPSHOT = re.compile(r"(\d{8}T\d{6}\d{6}Z)-([0-9a-f]{64})\.db\.gz")
_REMOTE_PAYLOAD = re.compile(r"payloads/(p-[\w-]+/[\w-]+)\.[0-9a-f]{16}\.ckpt\.gz", re.A)
_UNFINISHED = re.compile(r"incoming/[0-9a-f]{32}\.tmp")
_TIME = "%Y%m%dT%H%M%S%fZ"


class Snapshot(NamedTuple):
    """A copy of the database at a remote, by its name."""

    name: str
    created_at: datetime
    sha256: str

    @property
    def path(self) -> str:
        """Where it lies at the remote."""
        return f"{SNAPSHOTS}/{self.name}"


class Pointer(NamedTuple):
    """What `latest.json` says."""

    snapshot: Snapshot
    stored_bytes: int


def payload_path(name: str, sha256: bytes) -> str:
    """Return where a payload lies at a remote.

    Its hash is in the name: a store that was brought back from an older snapshot gives a sequence
    again, and must not take the other payload of that name for its own.
    """
    name = checked_name(name, PAYLOADS)
    digits = sha256.hex()[:_HASH_DIGITS]
    return f"{PAYLOADS}/{name.removesuffix(_SUFFIX)}.{digits}{_SUFFIX}"


def payload_name(path: str) -> str | None:
    """Return the name that a payload at a remote has in a store; None if it is none."""
    found = _REMOTE_PAYLOAD.fullmatch(path)
    return f"{found[1]}{_SUFFIX}" if found else None


def is_pushed(path: str) -> bool:
    """Say whether a push gives such paths to payloads, or to what it has not finished."""
    return bool(_REMOTE_PAYLOAD.fullmatch(path) or _UNFINISHED.fullmatch(path))


def hash_digits(path: str) -> str:
    """Return the digits of its hash that the path of a payload has."""
    return path.removesuffix(_SUFFIX)[-_HASH_DIGITS:]


def new_snapshot(created_at: datetime, sha256: str) -> Snapshot:
    """Return a snapshot, named by when it was made and what is in it."""
    return Snapshot(f"{created_at.astimezone(UTC):{_TIME}}-{sha256}.db.gz", created_at, sha256)


def snapshot_of(name: str) -> Snapshot | None:
    """Return the snapshot of a name, None if it is none."""
    found = _SNAPSHOT.fullmatch(name)
    if found is None:
        return None
    try:
        created_at = datetime.strptime(found[1], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Snapshot(name, created_at, found[2])


def encode_pointer(pointer: Pointer) -> bytes:
    """Return the content of `latest.json`."""
    facts = {
        "format": _FORMAT,
        "snapshot": pointer.snapshot.name,
        "stored_bytes": pointer.stored_bytes,
    }
    return json.dumps(facts, indent=1).encode() + b"\n"


def decode_pointer(content: bytes, where: str) -> Pointer:
    """Return the pointer that a remote holds.

    Raises CorruptionError if it is none, SchemaVersionError if a newer version wrote it.
    """
    try:
        facts = json.loads(content)
        version, name, stored = facts["format"], facts["snapshot"], facts["stored_bytes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_pointer(where) from error
    if type(version) is int and version > _FORMAT:
        raise SchemaVersionError(
            f"the backup at {where!r} is of format {version}, this version of checkpointdb reads "
            f"{_FORMAT}: upgrade checkpointdb",
            found=str(version),
            expected=str(_FORMAT),
        )
    snapshot = snapshot_of(name) if isinstance(name, str) else None
    if version != _FORMAT or snapshot is None or type(stored) is not int:
        raise _no_pointer(where)
    return Pointer(snapshot, stored)


def _no_pointer(where: str) -> CorruptionError:
    return CorruptionError(
        f"{POINTER} at {where!r} is damaged: name a snapshot of those in {SNAPSHOTS}/, or rebuild "
        "from the payloads"
    )
