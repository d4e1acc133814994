"""The payload file: gzip members, a JSON manifest and a footer (docs/reference/format.md).

    payload = data member *, manifest member, footer member

Pure functions from values to bytes and back; what is read is checked before it is believed.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from hashlib import sha256
from typing import Literal, NamedTuple, get_args

from blake3 import blake3
from isal import isal_zlib

from checkpointdb.errors import CorruptionError
from checkpointdb.manifest import FORMAT_VERSION

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
    match = _NAME.fullmatch(name)
    if match is None:
        raise CorruptionError(f"{name!r} is not the name of a payload", payload=name)
    return int(match[1])


def is_payload_name(name: str) -> bool:
    """Say whether a save gives such names: what has another is somebody else's file."""
    return _NAME.fullmatch(name) is not None


_NAME = re.compile(r"p-[A-Za-z0-9_-]+/(\d{10,18})-[A-Za-z0-9_-]+\.ckpt\.gz")


def with_sequence(name: str, sequence: int) -> str:
    """Return a payload's name with another sequence number.

    Raises CorruptionError if the name is not one of ours.
    """
    sequence_of(name)
    directory, _, rest = name.partition("/")
    return f"{directory}/{sequence:010d}-{rest.partition('-')[2]}"


def made_unique(name: str) -> str:
    """Return a payload's name with some random digits at its end, in place of such before."""
    return re.sub(r"(-[0-9a-f]{8})?\.ckpt\.gz$", f"-{os.urandom(4).hex()}{SUFFIX}", name)


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
    if version < 1:
        raise CorruptionError("the payload's footer names format 0, which there never was: damaged")
    footer = Footer(offset, length, digest, version)
    if version > FORMAT_VERSION:
        raise CorruptionError(
            f"the payload has format {version}, this version reads up to {FORMAT_VERSION}: "
            "upgrade checkpointdb"
        )
    if encode_footer(footer) != tail or offset + length + FOOTER_BYTES != payload_bytes:
        raise CorruptionError("the footer of the payload does not fit the file")
    return footer


def footer_of(manifest_offset: int, manifest_member: bytes) -> Footer:
    """Return the footer for a manifest member written at `manifest_offset`."""
    return Footer(manifest_offset, len(manifest_member), sha256(manifest_member).digest())
