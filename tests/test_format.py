"""The payload format: what is written is read back, and nothing else is believed."""

from __future__ import annotations

import gzip
import pickle
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from struct import unpack

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from checkpointdb import CorruptionError, format
from checkpointdb.digests import Digests
from checkpointdb.local_payloads import LocalReader
from checkpointdb.manifest import (
    MEMBER_BYTES,
    Checkpoint,
    Entry,
    Manifest,
    Member,
    StoredChunk,
    Value,
    decode_manifest,
    encode_manifest,
)
from checkpointdb.manifests import hash_payload, part_of, read_manifest
from checkpointdb.sealing import PLAIN
from checkpointdb.serialize import Pickle, dump

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "format.md"
SCRIPT = ROOT / "examples" / "recover.py"

digests = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
sizes = st.integers(0, 2**40)
levels = st.sampled_from(format.COMPRESSION_LEVELS)
raw_bytes = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda one, count: one * count,
        st.binary(min_size=1, max_size=40),
        sizes.map(lambda n: n % 5_000),
    ),
    st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).bytes(seed % 200_000)),
)


# --- members


def compressed(raw, level="stored"):
    return b"".join(format.compress_member(raw, level))


@given(raw=raw_bytes, level=levels)
@example(raw=b"", level="stored")
@example(raw=bytes(65_535), level="stored")
@example(raw=bytes(65_536), level="stored")
def test_a_member_comes_back_and_any_gzip_reads_it(raw, level):
    stored = compressed(raw, level)
    assert format.decompress_member(stored, len(raw)) == raw
    assert gzip.decompress(stored) == raw


@given(raw=raw_bytes, level=levels)
def test_equal_content_gives_equal_bytes_without_a_time(raw, level):
    stored = compressed(raw, level)
    assert stored == compressed(bytes(bytearray(raw)), level)
    assert stored[4:8] == bytes(4)


@given(raw=raw_bytes, level=levels, data=st.data())
def test_a_member_with_a_flipped_bit_gives_the_same_bytes_or_is_refused(raw, level, data):
    stored = bytearray(compressed(raw, level))
    bit = data.draw(st.integers(0, 8 * len(stored) - 1))
    stored[bit // 8] ^= 1 << bit % 8
    with suppress(CorruptionError):
        assert format.decompress_member(bytes(stored), len(raw)) == raw


@given(raw=raw_bytes, level=levels, data=st.data())
def test_a_truncated_member_is_refused(raw, level, data):
    stored = compressed(raw, level)
    kept = data.draw(st.integers(0, len(stored) - 1))
    with pytest.raises(CorruptionError):
        format.decompress_member(stored[:kept], len(raw))


@pytest.mark.parametrize("more", [b"\0", b"more", compressed(b"")])
def test_bytes_behind_a_member_are_refused(more):
    with pytest.raises(CorruptionError, match="does not hold"):
        format.decompress_member(compressed(b"plain") + more, 5)


@pytest.mark.parametrize("length", [0, 4, 6, 1 << 30])
def test_a_member_of_another_length_is_refused(length):
    with pytest.raises(CorruptionError, match="does not hold"):
        format.decompress_member(compressed(b"plain"), length)


def test_random_bytes_are_stored_and_text_is_compressed():
    noise = np.random.default_rng(1).bytes(1 << 20)
    assert len(compressed(noise, "fast")) < len(noise) + 200
    assert len(compressed(b"a line of text\n" * 60_000, "fast")) < 20_000


# --- footer


footers = st.builds(
    lambda offset, length, digest: format.Footer(offset, length, digest), sizes, sizes, digests
)


@given(footer=footers)
def test_a_footer_comes_back(footer):
    end = footer.manifest_offset + footer.manifest_bytes + format.FOOTER_BYTES
    assert format.decode_footer(format.encode_footer(footer), end) == footer


@given(footer=footers)
def test_a_footer_is_an_empty_gzip_member(footer):
    tail = format.encode_footer(footer)
    assert len(tail) == format.FOOTER_BYTES
    assert gzip.decompress(tail) == b""


@given(footer=footers, bit=st.integers(0, 8 * format.FOOTER_BYTES - 1))
def test_a_footer_with_a_flipped_bit_is_refused_or_names_another_manifest_hash(footer, bit):
    tail = bytearray(format.encode_footer(footer))
    tail[bit // 8] ^= 1 << bit % 8
    end = footer.manifest_offset + footer.manifest_bytes + format.FOOTER_BYTES
    try:
        found = format.decode_footer(bytes(tail), end)
    except CorruptionError:
        return
    if found.format_version == footer.format_version:
        assert found.manifest_sha256 != footer.manifest_sha256


@given(footer=footers, wrong=st.integers(-90, 90))
def test_a_footer_that_does_not_fit_the_file_is_refused(footer, wrong):
    assume(wrong != 0)
    end = footer.manifest_offset + footer.manifest_bytes + format.FOOTER_BYTES
    with pytest.raises(CorruptionError, match="does not fit"):
        format.decode_footer(format.encode_footer(footer), end + wrong)


@given(tail=st.binary(max_size=100))
def test_what_is_no_footer_is_refused(tail):
    with pytest.raises(CorruptionError, match="footer"):
        format.decode_footer(tail, 1_000)


def test_a_newer_format_is_refused_with_both_versions_and_advice():
    footer = format.Footer(0, 0, bytes(32), 7)
    with pytest.raises(CorruptionError, match=r"format 7.* up to 1: upgrade checkpointdb"):
        format.decode_footer(format.encode_footer(footer), format.FOOTER_BYTES)


# --- manifest


names = texts.filter(bool)
chain_ids = st.text("0123456789abcdef", min_size=32, max_size=32)
json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)


@st.composite
def members_in_order(draw):
    members, end = [], 0
    for _ in range(draw(st.integers(0, 3))):
        chunk = st.builds(StoredChunk, st.integers(0, 9_999), st.none() | digests)
        chunks = draw(st.lists(chunk, min_size=1, max_size=4))
        total = sum(each.raw_bytes for each in chunks)
        member = Member(end + draw(sizes), draw(sizes), total, draw(digests), tuple(chunks))
        members.append(member)
        end = member.offset + member.stored_bytes
    return tuple(members)


@st.composite
def values_of(draw, members):
    """Values of the chunks of members; what has no digest is one value's alone."""
    stored = [chunk for member in members for chunk in member.chunks]
    own = [number for number, chunk in enumerate(stored) if chunk.digest is None]
    shared = [number for number, chunk in enumerate(stored) if chunk.digest is not None]
    chunks = [(number,) for number in own if draw(st.booleans())]
    ref = digests | st.sampled_from(shared) if shared else digests
    chunks += draw(st.lists(st.lists(ref, min_size=1, max_size=4).map(tuple), max_size=3))
    found = {}
    for refs in chunks:
        here = sum(stored[ref].raw_bytes for ref in refs if isinstance(ref, int))
        more = draw(sizes) if any(isinstance(ref, bytes) for ref in refs) else 0
        first = draw(st.integers(0, here + more))
        layout = draw(st.sampled_from([(here + more,), (first, here + more - first)]))
        value = Value(draw(digests), draw(texts), draw(texts), layout, refs)
        found[value.digest] = value
    return tuple(found.values())


@st.composite
def manifests(draw):
    members = draw(members_in_order())
    values = draw(values_of(members))
    named = st.sampled_from([value.digest for value in values]) if values else digests
    entry = st.builds(Entry, texts, st.integers(-(2**50), 2**50), st.none() | digests | named)
    since_full = draw(st.integers(0, 500))
    checkpoint = st.builds(
        Checkpoint,
        pipeline=names,
        checkpoint_id=names,
        chain=chain_ids,
        depth=sizes if since_full else st.just(0),
        created_at=st.datetimes(
            datetime(2, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
            timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
        ),
        is_incremental=st.just(since_full > 0),
        since_full=st.just(since_full),
        forked_from=st.none() | st.tuples(chain_ids, sizes),
        state_digest=digests,
        state_bytes=sizes,
        key_count=st.integers(0, 2**31 - 1),
        custom_metadata=st.dictionaries(texts, json, max_size=3),
        entries=st.lists(entry, max_size=5, unique_by=lambda entry: entry.key).map(tuple),
        sequence=st.none() | sizes,
        state_version=st.none() | st.integers(0, 2**31 - 1),
    )
    found = draw(st.lists(checkpoint, max_size=3, unique_by=lambda each: (each.chain, each.depth)))
    return Manifest(members, values, tuple(found))


@given(manifest=manifests())
def test_a_manifest_comes_back(manifest):
    assert decode_manifest(encode_manifest(manifest)) == manifest


@given(manifest=manifests(), data=st.data())
def test_a_truncated_manifest_is_refused(manifest, data):
    raw = encode_manifest(manifest)
    with pytest.raises(CorruptionError):
        decode_manifest(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(manifest=manifests(), data=st.data())
def test_a_manifest_with_a_changed_byte_is_read_or_refused_and_never_fails_otherwise(
    manifest, data
):
    raw = bytearray(encode_manifest(manifest))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(CorruptionError):
        decode_manifest(bytes(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        b'{"format": Infinity, "members": [], "values": [], "checkpoints": []}',
        b'{"format": 1, "members": [[0, 9, 9, "00", [9]]], "values": [], "checkpoints": []}',
        b'{"format": 1, "members": 5, "values": [], "checkpoints": []}',
        b"[" * 100_000,
    ],
    ids=repr,
)
def test_json_that_is_no_manifest_is_refused(raw):
    with pytest.raises(CorruptionError, match="manifest cannot be read"):
        decode_manifest(raw)


def test_names_that_a_newer_writer_added_are_ignored():
    raw = encode_manifest(Manifest()).replace(b"{", b'{"later": [1], ', 1)
    assert decode_manifest(raw) == Manifest()


# --- names


@given(pipeline=texts, checkpoint_id=st.text(max_size=300), sequence=st.integers(0, 10**12))
def test_a_payload_name_is_two_plain_parts_and_gives_its_sequence_back(
    pipeline, checkpoint_id, sequence
):
    assume(not any(0xD800 <= ord(each) < 0xE000 for each in checkpoint_id))
    name = format.payload_name(pipeline, sequence, checkpoint_id)
    assert re.fullmatch(r"p-[\w-]*/\d{10,}-[\w-]*\.ckpt\.gz", name, re.ASCII)
    assert len(name) < 200
    if pipeline and checkpoint_id:
        assert format.sequence_of(name) == sequence


@given(name=names, sequence=st.integers(0, 10**12), other=st.integers(0, 10**12))
def test_a_name_may_get_another_sequence_and_nothing_else_of_it_changes(name, sequence, other):
    renamed = format.with_sequence(format.payload_name("p", sequence, name), other)
    assert renamed == format.payload_name("p", other, name)


@given(one=texts, other=texts)
@example(one="a", other="A")
@example(one="a/b", other="a_b")
def test_two_ids_never_share_a_name_not_even_where_case_is_ignored(one, other):
    assume(one != other)
    names = {format.payload_name("p", 1, each).lower() for each in (one, other)}
    assert len(names) == 2


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "p-a/1-b.ckpt.gz",
        "p-a/0000000001-b.ckpt",
        "../0000000001-b.ckpt.gz",
        "p-a/0000000001-é.ckpt.gz",
    ],
)
def test_other_names_have_no_sequence(name):
    with pytest.raises(CorruptionError, match="not the name of a payload"):
        format.sequence_of(name)


# --- digests, as the page defines them


def test_digests_are_what_the_page_says():
    from blake3 import blake3

    def u64(number):
        return number.to_bytes(8, "little")

    chunk = blake3(b"some bytes").digest()
    assert Digests().chunk(b"some bytes") == chunk
    value = blake3(b"value\x07" + u64(2) + u64(4) + u64(6) + b"pickle5" + chunk).digest()
    assert Digests().value("pickle5", [4, 6], [chunk]) == value
    key = "é".encode()
    state = blake3(b"state" + u64(0) + value + u64(len(key)) + key + value).digest()
    assert Digests().state("p", "c", [("", value), ("é", value)]) == state


def test_the_page_gives_the_footer_as_it_is_written():
    rows = re.findall(r"^\| −(\d+) \| (\d+) \| ", PAGE.read_text(), re.MULTILINE)
    starts, lengths = zip(*[(int(start), int(length)) for start, length in rows], strict=True)
    assert starts[0] == format.FOOTER_BYTES == sum(lengths)
    assert [start - length for start, length in zip(starts, lengths, strict=True)] == [
        *starts[1:],
        0,
    ]
    tail = format.encode_footer(format.Footer(11, 22, bytes(range(32))))
    assert unpack("<8sHQQ32s", tail[-68:-10]) == (b"CKPTDB\r\n", 1, 11, 22, bytes(range(32)))
    assert tail[:16].hex(" ") == "1f 8b 08 04 00 00 00 00 00 ff 3e 00 43 44 3a 00"


# --- payloads of a real store


STATE = {
    "": None,
    "numbers": list(range(20_000)),
    "array": np.arange(120_000, dtype="f8"),
    "__deleted_keys__": {"nested": [b"bytes", "text \N{PARTY POPPER}"]},
    "a.b": np.zeros((3, 4), order="F"),
    "again": list(range(20_000)),
}


@pytest.fixture
def full(archive):
    archive.save(STATE, "full")
    return Path(archive.get_checkpoint_info("full").file_path)


def test_gzip_accepts_every_payload_and_sha256sum_finds_what_the_database_says(archive):
    state = dict(STATE)
    for number in range(3):
        state["counter"] = number
        archive.save(state, f"stage {number}")
    archive.save(state, "unchanged")
    archive.save({}, "empty")
    for each in archive.list_checkpoints():
        path = Path(each.file_path)
        gzip.decompress(path.read_bytes())
        assert sha256(path.read_bytes()).hexdigest() == each.hash_sha256
        if shutil.which("gzip"):
            subprocess.run(["gzip", "-t", path], check=True)


def test_members_lie_without_a_gap_and_carry_the_hashes_that_the_manifest_names(full):
    with LocalReader(full) as reader:
        manifest = read_manifest(reader, "p-a/0000000001-a.ckpt.gz", PLAIN)
        parts = [part_of(each.offset, each.stored_bytes) for each in manifest.members]
        hashes = hash_payload(reader, parts)
    assert parts[0][0] == 0
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    assert [hashes.parts[part] for part in parts] == [each.sha256 for each in manifest.members]
    assert all(each.raw_bytes <= MEMBER_BYTES for each in manifest.members)


def test_digests_in_a_manifest_are_those_of_the_values(full):
    with LocalReader(full) as reader:
        manifest = read_manifest(reader, "p-a/0000000001-a.ckpt.gz", PLAIN)
    [checkpoint] = manifest.checkpoints
    defined = {value.digest: value for value in manifest.values}
    stored = [chunk for member in manifest.members for chunk in member.chunks]
    plain = b"".join(
        gzip.decompress(full.read_bytes()[each.offset : each.offset + each.stored_bytes])
        for each in manifest.members
    )
    ends = np.cumsum([0, *(chunk.raw_bytes for chunk in stored)])
    for entry in checkpoint.entries:
        value = defined[entry.value]
        chunks = [plain[ends[ref] : ends[ref + 1]] for ref in value.chunks]
        found = [Digests().chunk(chunk) for chunk in chunks]
        assert value.digest == Digests().value(value.serializer, value.layout, found)
        assert value.layout == dump(entry.key, STATE[entry.key], Pickle()).layout
    pairs = [(entry.key, entry.value) for entry in checkpoint.entries]
    assert checkpoint.state_digest == Digests().state("p", "c", pairs)


@pytest.mark.parametrize("kept", [0, 10, 83, 84, 200, -85, -84, -1])
def test_a_payload_that_was_cut_off_has_no_manifest(full, tmp_path, kept):
    short = tmp_path / "short.ckpt.gz"
    short.write_bytes(full.read_bytes()[:kept])
    with LocalReader(short) as reader, pytest.raises(CorruptionError):
        read_manifest(reader, "p-a/0000000001-a.ckpt.gz", PLAIN)


def test_a_bit_flipped_in_manifest_or_footer_is_noticed(full, tmp_path):
    raw = full.read_bytes()
    start = unpack("<Q", raw[-58:-50])[0]
    flipped = tmp_path / "flipped.ckpt.gz"
    for place in {*range(start, len(raw), 97), *range(len(raw) - 84, len(raw))}:
        damaged = bytearray(raw)
        damaged[place] ^= 0x10
        flipped.write_bytes(damaged)
        with LocalReader(flipped) as reader, pytest.raises(CorruptionError):
            read_manifest(reader, "p-a/0000000001-a.ckpt.gz", PLAIN)


# --- without checkpointdb


def run_script(*arguments):
    # -I and -S: no site-packages, no current directory; what it imports is the standard library.
    return subprocess.run([sys.executable, "-I", "-S", SCRIPT, *arguments], capture_output=True)


def test_the_page_shows_the_script_that_recovers_and_it_has_at_most_40_lines():
    [shown] = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert shown == SCRIPT.read_text()
    assert len(shown.splitlines()) <= 40


def test_the_script_recovers_a_full_checkpoint_with_the_standard_library_alone(archive):
    plain = {key: value for key, value in STATE.items() if not isinstance(value, np.ndarray)}
    plain["long"] = bytearray(np.random.default_rng(0).bytes(3_000_000))
    archive.save({"before": 1}, "before")
    archive.save(plain, "plain", force_full=True)
    found = run_script(archive.get_checkpoint_info("plain").file_path)
    assert found.returncode == 0, found.stderr
    state = pickle.loads(found.stdout)
    assert state == plain
    assert list(state) == list(plain)


def test_the_script_recovers_arrays_where_numpy_is_there(full):
    found = subprocess.run([sys.executable, SCRIPT, full], capture_output=True, check=True)
    state = pickle.loads(found.stdout)
    assert np.array_equal(state["array"], STATE["array"])
    assert list(state) == list(STATE)


def test_the_script_lists_keys_without_unpickling(full):
    found = run_script(full, "--keys")
    lines = found.stdout.decode().splitlines()
    assert lines[0] == "'': NoneType, 4 bytes"
    assert [line.split(":")[0] for line in lines] == [repr(key) for key in STATE]


def test_the_script_refuses_an_incremental_checkpoint_and_a_damaged_file(archive, tmp_path):
    archive.save(STATE, "full")
    archive.save({**STATE, "more": 1}, "incremental")
    found = run_script(archive.get_checkpoint_info("incremental").file_path)
    assert found.returncode == 1
    assert b"incremental" in found.stderr
    raw = bytearray(Path(archive.get_checkpoint_info("full").file_path).read_bytes())
    raw[100] ^= 1
    damaged = tmp_path / "damaged.ckpt.gz"
    damaged.write_bytes(raw)
    found = run_script(damaged)
    assert found.returncode == 1
    assert b"damaged" in found.stderr


def test_a_footer_of_version_0_is_refused():
    footer = bytearray(format.encode_footer(format.Footer(0, 40, b"\1" * 32)))
    footer[-60] = 0
    with pytest.raises(CorruptionError, match="format 0"):
        format.decode_footer(bytes(footer), 40 + len(footer))
