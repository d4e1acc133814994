"""Payloads made by hand: mutated bytes, and forged manifests under right hashes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import unpack
from typing import Any

from hypothesis import strategies as st

from checkpointdb import CorruptionError, format
from checkpointdb.local_payloads import LocalReader
from checkpointdb.manifests import hash_payload, part_of, read_manifest
from checkpointdb.sealing import PLAIN

# --- taking apart and putting together


def gzipped(raw: bytes) -> bytes:
    """One gzip member, as small as it gets."""
    compress = zlib.compressobj(9, wbits=31)
    return compress.compress(raw) + compress.flush()


def taken_apart(payload: bytes) -> tuple[bytes, Any]:
    """The data members of a payload, and its manifest as JSON."""
    start, length = unpack("<QQ", payload[-58:-42])
    return payload[:start], json.loads(zlib.decompress(payload[start : start + length], 31))


def put_together(data: bytes, manifest: bytes) -> bytes:
    """A payload whose footer and hashes are right, whatever its manifest says."""
    member = gzipped(manifest)
    return data + member + format.encode_footer(format.footer_of(len(data), member))


def forged(payload: bytes, change: Callable[[Any], object]) -> bytes:
    """A payload with its manifest changed by hand."""
    data, document = taken_apart(payload)
    change(document)
    return put_together(data, json.dumps(document).encode())


# --- reading, as a rebuild and a load do


def read_payload(path: Path) -> list[bytes]:
    """Return the plain bytes of each member; raises CorruptionError if one is not as described."""
    with LocalReader(path) as reader:
        manifest = read_manifest(reader, "p-a/0000000001-a.ckpt.gz", PLAIN)
        parts = [part_of(each.offset, each.stored_bytes) for each in manifest.members]
        hashes = hash_payload(reader, parts)
        found = []
        for part, member in zip(parts, manifest.members, strict=True):
            if hashes.parts.get(part) != member.sha256:
                raise CorruptionError("a member is not what was written")
            stored = reader.read(member.offset, member.stored_bytes)
            found.append(format.decompress_member(stored, member.raw_bytes))
        return found


# --- what Hypothesis changes


@st.composite
def mutated(draw: Any, payload: bytes) -> bytes:
    """A payload's bytes, changed in up to four places."""
    raw = bytearray(payload)
    for _ in range(draw(st.integers(1, 4))):
        at, other = (draw(st.integers(0, max(len(raw) - 1, 0))) for _ in range(2))
        length = draw(st.sampled_from([1, 2, 8, 84, 1_000]))
        match draw(st.sampled_from(["flip", "set", "cut", "splice", "drop", "insert", "enlarge"])):
            case "flip" if raw:
                raw[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if raw:
                raw[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "cut":
                del raw[at:]
            case "splice":
                raw[at : at + length] = raw[other : other + length]
            case "drop":
                del raw[at : at + length]
            case "insert":
                raw[at:at] = draw(st.binary(max_size=20))
            case "enlarge":
                raw += draw(st.sampled_from([b"\0", b"\x1f\x8b", bytes(100), payload[-84:]]))
    return bytes(raw)


NUMBERS = [-1, 0, 1, 2**31, 2**50 + 1, 2**63, 10**400, -(2**63), 1.5, 1e308, float("nan")]
TEXTS = ["", "..", "../../x", "a\0b", "\ud800", "p" * 300, "ab" * 32, "zz" * 32, "0" * 32]
TIMES = ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "2026-01-01"]
OTHERS = [None, True, False, [], [[]], {}, {"a": {}}]
HOSTILE = st.sampled_from([*NUMBERS, *TEXTS, *TIMES, *OTHERS]) | st.recursive(
    st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)


def nodes_of(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: what holds it, and its name or number there."""
    names = document.items() if isinstance(document, dict) else enumerate(document)
    for name, item in names:
        yield document, name
        if isinstance(item, dict | list):
            yield from nodes_of(item)


@st.composite
def forged_manifests(draw: Any, document: Any) -> bytes:
    """A manifest's JSON with up to three of its parts changed, doubled, swapped or left out."""
    copy = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        places = list(nodes_of(copy))
        holder, name = places[draw(st.integers(0, len(places) - 1))]
        other, other_name = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(["replace", "drop", "double", "copy", "add"])):
            case "replace":
                holder[name] = draw(HOSTILE)
            case "drop":
                del holder[name]
            case "double" if isinstance(holder, list):
                holder.append(holder[name])
            case "copy":
                holder[name] = json.loads(json.dumps(other[other_name]))
            case "add" if isinstance(holder[name], int):
                holder[name] += draw(st.integers(-2, 2))
    return json.dumps(copy).encode("utf-8", "surrogatepass")
