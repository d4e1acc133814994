"""What a save compares with: a checkpoint's keys and values, by digest, without its bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from checkpointdb import queries
from checkpointdb.batches import run_among
from checkpointdb.rows import whole
from checkpointdb.store.finding import Row


class KnownChunk(NamedTuple):
    """A chunk that the database holds, and the member in which its bytes lie."""

    chunk_id: int
    member_id: int


NO_CHUNKS: Mapping[bytes, KnownChunk] = MappingProxyType({})


class KnownValue(NamedTuple):
    """A value that the database holds, and the members in which its bytes lie.

    `chunks` are those of a value of several, as far as its writer knows them.
    """

    value_id: int
    digest: bytes
    members: tuple[int, ...]
    chunks: Mapping[bytes, KnownChunk] = NO_CHUNKS


def members_used(values: Iterable[KnownValue]) -> set[int]:
    """Return the members in which the bytes of any of these values lie."""
    return set(chain.from_iterable({*map(itemgetter(2), values)}))  # thousands have the same


class Stream(NamedTuple):
    """How a writer cut the in-band stream of a value, and the digests of its chunks.

    And that of the whole, of one of some megabytes at most: its chunks are too short for BLAKE3's
    parallel lanes, so that another is seen sooner by it to be the same. The chunks of a longer one
    take no longer than the whole.
    """

    lengths: list[int]
    digests: list[bytes]
    whole: bytes | None


class Memory(NamedTuple):
    """What a writer remembers of a state that it saved, to find out sooner what is the same.

    `objects` are values that cannot change, by key: the same object is the same value. `sizes` are
    the raw bytes of all values. `streams` are those of more than one chunk, by the digest of
    their value. `small` gives, by key, the stream of a value that is too small to be cut and has
    no buffers.
    """

    objects: Mapping[str, object] = MappingProxyType({})
    sizes: Mapping[str, int] = MappingProxyType({})
    streams: Mapping[bytes, Stream] = MappingProxyType({})
    small: Mapping[str, bytes] = MappingProxyType({})


class Origin(NamedTuple):
    """Where a checkpoint stands, from which another goes on."""

    row: Row
    chain: str
    depth: int


@dataclass(slots=True)
class Head:
    """A checkpoint as its writer left it; what is marked damaged is not in `values`.

    `digests` are those of the values. `member_bytes` gives the raw bytes of the members that these
    lie in. `texts` are the keys as the state's digest has them, empty if it was read from rows.
    `damaged` is what `queries.damaged_payloads` said: when that changes, the head is no longer to
    be relied on.
    """

    row: Row
    chain_id: int
    chain: str
    depth: int
    since_full: int
    damaged: int
    values: dict[str, KnownValue] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    positions: Mapping[str, int] = field(default_factory=dict)
    member_bytes: dict[int, int] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    texts: Sequence[bytes] = ()

    @property
    def origin(self) -> Origin:
        return Origin(self.row, self.chain, self.depth)


def load_head(connection: Connection, pipeline_id: int, place: Any) -> Head:
    """Read the head at a place (a row of `queries.place_by_row` or its like)."""
    damaged = connection.scalar(select(queries.damaged_payloads()), {"pipeline_id": pipeline_id})
    positions: dict[str, int] = {}
    head = Head(place.row, place.chain_id, place.uuid, place.depth, place.since_full, damaged or 0)
    rows = connection.execute(
        queries.head_values(), {"chain_id": place.chain_id, "depth": place.depth}
    ).all()
    spread = _spread(connection, {row.value_id for row in rows if row.member_id is None})
    for row in rows:
        positions[row.key] = row.position
        found = known_value(row, row.value_id, spread, head.member_bytes)
        if found is not None and not row.is_damaged:
            head.values[row.key] = found
            head.digests[row.key] = found.digest
    whole(positions.values())
    head.positions = positions
    whole(head.member_bytes.values())
    return head


Spread = dict[int, list[tuple[int, int, bool]]]  # value → (member, its raw bytes, damaged)


def _spread(connection: Connection, value_ids: Iterable[int]) -> Spread:
    found: Spread = defaultdict(list)
    rows = run_among(connection, queries.members_of_values, sorted(value_ids))
    for value_id, member_id, raw_bytes, is_damaged in rows:
        found[value_id].append((member_id, raw_bytes, bool(is_damaged)))
    return found


def known_value(
    row: Any, value_id: int, spread: Spread, member_bytes: dict[int, int]
) -> KnownValue | None:
    """Return a row's value and note its members' bytes; None if one of them is damaged."""
    if row.member_id is not None:
        member_bytes[row.member_id] = row.member_bytes
        return KnownValue(value_id, row.digest, (row.member_id,))
    members = spread[value_id]
    if any(is_damaged for _, _, is_damaged in members):
        return None
    member_bytes.update((member_id, raw_bytes) for member_id, raw_bytes, _ in members)
    return KnownValue(value_id, row.digest, tuple(member_id for member_id, _, _ in members))


class _FoundValue(NamedTuple):
    """A row of `queries.values_by_digest`."""

    id: int
    digest: bytes
    member_id: int | None
    member_bytes: int | None


def find_chunks(
    connection: Connection,
    pipeline_id: int,
    digests: Iterable[bytes],
    member_bytes: dict[int, int],
) -> dict[bytes, KnownChunk]:
    """Return what the pipeline holds of chunks of given digests, and note their members' bytes."""
    rows = run_among(connection, queries.chunks_by_digest, digests, pipeline_id=pipeline_id)
    member_bytes.update((member_id, raw_bytes) for _, _, member_id, raw_bytes in rows)
    return {digest: KnownChunk(chunk_id, member_id) for chunk_id, digest, member_id, _ in rows}


def find_values(
    connection: Connection,
    pipeline_id: int,
    digests: Iterable[bytes],
    member_bytes: dict[int, int],
) -> dict[bytes, KnownValue]:
    """Return what the pipeline holds of the values of given digests."""
    told = run_among(connection, queries.values_by_digest, digests, pipeline_id=pipeline_id)
    rows = [*map(_FoundValue._make, told)]
    spread = _spread(connection, {row.id for row in rows if row.member_id is None})
    found = [known_value(row, row.id, spread, member_bytes) for row in rows]
    whole(member_bytes.values())
    return {value.digest: value for value in found if value is not None}
