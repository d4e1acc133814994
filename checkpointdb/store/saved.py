"""A staged state described: its place in a chain, its manifest, its rows, and the next head."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import compress, filterfalse
from operator import ne
from typing import Any, NamedTuple

from sqlalchemy import Connection

from checkpointdb import digests, recording
from checkpointdb.forgetting import Touched
from checkpointdb.manifest import Checkpoint, Entry, Manifest
from checkpointdb.recording import PayloadRows
from checkpointdb.store.finding import Row
from checkpointdb.store.head import NO_CHUNKS, Head, KnownChunk, KnownValue, Origin, members_used
from checkpointdb.store.positions import place_keys
from checkpointdb.store.staging import Staged


class Placement(NamedTuple):
    """What a save finds under the lock, and is inserted with."""

    pipeline_id: int
    name: str  # of the payload
    pinned: bool
    damaged: int
    has_origin: bool  # what it goes on from still lives, and is not what it replaces


class Saved(NamedTuple):
    """What a save will write: it goes on from `origin`, and relies on `base`, None for a full."""

    staged: Staged
    origin: Origin | None
    base: Head | None
    appends: bool
    checkpoint: Checkpoint
    manifest: Manifest
    positions: Mapping[str, int]
    texts: Sequence[bytes]  # the keys, for the state's digest

    def insert(self, connection: Connection, under: Placement, touched: Touched) -> Head:
        """Insert every row and return the head that the writer has from now on.

        What may be of no use is added to `touched`.
        """
        checkpoint, packer = self.checkpoint, self.staged.packer
        rows, values = self._insert_payload(connection, under)
        chain_id = self._insert_chain(connection, under)
        opened = checkpoint.entries
        value_ids = [None if each.value is None else values[each.key].value_id for each in opened]
        recording.record_entries(
            connection, chain_id, checkpoint.depth, rows.payload_id, opened, value_ids
        )
        row_id = recording.record_checkpoint(
            connection,
            under.pipeline_id,
            chain_id,
            rows.payload_id,
            packer.stored_bytes,
            checkpoint,
            is_encrypted=packer.epoch is not None,
            pinned=under.pinned,
        )
        if self.staged.has_waste:
            chunk_ids = {place.chunk_id for place in rows.places if place.chunk_id is not None}
            touched.update(Touched(chunks=chunk_ids, members=set(rows.member_ids)))
        return Head(
            Row(row_id, checkpoint.created_at),
            chain_id,
            checkpoint.chain,
            checkpoint.depth,
            checkpoint.since_full,
            under.damaged,
            values,
            self.staged.digests,
            self.positions,
            self._member_bytes(rows, values),
            self.staged.memory(),
            self.texts,
        )

    def _insert_payload(
        self, connection: Connection, under: Placement
    ) -> tuple[PayloadRows, dict[str, KnownValue]]:
        packer = self.staged.packer
        rows = recording.record_payload(
            connection,
            under.pipeline_id,
            under.name,
            packer.sha256,
            packer.stored_bytes,
            self.checkpoint.created_at,
            self.manifest.members,
            packer.epoch,
        )
        reused = self.staged.reused_chunks
        value_ids = recording.record_values(
            connection,
            under.pipeline_id,
            rows,
            self.manifest.values,
            lambda digest: reused[digest].chunk_id,
        )
        return rows, self._values(rows, value_ids)

    def _insert_chain(self, connection: Connection, under: Placement) -> int:
        depth = self.checkpoint.depth
        if self.base is not None and self.appends:
            recording.extend_chain(connection, self.base.chain_id, depth)
            return self.base.chain_id
        forked_from = self.origin.row.id if self.origin and under.has_origin else None
        uuid = self.checkpoint.chain
        return recording.record_chain(connection, under.pipeline_id, uuid, forked_from, depth + 1)

    def _values(self, rows: PayloadRows, value_ids: Sequence[int]) -> dict[str, KnownValue]:
        """Return the value of each key: what was known, and what this payload defines."""
        defined: dict[bytes, KnownValue] = {}
        members: dict[tuple[int, ...], tuple[int, ...]] = {}
        stored = [chunk.digest for member in self.manifest.members for chunk in member.chunks]
        for value, value_id in zip(self.manifest.values, value_ids, strict=True):
            chunks: dict[bytes, KnownChunk] = {}
            used: dict[int, None] = {}
            for ref in value.chunks:
                if isinstance(ref, bytes):
                    chunks[ref] = self.staged.reused_chunks[ref]
                    used[chunks[ref].member_id] = None
                    continue
                place, digest = rows.places[ref], stored[ref]
                used[place.member_id] = None
                if digest is not None and place.chunk_id is not None:
                    chunks[digest] = KnownChunk(place.chunk_id, place.member_id)
            in_members = tuple(used)  # one for all: ten thousand values may lie in the same
            in_members = members.setdefault(in_members, in_members)
            defined[value.digest] = KnownValue(
                value_id, value.digest, in_members, chunks or NO_CHUNKS
            )
        known, digests = self.staged.known, self.staged.digests
        keys = digests if self.staged.is_full else self.staged.noted
        return known | {key: defined[digests[key]] for key in keys if key not in known}

    def _member_bytes(self, rows: PayloadRows, values: dict[str, KnownValue]) -> dict[int, int]:
        sizes = dict(self.base.member_bytes) if self.base else {}
        sizes |= self.staged.member_bytes
        for member_id, member in zip(rows.member_ids, self.manifest.members, strict=True):
            sizes[member_id] = member.raw_bytes
        return {member: sizes[member] for member in members_used(values.values())}


def describe(
    staged: Staged,
    own: Head | None,
    origin: Origin | None,
    keys: Sequence[str],
    pipeline: str,
    checkpoint_id: str,
    custom_metadata: dict[str, Any],
    created_at: datetime | None,
    state_version: int | None,
) -> Saved:
    """Describe a staged state; `own` is what its writer saved last, `origin` what it follows.

    It appends to its writer's own chain, and forks from any other: a chain has one writer.
    """
    base = None if staged.is_full else staged.head
    appends = base is not None and base is own
    positions = place_keys(keys, base.positions if base and appends else {})
    has_same_keys = base is not None and positions is base.positions
    texts = (base.texts if base and has_same_keys else ()) or digests.texts(keys)
    checkpoint = Checkpoint(
        pipeline=pipeline,
        checkpoint_id=checkpoint_id,
        chain=base.chain if base and appends else uuid.uuid4().hex,
        depth=base.depth + 1 if base and appends else 0,
        created_at=created_at or current_time(),
        is_incremental=base is not None,
        since_full=base.since_full + 1 if base else 0,
        forked_from=(origin.chain, origin.depth) if origin and not appends else None,
        state_digest=staged.cipher.digests.state_of(
            pipeline, checkpoint_id, texts, map(staged.digests.__getitem__, keys), state_version
        ),
        state_bytes=staged.state_bytes,
        key_count=len(keys),
        custom_metadata=custom_metadata,
        entries=tuple(_opened(staged, base if appends else None, keys, positions)),
        state_version=state_version,
    )
    manifest = Manifest(staged.packer.flush(), tuple(staged.new_values.values()), (checkpoint,))
    return Saved(staged, origin, base, appends, checkpoint, manifest, positions, texts)


def _opened(
    staged: Staged, before: Head | None, keys: Sequence[str], positions: Mapping[str, int]
) -> Iterator[Entry]:
    """Yield the entries that differ from those before: all of them in a new chain."""
    now = staged.digests
    if before is None:
        yield from (Entry(key, positions[key], now[key]) for key in keys)
        return
    opened = {key for key in staged.noted if now[key] != before.digests.get(key)}
    has_same_keys = positions is before.positions
    if not has_same_keys:
        has_moved = map(ne, map(positions.get, keys), map(before.positions.get, keys))
        opened.update(compress(keys, has_moved))
    for key in sorted(opened, key=positions.__getitem__):
        yield Entry(key, positions[key], now[key])
    if not has_same_keys:
        for key in filterfalse(now.__contains__, before.positions):
            yield Entry(key, before.positions[key], None)


def current_time() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)
