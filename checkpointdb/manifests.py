"""Reading a payload from its end: the footer, the manifest, and whether its bytes are whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice, pairwise

from checkpointdb import format
from checkpointdb.errors import CorruptionError
from checkpointdb.format import FOOTER_BYTES
from checkpointdb.manifest import MANIFEST_BYTES, MEMBER_BYTES, Manifest, decode_manifest
from checkpointdb.payloads import PayloadReader
from checkpointdb.sealing import MANIFEST, Cipher

_BLOCK_BYTES = 1 << 20
_TOO_LARGE = f"the manifest claims to be larger than any can be ({MANIFEST_BYTES >> 20} MiB)"


@dataclass(frozen=True, slots=True)
class Hashes:
    """The SHA-256 of a file, and of each part that was asked for: by (offset, end)."""

    whole: bytes
    parts: dict[tuple[int, int], bytes]


def read_manifest(reader: PayloadReader, name: str, cipher: Cipher) -> Manifest:
    """Read what the payload of this name says of itself.

    Raises CorruptionError if footer or manifest are not whole, or do not fit the file.
    """
    size = reader.stored_bytes
    tail = reader.read(max(size - FOOTER_BYTES, 0), FOOTER_BYTES)
    footer = format.decode_footer(tail, size)
    if footer.manifest_bytes > MANIFEST_BYTES + MEMBER_BYTES:  # stored blocks are longer by a bit
        raise CorruptionError(_TOO_LARGE)
    stored = reader.read(footer.manifest_offset, footer.manifest_bytes)
    if sha256(stored).digest() != footer.manifest_sha256:
        raise CorruptionError("the manifest's bytes are not those that the footer names")
    number, member = cipher.open(name, reader).unseal(MANIFEST, stored)
    raw_bytes = int.from_bytes(member[-4:], "little")  # ISIZE of RFC 1952, 2.3.1
    if raw_bytes > MANIFEST_BYTES:
        raise CorruptionError(_TOO_LARGE)
    manifest = decode_manifest(format.decompress_member(member, raw_bytes))
    if number not in {None, len(manifest.members)}:
        raise CorruptionError("the manifest was sealed for a payload of other members")
    end = max((each.offset + each.stored_bytes for each in manifest.members), default=0)
    if end > footer.manifest_offset:
        raise CorruptionError("the manifest names members that the file does not have")
    return manifest


def hash_payload(reader: PayloadReader, parts: Iterable[tuple[int, int]]) -> Hashes:
    """Hash a file from its beginning to its end, once, and parts of it that do not overlap.

    A part that leaves the file or overlaps another has no hash.
    """
    size = reader.stored_bytes
    asked = set(parts)
    cuts = {cut for part in asked for cut in part if 0 <= cut <= size}
    whole, found = sha256(), {}
    pieces = list(pairwise(sorted(cuts | {0, size})))
    blocks = reader.read_each(block for piece in pieces for block in _blocks(*piece))
    for start, end in pieces:
        part = sha256()
        for data in islice(blocks, len(range(start, end, _BLOCK_BYTES))):
            whole.update(data)
            if (start, end) in asked:
                part.update(data)
        if (start, end) in asked:
            found[start, end] = part.digest()
    return Hashes(whole.digest(), found)


def _blocks(start: int, end: int) -> Iterator[tuple[int, int]]:
    for offset in range(start, end, _BLOCK_BYTES):
        yield offset, min(_BLOCK_BYTES, end - offset)


def part_of(offset: int, stored_bytes: int) -> tuple[int, int]:
    """Return a member's part of the file, as `hash_payload` takes it."""
    return offset, offset + stored_bytes
