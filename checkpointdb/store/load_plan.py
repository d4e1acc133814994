"""What to read for a state: one look at the rows, checked before any memory is taken for it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import Connection

from checkpointdb import queries
from checkpointdb.batches import batches, run_among
from checkpointdb.digests import Buffer, Digests, texts
from checkpointdb.errors import CorruptionError, EncryptionError, NotFoundError
from checkpointdb.manifest import MAX_SERIALIZER_BYTES, MEMBER_BYTES
from checkpointdb.members import MemberRow, find_members
from checkpointdb.sealing import Cipher
from checkpointdb.serialize import Serialized
from checkpointdb.statements import Prepared
from checkpointdb.store.stream_index import is_layout
from checkpointdb.streamed import SERIALIZER
from checkpointdb.text import is_storable

_NOTHING = memoryview(b"")
_LAYOUT = re.compile(r"\d{1,18}(,\d{1,18})*")

_STATE = Prepared(queries.state_at())

# Where a chunk lies: its member, the offset in that one's plain bytes, its length. A tuple, as a
# large state has thousands, and each object more makes the garbage collector work.
Place = tuple[int, int, int]


class StateRow(NamedTuple):
    """A row of `queries.state_at`: a key and its value, and where that lies if it is one chunk."""

    key: str
    digest: bytes
    value_id: int
    serializer: str
    layout: str
    raw_bytes: int
    member_id: int | None
    offset: int | None


# The same as the driver gives it: ten thousand objects more would be looked through by the garbage
# collector again and again.
Columns = tuple[str, bytes, int, str, str, int, Any, Any]


class Value:
    """A value of several chunks, or parts, to be read.

    Chunk by chunk into `parts`, with each chunk's digest in `digests`.
    """

    __slots__ = ("digest", "digests", "key", "layout", "parts", "pieces", "places", "serializer")

    def __init__(
        self, key: str, digest: bytes, serializer: str, layout: str, places: tuple[Place, ...]
    ) -> None:
        self.key = key
        self.digest = digest
        self.serializer = serializer
        self.layout = tuple(map(int, layout.split(","))) if _LAYOUT.fullmatch(layout) else ()
        self.places = places
        self.parts: list[bytearray] = []
        self.pieces: list[memoryview] = [_NOTHING] * len(places)
        self.digests: list[bytes] = [b""] * len(places)

    def put(
        self, number: int, chunk: memoryview, target: memoryview | None, digests: Digests
    ) -> None:
        """Take the bytes of a chunk: to its target, or to be joined with the others."""
        self.digests[number] = digests.chunk(chunk)
        if target is None:
            self.pieces[number] = chunk
        else:
            target[:] = chunk

    def whole_parts(self) -> Sequence[Buffer]:
        if len(self.layout) > 1:
            return self.parts
        return self.pieces if len(self.pieces) == 1 else [b"".join(self.pieces)]

    def is_intact(self, digests: Digests) -> bool:
        return digests.value(self.serializer, self.layout, self.digests) == self.digest


class Reading(NamedTuple):
    """How a handle reads."""

    pipeline: str
    cipher: Cipher
    verify_hash: bool

    @property
    def is_sealed(self) -> bool:
        return self.cipher.epoch is not None


@dataclass(slots=True)
class Plan:
    """What to read for a state: its values, and the members that hold them.

    `small` are the rows of values that are one chunk alone, by the member that it lies in;
    `streams`, by key, are their bytes, once they are read. `streamed` are the rows of values that
    are read when somebody asks for their bytes.
    """

    checkpoint_id: str
    keys: list[str]
    streamed: list[StateRow]
    small: dict[int, list[Columns]]
    values: list[Value]
    members: list[MemberRow]
    database: str  # what the rows are from, for messages
    streams: dict[str, bytes] = field(default_factory=dict)

    @property
    def stored_bytes(self) -> int:
        return sum(member.stored_bytes for member in self.members)

    def serialized(self, types: Mapping[str, str]) -> dict[str, Serialized]:
        """Return the values that were read, as they were serialized."""
        small = {
            key: Serialized(serializer, types[key], (self.streams[key],), (raw_bytes,))
            for key, _, _, serializer, _, raw_bytes, _, _ in chain(*self.small.values())
        }
        return small | {
            value.key: Serialized(
                value.serializer,
                types[value.key],
                tuple(map(memoryview, value.whole_parts())),
                value.layout,
            )
            for value in self.values
        }

    def small_by_serializer(self) -> dict[str, list[Columns]]:
        """Return the rows of values that are one chunk alone, by how they were serialized."""
        found: dict[str, list[Columns]] = defaultdict(list)
        for row in chain(*self.small.values()):
            found[row[3]].append(row)
        return found

    def take_parts(self) -> Iterator[tuple[str, str, Sequence[Buffer]]]:
        """Yield each other value that was read, once: its key, its serializer, its parts."""
        for value in self.values:
            yield value.key, value.serializer, value.whole_parts()
            value.parts, value.pieces = [], []

    def is_same_as(self, other: Plan) -> bool:
        """Say whether the same members of the same files are to be read."""
        return [(member.id, member.name) for member in self.members] == [
            (each.id, each.name) for each in other.members
        ]


def plan_load(
    connection: Connection, place: Any, keys: Collection[str] | None, reading: Reading
) -> Plan:
    """Ask the rows what must be read for the state at `place`, or for some keys of it.

    Raises NotFoundError if a key is not in the state, CorruptionError if the rows do not add up
    to the digest of the state, EncryptionError if it was sealed and we have no key.
    """
    if place.is_encrypted and not reading.is_sealed:
        raise EncryptionError(
            f"checkpoint {place.checkpoint_id!r} is encrypted, says {_name_of(connection)!r}: open "
            "the store with enable_encryption=True and its encryption_key"
        )
    every = rows_of_state(connection, place, keys, reading)
    small: dict[int, list[Columns]] = defaultdict(list)
    large: list[Columns] = []
    streamed: list[StateRow] = []
    for row in every:
        _, _, _, serializer, layout, _, member_id, _ = row
        if serializer == SERIALIZER:
            streamed.append(StateRow(*row))
        elif member_id is None or "," in layout:
            large.append(row)
        else:
            small[member_id].append(row)
    values = _values(connection, large)
    wanted = small.keys() | {place[0] for value in values for place in value.places}
    members = find_members(connection, wanted)
    keys_in_order = [row[0] for row in every]
    name = _name_of(connection)
    plan = Plan(place.checkpoint_id, keys_in_order, streamed, small, values, members, name)
    _check_plan(plan)
    return plan


def _values(connection: Connection, rows: Sequence[Columns]) -> list[Value]:
    spread = _spread(connection, [row[2] for row in rows if row[6] is None])
    return [
        Value(
            key,
            digest,
            serializer,
            layout,
            spread.get(value_id, ()) if member_id is None else ((member_id, offset, raw_bytes),),
        )
        for key, digest, value_id, serializer, layout, raw_bytes, member_id, offset in rows
    ]


def types_of(connection: Connection, place: Any) -> dict[str, str]:
    """Return the names of the types of the values at a place, by key."""
    where = {"chain_id": place.chain_id, "depth": place.depth}
    return {row.key: row.type_name for row in connection.execute(queries.values_at(), where)}


def rows_of_state(
    connection: Connection, place: Any, keys: Collection[str] | None, reading: Reading
) -> Sequence[Columns]:
    """Return the rows of a state (`queries.state_at`), or of some of its keys. See `plan_load`."""
    where: dict[str, Any] = {"chain_id": place.chain_id, "depth": place.depth}
    if keys is not None and not reading.is_sealed:
        some = queries.state_at(some_keys=True)
        rows = [
            tuple(row)
            for batch in batches(dict.fromkeys(key for key in keys if is_storable(key)))
            for row in connection.execute(some, {**where, "keys": batch})
        ]
        return _chosen(rows, keys, place.checkpoint_id)
    # In an encrypted store always all of them: that a key has this value, and this checkpoint
    # this state, is authentic by the state's digest alone.
    every: list[Any] = _STATE.run(connection, where)
    if reading.verify_hash or reading.is_sealed:
        names, values = texts(row[0] for row in every), [row[1] for row in every]
        told = (reading.pipeline, place.checkpoint_id, names, values, place.state_version)
        if place.state_digest != reading.cipher.digests.state_of(*told):
            raise CorruptionError(
                f"Hash verification failed for checkpoint {place.checkpoint_id!r}: its rows in "
                f"{_name_of(connection)!r} do not give the state that was saved; rebuild the "
                "database",
                checkpoint_id=place.checkpoint_id,
            )
    return every if keys is None else _chosen(every, keys, place.checkpoint_id)


def _name_of(connection: Connection) -> str:
    return connection.engine.url.database or "the database"


def _check_plan(plan: Plan) -> None:
    """Raise CorruptionError unless all that is to be read lies within its bounds.

    Before any memory is taken for it: rows may be damaged, or forged. SQLite keeps any type in
    any column; what cannot be compared raises TypeError, and of whole numbers alone all sums
    are whole.
    """
    if len(set(plan.keys)) != len(plan.keys):
        reject(plan, "a key has several values")
    for member in plan.members:
        end = member.offset + member.stored_bytes
        if type(end) is not int or not 0 <= member.offset <= end <= member.payload_bytes:
            reject(plan, f"member {member.id} lies outside its payload")
        if type(member.raw_bytes) is not int or not 0 <= member.raw_bytes <= MEMBER_BYTES:
            reject(plan, f"member {member.id} has an impossible size")
    for row in plan.streamed:
        if not is_layout(row.layout):
            reject(plan, f"the layout of key {row.key!r} is not that of a stream")
    sizes = {member.id: member.raw_bytes for member in plan.members}
    _check_small(plan, sizes)
    _check_values(plan, sizes)
    serializers = {row[3] for row in chain(*plan.small.values())}
    for serializer in serializers | {value.serializer for value in plan.values}:
        if len(serializer.encode()) > MAX_SERIALIZER_BYTES:
            reject(plan, "the name of a serializer is too long")


def _check_small(plan: Plan, sizes: Mapping[int, int]) -> None:
    for member_id, rows in plan.small.items():
        size = sizes.get(member_id, -1)
        for key, _, _, _, layout, length, _, at in rows:
            end = at + length
            if type(end) is not int or not 0 <= at <= end <= size:
                reject(plan, f"the chunk of key {key!r} lies outside its member")
            if layout != str(length):
                reject(plan, f"the chunk of key {key!r} does not fit its layout")


def _check_values(plan: Plan, sizes: Mapping[int, int]) -> None:
    for value in plan.values:
        for member_id, at, length in value.places:
            end = at + length
            if type(end) is not int or not 0 <= at <= end <= sizes.get(member_id, -1):
                reject(plan, f"a chunk of key {value.key!r} lies outside its member")
        if sum(value.layout) != sum(length for _, _, length in value.places) or not value.places:
            reject(plan, f"the chunks of key {value.key!r} do not fit its layout")


def reject(plan: Plan, reason: str) -> NoReturn:
    """Raise the CorruptionError for rows that cannot be right."""
    raise CorruptionError(
        f"checkpoint {plan.checkpoint_id!r} cannot be loaded, since its rows in "
        f"{plan.database!r} are damaged ({reason}): restore a backup, or rebuild the database",
        checkpoint_id=plan.checkpoint_id,
    )


def _chosen(rows: Iterable[Columns], keys: Collection[str], checkpoint_id: str) -> list[Columns]:
    by_key = {row[0]: row for row in rows}
    missing = [key for key in keys if key not in by_key]
    if missing:
        raise NotFoundError(
            f"checkpoint {checkpoint_id!r} has no key {', '.join(map(repr, missing))}",
            checkpoint_id=checkpoint_id,
        )
    return [by_key[key] for key in dict.fromkeys(keys)]


def _spread(connection: Connection, value_ids: Iterable[int]) -> dict[int, tuple[Place, ...]]:
    """Return where the chunks of values of several chunks lie."""
    found: dict[int, tuple[Place, ...]] = {}
    rows = run_among(connection, queries.chunks_of, dict.fromkeys(value_ids))
    for value_id, chunks in groupby(rows, key=itemgetter(0)):
        found[value_id] = tuple((member, at, length) for _, member, at, length in chunks)
    return found
