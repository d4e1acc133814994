"""The payload file: gzip members, a JSON manifest and a footer (docs/reference/format.md).

    payload = data member *, manifest member, footer member

Pure functions from values to bytes and back; what is read is checked before it is believed.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal, NamedTuple, NoReturn, get_args

from blake3 import blake3
from isal import isal_zlib

from checkpointdb.errors import CorruptionError

FORMAT_VERSION = 1
MEMBER_BYTES = 1 << 20  # plain bytes of a data member, at most
SUFFIX = ".ckpt.gz"

CompressionLevel = Literal["stored", "fastest", "fast", "small", "smallest"]
COMPRESSION_LEVELS: tuple[CompressionLevel, ...] = get_args(CompressionLevel)

# Header of every member: deflate, no name, no time (equal content, equal bytes), unknown system.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_GZIP_WBITS = 31
_InflateError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub says otherwise
_STORED_BLOCK_BYTES = 65_535  # RFC 1951, 3.2.4: LEN is two bytes
_SAMPLE_BYTES = 8 << 10
_SAMPLES = 4
# Uniform float32 come to 0.89 of their size, normal float64 to 0.96: deflating these takes ten
# times as long as storing them, each way.
_SHRINKS = 0.875

# The footer: an empty gzip member (RFC 1952) whose extra field has one subfield "CD".
_MAGIC = b"CKPTDB\r\n"
_FIELD = struct.Struct("<8sHQQ32s")  # magic, format version, manifest offset and length, sha256
_EXTRA = struct.Struct("<H2sH")  # length of all subfields, id, length of this one
_EMPTY_DEFLATE = b"\x03\x00" + bytes(8)
FOOTER_BYTES = 10 + _EXTRA.size + _FIELD.size + len(_EMPTY_DEFLATE)


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


class Footer(NamedTuple):
    """Where a payload's manifest lies, and the SHA-256 of its stored bytes."""

    manifest_offset: int
    manifest_bytes: int
    manifest_sha256: bytes
    format_version: int = FORMAT_VERSION


# --- names


def payload_name(pipeline: str, sequence: int, checkpoint_id: str) -> str:
    """Return the payload's path below the payload root; ids are data and never act in it."""
    return f"p-{_plain(pipeline)}/{sequence:010d}-{_plain(checkpoint_id)}{SUFFIX}"


def sequence_of(name: str) -> int:
    """Return the sequence number in a payload's name.

    Raises CorruptionError if the name is not one of ours.
    """
    match = re.fullmatch(r"p-[A-Za-z0-9_-]+/(\d{10,18})-[A-Za-z0-9_-]+\.ckpt\.gz", name)
    if match is None:
        raise CorruptionError(f"{name!r} is not the name of a payload", payload=name)
    return int(match[1])


def _plain(text: str) -> str:
    # A case-insensitive file system takes "A" and "a" for one directory: capitals count as
    # changed too.
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", text)[:60]
    looks_changed = re.search(r"-[0-9a-f]{10}$", text)  # else two texts could have one name
    if plain == text and plain == plain.lower() and not looks_changed:
        return plain
    return f"{plain}-{blake3(text.encode()).hexdigest()[:10]}"


# --- members


Pieces = list[bytes | memoryview]  # what is written one after the other, not copied together


def compress_member(raw: bytes | memoryview, level: CompressionLevel) -> Pieces:
    """Return `raw` as one gzip member; as stored blocks where a sample hardly shrinks."""
    if level == "stored" or not _shrinks(raw):
        return store_member(raw)
    if level == "smallest":
        return [zlib.compress(raw, 9, _GZIP_WBITS)]
    number = COMPRESSION_LEVELS.index(level)  # ISA-L's 1, 2 and 3; its 0 does not store
    return [isal_zlib.compress(raw, number, _GZIP_WBITS)]


def store_member(raw: bytes | memoryview) -> Pieces:
    """Return `raw` as a gzip member of stored deflate blocks (RFC 1951, 3.2.4).

    zlib's level 0 writes the same at half the speed, ISA-L's level 0 compresses a little.
    """
    view = memoryview(raw)
    pieces: Pieces = [_GZIP_HEADER]
    for start in range(0, len(raw) or 1, _STORED_BLOCK_BYTES):
        block = view[start : start + _STORED_BLOCK_BYTES]
        is_last = start + _STORED_BLOCK_BYTES >= len(raw)
        pieces.append(struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF))
        pieces.append(block)
    pieces.append(struct.pack("<II", isal_zlib.crc32(raw), len(raw) & 0xFFFFFFFF))
    return pieces


def decompress_member(stored: bytes, raw_bytes: int) -> bytes:
    """Return the plain bytes of one gzip member, which must be `raw_bytes` long.

    Raises CorruptionError if it is not exactly one member of that length: at most one byte
    more than that is ever decompressed.
    """
    inflate = isal_zlib.decompressobj(wbits=_GZIP_WBITS)
    try:
        raw = inflate.decompress(stored, raw_bytes + 1)
    except _InflateError as error:
        raise CorruptionError(f"a gzip member does not decompress: {error}") from error
    if len(raw) != raw_bytes or not inflate.eof or inflate.unused_data:
        raise CorruptionError(
            f"a gzip member does not hold the {raw_bytes} bytes that it should hold"
        )
    return raw


def _shrinks(raw: bytes | memoryview) -> bool:
    if len(raw) <= _SAMPLES * _SAMPLE_BYTES:
        return True
    step = (len(raw) - _SAMPLE_BYTES) // (_SAMPLES - 1)
    sample = b"".join(raw[i * step : i * step + _SAMPLE_BYTES] for i in range(_SAMPLES))
    return len(isal_zlib.compress(sample, 1, _GZIP_WBITS)) < _SHRINKS * len(sample)


# --- footer


def encode_footer(footer: Footer) -> bytes:
    """Return the footer member, `FOOTER_BYTES` long."""
    data = _FIELD.pack(
        _MAGIC,
        footer.format_version,
        footer.manifest_offset,
        footer.manifest_bytes,
        footer.manifest_sha256,
    )
    header = _GZIP_HEADER[:3] + b"\x04" + _GZIP_HEADER[4:]
    return header + _EXTRA.pack(4 + len(data), b"CD", len(data)) + data + _EMPTY_DEFLATE


def decode_footer(tail: bytes, payload_bytes: int) -> Footer:
    """Read the footer in a payload's last `FOOTER_BYTES`.

    Raises CorruptionError if it is none, is of a newer format, or points outside the file.
    """
    start = 10 + _EXTRA.size
    if len(tail) != FOOTER_BYTES or tail[start : start + len(_MAGIC)] != _MAGIC:
        raise CorruptionError("the file does not end in the footer of a payload: it was cut off?")
    _, version, offset, length, digest = _FIELD.unpack(tail[start : start + _FIELD.size])
    footer = Footer(offset, length, digest, version)
    if version > FORMAT_VERSION:
        raise CorruptionError(
            f"the payload has format {version}, this version reads up to {FORMAT_VERSION}: "
            "upgrade checkpointdb"
        )
    if encode_footer(footer) != tail or offset + length + FOOTER_BYTES != payload_bytes:
        raise CorruptionError("the footer of the payload does not fit the file")
    return footer


# --- manifest


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


# --- whole payloads


def footer_of(manifest_offset: int, manifest_member: bytes) -> Footer:
    """Return the footer for a manifest member written at `manifest_offset`."""
    return Footer(manifest_offset, len(manifest_member), sha256(manifest_member).digest())
