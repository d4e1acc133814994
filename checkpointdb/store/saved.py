"""A staged state described: its place in a chain, its manifest, its rows, and the next head."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import compress, filterfalse
from operator import ne, or_
from typing import Any, NamedTuple

from sqlalchemy import Connection

from checkpointdb import recording
from checkpointdb.forgetting import Touched
from checkpointdb.manifest import Checkpoint, Entry, Manifest
from checkpointdb.recording import PayloadRows
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
    positions: dict[str, int]

    def insert(self, connection: Connection, under: Placement, touched: Touched) -> Head:
        """Insert every row and return the head that the writer has from now on.

        What may be of no use is added to `touched`.
        """
        checkpoint, packer, digests = self.checkpoint, self.staged.packer, self.staged.digests
        rows, known = self._insert_payload(connection, under)
        chain_id = self._insert_chain(connection, under)
        opened = (
            (entry, None if entry.value is None else known[entry.value].value_id)
            for entry in checkpoint.entries
        )
        recording.record_entries(connection, chain_id, checkpoint.depth, rows.payload_id, opened)
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
            row_id,
            chain_id,
            checkpoint.chain,
            checkpoint.depth,
            checkpoint.since_full,
            under.damaged,
            dict(zip(digests, map(known.__getitem__, digests.values()), strict=True)),
            digests,
            self.positions,
            self._member_bytes(rows, known),
            self.staged.memory(),
        )

    def _insert_payload(
        self, connection: Connection, under: Placement
    ) -> tuple[PayloadRows, dict[bytes, KnownValue]]:
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
        return rows, self._known(rows, value_ids)

    def _insert_chain(self, connection: Connection, under: Placement) -> int:
        depth = self.checkpoint.depth
        if self.base is not None and self.appends:
            recording.extend_chain(connection, self.base.chain_id, depth)
            return self.base.chain_id
        forked_from = self.origin.row_id if self.origin and under.has_origin else None
        uuid = self.checkpoint.chain
        return recording.record_chain(connection, under.pipeline_id, uuid, forked_from, depth + 1)

    def _known(self, rows: PayloadRows, value_ids: Sequence[int]) -> dict[bytes, KnownValue]:
        known = dict(self.staged.reused_values)
        digests = [chunk.digest for member in self.manifest.members for chunk in member.chunks]
        for value, value_id in zip(self.manifest.values, value_ids, strict=True):
            chunks: dict[bytes, KnownChunk] = {}
            used: dict[int, None] = {}
            for ref in value.chunks:
                if isinstance(ref, bytes):
                    chunks[ref] = self.staged.reused_chunks[ref]
                    used[chunks[ref].member_id] = None
                    continue
                place, digest = rows.places[ref], digests[ref]
                used[place.member_id] = None
                if digest is not None and place.chunk_id is not None:
                    chunks[digest] = KnownChunk(place.chunk_id, place.member_id)
            known[value.digest] = KnownValue(
                value_id, value.digest, tuple(used), chunks or NO_CHUNKS
            )
        return known

    def _member_bytes(self, rows: PayloadRows, known: dict[bytes, KnownValue]) -> dict[int, int]:
        sizes = dict(self.base.member_bytes) if self.base else {}
        sizes |= self.staged.member_bytes
        for member_id, member in zip(rows.member_ids, self.manifest.members, strict=True):
            sizes[member_id] = member.raw_bytes
        return {member: sizes[member] for member in members_used(known.values())}


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
    checkpoint = Checkpoint(
        pipeline=pipeline,
        checkpoint_id=checkpoint_id,
        chain=base.chain if base and appends else uuid.uuid4().hex,
        depth=base.depth + 1 if base and appends else 0,
        created_at=created_at or current_time(),
        is_incremental=base is not None,
        since_full=base.since_full + 1 if base else 0,
        forked_from=(origin.chain, origin.depth) if origin and not appends else None,
        state_digest=staged.cipher.digests.state(
            pipeline,
            checkpoint_id,
            zip(keys, map(staged.digests.__getitem__, keys), strict=True),
            state_version,
        ),
        state_bytes=staged.state_bytes,
        key_count=len(keys),
        custom_metadata=custom_metadata,
        entries=tuple(_opened(staged, base if appends else None, keys, positions)),
        state_version=state_version,
    )
    manifest = Manifest(staged.packer.flush(), tuple(staged.new_values.values()), (checkpoint,))
    return Saved(staged, origin, base, appends, checkpoint, manifest, positions)


def _opened(
    staged: Staged, before: Head | None, keys: Sequence[str], positions: dict[str, int]
) -> Iterator[Entry]:
    """Yield the entries that differ from those before: all of them in a new chain."""
    digests = staged.digests
    opened: Iterable[str] = keys
    if before is not None:  # compared without a step for each
        has_other_value = map(ne, map(digests.get, keys), map(before.digests.get, keys))
        has_moved = map(ne, map(positions.get, keys), map(before.positions.get, keys))
        opened = compress(keys, map(or_, has_other_value, has_moved))
    yield from (Entry(key, positions[key], digests[key]) for key in opened)
    if before is not None:
        for key in filterfalse(digests.__contains__, before.positions):
            yield Entry(key, before.positions[key], None)


def current_time() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)
