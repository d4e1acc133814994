"""The manifest: what a payload says of itself, as values and as JSON (docs/reference/format.md).

What is read is checked before it is believed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

from checkpointdb.errors import CorruptionError

FORMAT_VERSION = 1
MEMBER_BYTES = 1 << 20  # plain bytes of a data member, at most
MAX_SERIALIZER_BYTES = 255  # of its name: a value's digest has one byte for the length


class StoredChunk(NamedTuple):
    """A chunk within a member; `digest` is None where one value alone uses it."""

    raw_bytes: int
    digest: bytes | None = None


class Member(NamedTuple):
    """A gzip member of this payload and the chunks in it, in order."""

    offset: int
    stored_bytes: int
    raw_bytes: int
    sha256: bytes
    chunks: tuple[StoredChunk, ...]


class Value(NamedTuple):
    """A value defined by this payload.

    `layout` holds the bytes of the in-band stream and of each buffer. `chunks` names its
    chunks in order: by their number within this payload, or by digest where another has them.
    """

    digest: bytes
    type_name: str
    serializer: str
    layout: tuple[int, ...]
    chunks: tuple[int | bytes, ...]

    @property
    def raw_bytes(self) -> int:
        return sum(self.layout)


class Entry(NamedTuple):
    """A key opened at a checkpoint's depth: with a value's digest, or None for absent."""

    key: str
    position: int
    value: bytes | None


class Checkpoint(NamedTuple):
    """What a payload says of one checkpoint and of the entries that it opened."""

    pipeline: str
    checkpoint_id: str
    chain: str
    depth: int
    created_at: datetime
    is_incremental: bool
    since_full: int
    forked_from: tuple[str, int] | None
    state_digest: bytes
    state_bytes: int
    key_count: int
    custom_metadata: dict[str, Any]
    entries: tuple[Entry, ...]


class Manifest(NamedTuple):
    """Everything that a payload says of itself."""

    members: tuple[Member, ...] = ()
    values: tuple[Value, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    format_version: int = FORMAT_VERSION


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest's JSON, in UTF-8."""
    number = {value.digest: i for i, value in enumerate(manifest.values)}
    document = {
        "format": manifest.format_version,
        "members": [_member_out(member) for member in manifest.members],
        "values": [_value_out(value) for value in manifest.values],
        "checkpoints": [_checkpoint_out(each, number) for each in manifest.checkpoints],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


# What reading JSON of another shape may raise; OverflowError, an ArithmeticError: of `Infinity`.
_NO_MANIFEST = (
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)


def decode_manifest(raw: bytes) -> Manifest:
    """Read a manifest's JSON.

    Raises CorruptionError if it is not what `encode_manifest` writes.
    """
    try:
        document = json.loads(raw)
        values = tuple(_value_in(value) for value in document["values"])
        manifest = Manifest(
            tuple(_member_in(member) for member in document["members"]),
            values,
            tuple(_checkpoint_in(each, values) for each in document["checkpoints"]),
            int(document["format"]),
        )
        _check_manifest(manifest)
    except _NO_MANIFEST as error:
        raise CorruptionError(f"the manifest cannot be read: {error}") from error
    return manifest


def _check_manifest(manifest: Manifest) -> None:
    stored = sum(len(member.chunks) for member in manifest.members)
    for member in manifest.members:
        sizes = [chunk.raw_bytes for chunk in member.chunks]
        if min(sizes, default=0) < 0 or sum(sizes) != member.raw_bytes:
            _reject("the chunks of a member do not fill it")
        if member.offset < 0 or not 0 <= member.raw_bytes <= MEMBER_BYTES:
            _reject("a member lies outside its bounds")
    for value in manifest.values:
        numbers = [ref for ref in value.chunks if isinstance(ref, int)]
        if numbers and not 0 <= min(numbers) <= max(numbers) < stored:
            _reject("a value names a chunk that the payload does not have")


def _reject(reason: str) -> NoReturn:
    raise ValueError(reason)


def _member_out(member: Member) -> list[Any]:
    chunks = [
        chunk.raw_bytes if chunk.digest is None else [chunk.raw_bytes, chunk.digest.hex()]
        for chunk in member.chunks
    ]
    return [member.offset, member.stored_bytes, member.raw_bytes, member.sha256.hex(), chunks]


def _member_in(item: Sequence[Any]) -> Member:
    offset, stored_bytes, raw_bytes, digest, chunks = item
    return Member(
        int(offset),
        int(stored_bytes),
        int(raw_bytes),
        _digest(digest),
        tuple(
            StoredChunk(int(chunk[0]), _digest(chunk[1]))
            if isinstance(chunk, list)
            else StoredChunk(int(chunk))
            for chunk in chunks
        ),
    )


def _value_out(value: Value) -> list[Any]:
    chunks = [ref if isinstance(ref, int) else ref.hex() for ref in value.chunks]
    return [value.digest.hex(), value.type_name, value.serializer, list(value.layout), chunks]


def _value_in(item: Sequence[Any]) -> Value:
    digest, type_name, serializer, layout, chunks = item
    return Value(
        _digest(digest),
        str(type_name),
        str(serializer),
        tuple(int(length) for length in layout),
        tuple(ref if isinstance(ref, int) else _digest(ref) for ref in chunks),
    )


def _checkpoint_out(each: Checkpoint, number: dict[bytes, int]) -> dict[str, Any]:
    return {
        "pipeline": each.pipeline,
        "id": each.checkpoint_id,
        "chain": each.chain,
        "depth": each.depth,
        "created_at": each.created_at.isoformat(),
        "incremental": each.is_incremental,
        "since_full": each.since_full,
        "forked_from": each.forked_from,
        "state_digest": each.state_digest.hex(),
        "state_bytes": each.state_bytes,
        "key_count": each.key_count,
        "metadata": each.custom_metadata,
        "entries": [
            [
                entry.key,
                entry.position,
                None if entry.value is None else number.get(entry.value, entry.value.hex()),
            ]
            for entry in each.entries
        ],
    }


def _checkpoint_in(item: dict[str, Any], values: Sequence[Value]) -> Checkpoint:
    forked_from = item["forked_from"]
    created_at = datetime.fromisoformat(item["created_at"])
    if created_at.tzinfo is None or not isinstance(item["metadata"], dict):
        _reject("a checkpoint's time or metadata is not of the form that it should have")
    return Checkpoint(
        pipeline=str(item["pipeline"]),
        checkpoint_id=str(item["id"]),
        chain=str(item["chain"]),
        depth=int(item["depth"]),
        created_at=created_at,
        is_incremental=bool(item["incremental"]),
        since_full=int(item["since_full"]),
        forked_from=None if forked_from is None else (str(forked_from[0]), int(forked_from[1])),
        state_digest=_digest(item["state_digest"]),
        state_bytes=int(item["state_bytes"]),
        key_count=int(item["key_count"]),
        custom_metadata=item["metadata"],
        entries=tuple(_entry_in(entry, values) for entry in item["entries"]),
    )


def _entry_in(item: Sequence[Any], values: Sequence[Value]) -> Entry:
    key, position, value = item
    if isinstance(value, int):
        return Entry(str(key), int(position), values[value].digest)
    return Entry(str(key), int(position), None if value is None else _digest(value))


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != 32:
        _reject("a digest is not 32 bytes long")
    return digest
