"""The manifest: what a payload says of itself, as values and as JSON (docs/reference/format.md).

What is read is checked before it is believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple, NoReturn

from checkpointdb.custom_metadata import checked
from checkpointdb.errors import CorruptionError
from checkpointdb.stack import is_used_up
from checkpointdb.text import storable

FORMAT_VERSION = 1
MANIFEST_BYTES = 256 << 20  # of its JSON, at most: some million keys that changed at once
MEMBER_BYTES = 1 << 20  # plain bytes of a data member, at most
MAX_STATE_VERSION = (1 << 31) - 1  # an INTEGER of any database
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
    """What a payload says of one checkpoint and of the entries that it opened.

    `sequence` is that of the payload it was saved with, None if that is this one: a payload that
    is written again gets another number, and what was saved before what does not change.
    `state_version` is that of the code that saved it, None if it gave none.
    """

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
    sequence: int | None = None
    state_version: int | None = None


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


# What reading JSON of another shape may raise.
_NO_MANIFEST = (
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,  # a time whose UTC is out of range
    AttributeError,
    RecursionError,
    MemoryError,
)

# Numbers beyond are no lengths, and sums of them would leave what a database can hold.
_MOST = 1 << 50
_MOST_COUNTED = (1 << 31) - 1
_CHAIN = re.compile(r"[0-9a-f]{32}")


def decode_manifest(raw: bytes) -> Manifest:
    """Read a manifest's JSON.

    Raises CorruptionError if it is not what `encode_manifest` writes, in types, in bounds, and
    in what must be unique: so that whatever it says can become rows.
    """
    try:
        document = json.loads(raw, object_pairs_hook=_object)
        values = tuple(_value_in(value) for value in _list(document["values"]))
        manifest = Manifest(
            tuple(_member_in(member) for member in _list(document["members"])),
            values,
            tuple(_checkpoint_in(each, values) for each in _list(document["checkpoints"])),
            _number(document["format"], 1, FORMAT_VERSION),
        )
        _check_members(manifest.members)
        _check_values(manifest)
        _check_checkpoints(manifest.checkpoints)
    except _NO_MANIFEST as error:
        if _is_our_lack(error, raw):
            raise
        reason = str(error)[:_MOST_CITED] or type(error).__name__
        raise CorruptionError(f"the manifest cannot be read: {reason}") from error
    return manifest


_MOST_CITED = 300


def _is_our_lack(error: Exception, raw: bytes) -> bool:
    """Say whether memory or the stack was used up by something else: that is no damage.

    What takes 20 bytes of memory for each byte of JSON is lists within lists: no writer makes them.
    """
    if isinstance(error, MemoryError):
        return raw.count(b"[") < len(raw) // 10
    return isinstance(error, RecursionError) and is_used_up()


def _check_members(members: Sequence[Member]) -> None:
    end = 0
    for member in members:
        if sum(chunk.raw_bytes for chunk in member.chunks) != member.raw_bytes:
            _reject("the chunks of a member do not fill it")
        if member.offset < end or not 0 <= member.raw_bytes <= MEMBER_BYTES:
            _reject("a member lies outside its bounds")
        end = member.offset + member.stored_bytes


def _check_values(manifest: Manifest) -> None:
    """Refuse values that their chunks do not add up to, or that share what is not to be shared."""
    stored = list(chain.from_iterable(member.chunks for member in manifest.members))
    _check_unique((value.digest for value in manifest.values), "values")
    owned: list[int] = []
    for value in manifest.values:
        numbers = [ref for ref in value.chunks if isinstance(ref, int)]
        if not value.chunks or not value.layout:
            _reject("a value has no chunk, or no part")
        if max(numbers, default=-1) >= len(stored):
            _reject("a value names a chunk that the payload does not have")
        here = sum(stored[number].raw_bytes for number in numbers)
        if here > value.raw_bytes or (
            here != value.raw_bytes and len(numbers) == len(value.chunks)
        ):
            _reject("the chunks of a value do not add up to it")
        own = [number for number in numbers if stored[number].digest is None]
        if own and len(value.chunks) > 1:
            _reject("a value of several chunks names one without a digest")
        owned += own
    _check_unique(owned, "values for a chunk without a digest")


def _check_checkpoints(checkpoints: Sequence[Checkpoint]) -> None:
    _check_unique(((each.chain, each.depth) for each in checkpoints), "checkpoints at one depth")
    for each in checkpoints:
        _check_unique((entry.key for entry in each.entries), "entries of one key")
        is_misplaced = not each.is_incremental and each.depth > 0
        if is_misplaced or each.is_incremental != (each.since_full > 0):
            _reject("a full checkpoint does not begin a chain, or counts as an incremental")


def _check_unique(items: Iterable[object], what: str) -> None:
    found = list(items)
    if len(set(found)) != len(found):
        _reject(f"it has several {what}")


def _reject(reason: str) -> NoReturn:
    raise ValueError(reason)


# --- JSON of the right types: a bool is no number, and what is equal is not the same


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _reject("a name occurs twice in an object")
    return found


def _list(item: Any) -> list[Any]:
    return item if isinstance(item, list) else _reject("there is no list where one belongs")


def _number(item: Any, least: int = 0, most: int = _MOST) -> int:
    if type(item) is not int or not least <= item <= most:
        _reject("a number is none, or out of range")
    return item


def _text(item: Any) -> str:
    if type(item) is not str:
        _reject("there is no text where one belongs")
    return storable(item, "the text")


def _name(item: Any) -> str:
    return _text(item) or _reject("a pipeline or a checkpoint has no name")


def _chain(item: Any) -> str:
    text = _text(item)
    return text if _CHAIN.fullmatch(text) else _reject("a chain is not 32 hexadecimal digits")


def _flag(item: Any) -> bool:
    return item if isinstance(item, bool) else _reject("there is no bool where one belongs")


def _digest(item: Any) -> bytes:
    text = _text(item)
    return bytes.fromhex(text) if _DIGEST.fullmatch(text) else _reject("a digest is not 32 bytes")


_DIGEST = re.compile(r"[0-9a-f]{64}")


# --- the parts, out and in


def _member_out(member: Member) -> list[Any]:
    chunks = [
        chunk.raw_bytes if chunk.digest is None else [chunk.raw_bytes, chunk.digest.hex()]
        for chunk in member.chunks
    ]
    return [member.offset, member.stored_bytes, member.raw_bytes, member.sha256.hex(), chunks]


def _member_in(item: Any) -> Member:
    offset, stored_bytes, raw_bytes, digest, chunks = _list(item)
    return Member(
        _number(offset),
        _number(stored_bytes),
        _number(raw_bytes),
        _digest(digest),
        tuple(_chunk_in(chunk) for chunk in _list(chunks)),
    )


def _chunk_in(item: Any) -> StoredChunk:
    if isinstance(item, list):
        raw_bytes, digest = item
        return StoredChunk(_number(raw_bytes), _digest(digest))
    return StoredChunk(_number(item))


def _value_out(value: Value) -> tuple[Any, ...]:
    chunks = [ref if isinstance(ref, int) else ref.hex() for ref in value.chunks]
    return value.digest.hex(), value.type_name, value.serializer, value.layout, chunks


def _value_in(item: Any) -> Value:
    digest, type_name, serializer, layout, chunks = _list(item)
    if len(_text(serializer).encode()) > MAX_SERIALIZER_BYTES:
        _reject("the name of a serializer is too long")
    value = Value(
        _digest(digest),
        _text(type_name),
        serializer,
        tuple(_number(length) for length in _list(layout)),
        tuple(_digest(ref) if isinstance(ref, str) else _number(ref) for ref in _list(chunks)),
    )
    _number(value.raw_bytes)
    return value


def _checkpoint_out(each: Checkpoint, number: dict[bytes, int]) -> dict[str, Any]:
    optional = {"sequence": each.sequence, "state_version": each.state_version}
    return {
        **{name: value for name, value in optional.items() if value is not None},
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
            (key, position, number[value] if value in number else value and value.hex())
            for key, position, value in each.entries
        ],
    }


def _checkpoint_in(item: Any, values: Sequence[Value]) -> Checkpoint:
    created_at = datetime.fromisoformat(_text(item["created_at"]))
    if created_at.tzinfo is None or not isinstance(item["metadata"], dict):
        _reject("a checkpoint's time or metadata is not of the form that it should have")
    return Checkpoint(
        pipeline=_name(item["pipeline"]),
        checkpoint_id=_name(item["id"]),
        chain=_chain(item["chain"]),
        depth=_number(item["depth"]),
        created_at=created_at.astimezone(UTC),
        is_incremental=_flag(item["incremental"]),
        since_full=_number(item["since_full"], most=_MOST_COUNTED),
        forked_from=_origin_in(item["forked_from"]),
        state_digest=_digest(item["state_digest"]),
        state_bytes=_number(item["state_bytes"]),
        key_count=_number(item["key_count"], most=_MOST_COUNTED),
        custom_metadata=checked(item["metadata"]),
        entries=tuple(_entry_in(entry, values) for entry in _list(item["entries"])),
        sequence=_number(item["sequence"]) if "sequence" in item else None,
        state_version=_version(item["state_version"]) if "state_version" in item else None,
    )


def _version(item: Any) -> int:
    return _number(item, most=MAX_STATE_VERSION)


def _origin_in(item: Any) -> tuple[str, int] | None:
    if item is None:
        return None
    uuid, depth = _list(item)
    return _chain(uuid), _number(depth)


def _entry_in(item: Any, values: Sequence[Value]) -> Entry:
    key, position, value = _list(item)
    place = _number(position, -_MOST, _MOST)
    if value is None or isinstance(value, str):
        return Entry(_text(key), place, None if value is None else _digest(value))
    return Entry(_text(key), place, values[_number(value)].digest)
