"""No contestants: what none can do without, and what the design adds to that.

Both do with the least of Python what has to be done, in one thread, for one process.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
from collections.abc import Iterable
from hashlib import sha256
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from blake3 import blake3
from isal import isal_zlib

from checkpointdb.chunking import cut_buffer, cut_stream

from .contestant import State, Whole, flush, flush_folder

_MEMBER_BYTES = 1 << 20
_SAMPLE_BYTES = 16 << 10
Parts = list[list[bytes]]  # of a value: the digests of the chunks of each


class Floor(Whole):
    """No contestant: what no engine that deduplicates and verifies can do without.

    Each value is serialized and hashed once; what is new is compressed and flushed, in one thread
    and one file. Nothing is indexed: without the process nothing would be found again.
    """

    settings = "pickle 5, BLAKE3 of each chunk, ISA-L (2) of new ones, one flush per save"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = (folder / "floor").open("w+b")
        self._places: dict[bytes, tuple[int, int, int]] = {}  # member, offset, length
        self._members: list[tuple[int, int]] = []  # offset, length
        self._new: list[memoryview] = []
        self._new_bytes = 0
        self._steps: dict[int, dict[str, Parts]] = {}

    def save(self, step: int, state: State) -> None:
        self._steps[step] = {key: self._stored(value) for key, value in state.items()}
        self._pack()
        flush(self._file)

    def _stored(self, value: Any) -> Parts:
        buffers: list[pickle.PickleBuffer] = []
        stream = memoryview(pickle.dumps(value, 5, buffer_callback=buffers.append))
        parts = [(stream, cut_stream(stream, 0))]
        parts += [(raw, cut_buffer(raw.nbytes)) for raw in (each.raw() for each in buffers)]
        return [self._chunks(part, lengths) for part, lengths in parts]

    def _chunks(self, part: memoryview, lengths: list[int]) -> list[bytes]:
        ends = accumulate(lengths)
        return [self._chunk(part[end - n : end]) for end, n in zip(ends, lengths, strict=True)]

    def _chunk(self, chunk: memoryview) -> bytes:
        digest = blake3(chunk).digest()
        if digest not in self._places:
            self._places[digest] = len(self._members), self._new_bytes, len(chunk)
            self._new.append(chunk)
            self._new_bytes += len(chunk)
            if self._new_bytes >= _MEMBER_BYTES:
                self._pack()
        return digest

    def _pack(self) -> None:
        if not self._new:
            return
        raw = b"".join(self._new)
        shrinks = len(isal_zlib.compress(raw[:_SAMPLE_BYTES], 2)) < 0.95 * _SAMPLE_BYTES
        packed = isal_zlib.compress(raw, 2) if shrinks else b"=" + raw
        self._members.append((self._file.tell(), len(packed)))
        self._write(packed)
        self._new, self._new_bytes = [], 0

    def _write(self, packed: bytes) -> None:
        self._file.write(packed)

    def load(self, step: int) -> State:
        return self._restored(self._steps[step])

    def load_key(self, step: int, key: str) -> Any:
        return self._restored({key: self._steps[step][key]})[key]

    def _restored(self, values: dict[str, Parts]) -> State:
        members: dict[int, memoryview] = {}

        def chunk(digest: bytes) -> memoryview:
            number, offset, length = self._places[digest]
            if number not in members:
                members[number] = self._unpacked(number)
            return members[number][offset : offset + length]

        state = {}
        for key, (first, *others) in values.items():
            stream = b"".join(map(chunk, first))
            buffers = [bytearray().join(map(chunk, each)) for each in others]
            state[key] = pickle.loads(stream, buffers=buffers)
        return state

    def _unpacked(self, number: int) -> memoryview:
        offset, length = self._members[number]
        return _plain(os.pread(self._file.fileno(), length, offset))

    def close(self) -> None:
        self._file.close()


def _plain(stored: bytes) -> memoryview:
    return (
        memoryview(stored)[1:] if stored[:1] == b"=" else memoryview(isal_zlib.decompress(stored))
    )


_TABLES = """
CREATE TABLE payloads (id INTEGER PRIMARY KEY, sha256 BLOB, stored_bytes INTEGER);
CREATE TABLE members (id INTEGER PRIMARY KEY, payload_id INTEGER REFERENCES payloads,
    "offset" INTEGER, stored_bytes INTEGER, sha256 BLOB);
CREATE INDEX members_of ON members (payload_id);
CREATE TABLE chunks (id INTEGER PRIMARY KEY, digest BLOB, member_id INTEGER REFERENCES members,
    "offset" INTEGER, raw_bytes INTEGER);
CREATE INDEX chunks_by ON chunks (digest);
CREATE INDEX chunks_of ON chunks (member_id);
CREATE TABLE state_values (id INTEGER PRIMARY KEY, digest BLOB, layout TEXT,
    payload_id INTEGER REFERENCES payloads, member_id INTEGER REFERENCES members,
    "offset" INTEGER, raw_bytes INTEGER);
CREATE INDEX values_by ON state_values (digest);
CREATE INDEX values_of ON state_values (payload_id);
CREATE INDEX values_in ON state_values (member_id);
CREATE TABLE value_chunks (value_id INTEGER REFERENCES state_values, seq INTEGER,
    chunk_id INTEGER REFERENCES chunks, PRIMARY KEY (value_id, seq)) WITHOUT ROWID;
CREATE INDEX value_chunks_by ON value_chunks (chunk_id);
CREATE TABLE checkpoints (id INTEGER PRIMARY KEY, payload_id INTEGER REFERENCES payloads,
    state_digest BLOB);
CREATE TABLE entries (key TEXT, from_step INTEGER, to_step INTEGER, position INTEGER,
    value_id INTEGER REFERENCES state_values, PRIMARY KEY (key, from_step)) WITHOUT ROWID;
CREATE INDEX entries_of ON entries (value_id);
"""
_STATE = """
SELECT key, value_id, layout, digest, member_id, "offset", raw_bytes
FROM entries JOIN state_values ON state_values.id = value_id
WHERE from_step <= ?1 AND (to_step IS NULL OR to_step > ?1) AND key = coalesce(?2, key)
ORDER BY position
"""
_CHUNKS = """
SELECT digest, member_id, "offset", raw_bytes
FROM value_chunks JOIN chunks ON chunks.id = chunk_id WHERE value_id = ? ORDER BY seq
"""
_MEMBER = 'SELECT payload_id, "offset", stored_bytes, sha256 FROM members WHERE id = ?'


class RecordedFloor(Floor):
    """The floor, and what this design adds for those who come after the process.

    A file per save, which gets its name when it is whole; SHA-256 of it and of its members; rows in
    tables and indexes like the design's, but fewer, inserted by sqlite3 itself; so three flushes,
    of the file, its directory and the log. What a save compares with it remembers. A load asks the
    rows, and compares every hash. It neither locks out a second writer nor sees one, keeps no
    manifest in the file, forgets nothing, and hashes no array again after it was copied.
    """

    settings = "the floor; SHA-256; a file and rows by sqlite3 per save: three flushes"

    def __init__(self, folder: Path) -> None:
        Whole.__init__(self, folder)
        self._places, self._members = {}, []
        self._new, self._new_bytes = [], 0
        self._chunk_ids: dict[bytes, int] = {}
        self._value_ids: dict[bytes, int] = {}
        self._entries: dict[str, int] = {}
        self._rows = sqlite3.connect(folder / "rows.sqlite", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute("PRAGMA synchronous = FULL")
        self._rows.execute("PRAGMA foreign_keys = ON")
        self._rows.executescript(_TABLES)

    def save(self, step: int, state: State) -> None:
        first = len(self._members)
        self._hash, self._hashes = sha256(), []
        with (self.folder / f"{step}.new").open("wb") as self._file:
            values = {key: self._stored(value) for key, value in state.items()}
            self._pack()
            flush(self._file)
            size = self._file.tell()
        self._rows.execute("BEGIN IMMEDIATE")
        self._insert("payloads", [(step, self._hash.digest(), size)])
        places = zip(self._members[first:], self._hashes, strict=True)
        self._insert(
            "members",
            ((n, step, *place, digest) for n, (place, digest) in enumerate(places, first)),
        )
        self._record(step, values)
        (self.folder / f"{step}.new").rename(self.folder / f"{step}.gz")
        flush_folder(self.folder)
        self._rows.execute("COMMIT")

    def _write(self, packed: bytes) -> None:
        self._hash.update(packed)
        self._hashes.append(sha256(packed).digest())
        super()._write(packed)

    def _record(self, step: int, values: dict[str, Parts]) -> None:
        digests = {key: _digest(parts) for key, parts in values.items()}
        new: dict[bytes, Parts] = {
            digests[key]: parts
            for key, parts in values.items()
            if digests[key] not in self._value_ids
        }
        several = {
            digest: [*chain.from_iterable(parts)]
            for digest, parts in new.items()
            if _is_several(parts)
        }
        known = len(self._chunk_ids)
        for chunks in several.values():
            for chunk in chunks:
                self._chunk_ids.setdefault(chunk, len(self._chunk_ids))
        fresh = list(self._chunk_ids)[known:]
        self._insert("chunks", ((self._chunk_ids[d], d, *self._places[d]) for d in fresh))
        for digest in new:
            self._value_ids[digest] = len(self._value_ids)
        self._insert("state_values", (self._value_row(step, d, parts) for d, parts in new.items()))
        self._insert(
            "value_chunks",
            (
                (self._value_ids[digest], seq, self._chunk_ids[chunk])
                for digest, chunks in several.items()
                for seq, chunk in enumerate(chunks)
            ),
        )
        self._insert("checkpoints", [(step, step, _digest([list(digests.values())]))])
        now = {key: self._value_ids[digest] for key, digest in digests.items()}
        changed = [key for key, value in now.items() if self._entries.get(key) != value]
        closing = "UPDATE entries SET to_step = ? WHERE key = ? AND to_step IS NULL"
        gone = [key for key in self._entries if now.get(key) != self._entries[key]]
        self._rows.executemany(closing, ((step, key) for key in gone))
        positions = {key: number for number, key in enumerate(now)}
        self._insert("entries", ((k, step, None, positions[k], now[k]) for k in changed))
        self._entries = now

    def _value_row(self, step: int, digest: bytes, parts: Parts) -> tuple[Any, ...]:
        layout = ",".join(str(len(each)) for each in parts)
        place = (None, None, None) if _is_several(parts) else self._places[parts[0][0]]
        return self._value_ids[digest], digest, layout, step, *place

    def _insert(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        rest = iter(rows)
        if (first := next(rest, None)) is not None:
            marks = ",".join("?" * len(first))
            self._rows.executemany(f"INSERT INTO {table} VALUES ({marks})", chain([first], rest))

    def load(self, step: int) -> State:
        return self._read(step, None)

    def load_key(self, step: int, key: str) -> Any:
        return self._read(step, key)[key]

    def _read(self, step: int, only: str | None) -> State:
        members: dict[int, memoryview] = {}
        state: State = {}
        found = self._rows.execute(_STATE, (step, only)).fetchall()
        for key, value_id, layout, digest, *place in found:
            places = [(None, *place)]
            if place[0] is None:
                places = self._rows.execute(_CHUNKS, (value_id,)).fetchall()
            chunks, digests = [], []
            for expected, member, offset, length in places:
                if member not in members:
                    members[member] = self._member(member)
                chunks.append(members[member][offset : offset + length])
                digests.append(blake3(chunks[-1]).digest())
                assert expected in {None, digests[-1]}
            assert _digest([digests]) == digest
            lengths = [int(each) for each in layout.split(",")]
            ends = accumulate(lengths)
            parts = [chunks[end - n : end] for end, n in zip(ends, lengths, strict=True)]
            buffers = [bytearray().join(each) for each in parts[1:]]
            state[key] = pickle.loads(b"".join(parts[0]), buffers=buffers)
        return state

    def _member(self, number: int) -> memoryview:
        [(payload, offset, length, digest)] = self._rows.execute(_MEMBER, (number,))
        with (self.folder / f"{payload}.gz").open("rb") as file:
            stored = os.pread(file.fileno(), length, offset)
        assert sha256(stored).digest() == digest
        return _plain(stored)

    def close(self) -> None:
        self._rows.close()


def _digest(parts: Parts) -> bytes:
    return blake3(b"".join(map(b"".join, parts))).digest()


def _is_several(parts: Parts) -> bool:
    return len(parts) > 1 or len(parts[0]) > 1
