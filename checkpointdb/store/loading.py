"""Loading: one look at the rows, then each member read once and checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import Connection

from checkpointdb import format, queries
from checkpointdb.digests import Buffer, Digests
from checkpointdb.errors import (
    CorruptionError,
    EncryptionError,
    NotFoundError,
    StoreUnavailableError,
)
from checkpointdb.local_payloads import advice
from checkpointdb.manifest import MAX_SERIALIZER_BYTES, MEMBER_BYTES
from checkpointdb.payloads import PayloadStore
from checkpointdb.queries import batches
from checkpointdb.sealing import DATA, Cipher
from checkpointdb.serialize import Serialized
from checkpointdb.store.pool import Pool
from checkpointdb.store.shares import runs, shares
from checkpointdb.streamed import SERIALIZER
from checkpointdb.text import is_storable

_NOTHING = memoryview(b"")
_LAYOUT = re.compile(r"\d{1,18}(,\d{1,18})*")
_LEAST_SHARE_BYTES = 512 << 10  # of a thread: with less, threads only wait for each other

# Where a chunk lies: its member, the offset in that one's plain bytes, its length. A tuple, as a
# large state has thousands, and each object more makes the garbage collector work.
Place = tuple[int, int, int]


class _Value:
    """A value to be read: chunk by chunk into `parts`, with each chunk's digest in `digests`."""

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


# What is to be taken of a member: offset, length, and the arguments of `put`.
_Piece = tuple[int, int, _Value, int, memoryview | None]


class PayloadGoneError(Exception):
    """A payload is not there: the rows must be asked again. Internal."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


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

    `streamed` are the rows of values that are read when somebody asks for their bytes.
    """

    checkpoint_id: str
    keys: list[str]
    streamed: list[Any]
    values: list[_Value]
    members: list[Any]
    database: str  # what the rows are from, for messages

    @property
    def stored_bytes(self) -> int:
        return sum(member.stored_bytes for member in self.members)

    def serialized(self, types: Mapping[str, str]) -> dict[str, Serialized]:
        """Return the values that were read, as they were serialized."""
        return {
            value.key: Serialized(
                value.serializer,
                types[value.key],
                tuple(map(memoryview, value.whole_parts())),
                value.layout,
            )
            for value in self.values
        }

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
    rows = [row for row in every if row.serializer != SERIALIZER]
    spread = _spread(connection, [row.value_id for row in rows if row.member_id is None])
    values = []
    for key, digest, value_id, serializer, layout, raw_bytes, member_id, offset in rows:
        places = (
            spread.get(value_id, ()) if member_id is None else ((member_id, offset, raw_bytes),)
        )
        values.append(_Value(key, digest, serializer, layout, places))
    wanted = {place[0] for value in values for place in value.places}
    members = [
        row
        for batch in batches(sorted(wanted))
        for row in connection.execute(queries.members_by_id(batch))
    ]
    streamed = [row for row in every if row.serializer == SERIALIZER]
    keys_in_order = [row.key for row in every]
    name = _name_of(connection)
    plan = Plan(place.checkpoint_id, keys_in_order, streamed, values, members, name)
    _check_plan(plan)
    return plan


def types_of(connection: Connection, place: Any) -> dict[str, str]:
    """Return the names of the types of the values at a place, by key."""
    where = {"chain_id": place.chain_id, "depth": place.depth}
    return {row.key: row.type_name for row in connection.execute(queries.values_at(), where)}


def rows_of_state(
    connection: Connection, place: Any, keys: Collection[str] | None, reading: Reading
) -> Sequence[Any]:
    """Return the rows of a state (`queries.state_at`), or of some of its keys. See `plan_load`."""
    where: dict[str, Any] = {"chain_id": place.chain_id, "depth": place.depth}
    if keys is not None and not reading.is_sealed:
        some = queries.state_at(some_keys=True)
        rows = [
            row
            for batch in batches(dict.fromkeys(key for key in keys if is_storable(key)))
            for row in connection.execute(some, {**where, "keys": batch})
        ]
        return _chosen(rows, keys, place.checkpoint_id)
    # In an encrypted store always all of them: that a key has this value, and this checkpoint
    # this state, is authentic by the state's digest alone.
    every = connection.execute(queries.state_at(), where).all()
    if reading.verify_hash or reading.is_sealed:
        pairs = (row[:2] for row in every)
        told = (reading.pipeline, place.checkpoint_id, pairs, place.state_version)
        if place.state_digest != reading.cipher.digests.state(*told):
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
    sizes = {member.id: member.raw_bytes for member in plan.members}
    for member in plan.members:
        end = member.offset + member.stored_bytes
        if type(end) is not int or not 0 <= member.offset <= end <= member.payload_bytes:
            _reject(plan, f"member {member.id} lies outside its payload")
        if type(member.raw_bytes) is not int or not 0 <= member.raw_bytes <= MEMBER_BYTES:
            _reject(plan, f"member {member.id} has an impossible size")
    for value in plan.values:
        for member_id, at, length in value.places:
            end = at + length
            if type(end) is not int or not 0 <= at <= end <= sizes.get(member_id, -1):
                _reject(plan, f"a chunk of key {value.key!r} lies outside its member")
        if sum(value.layout) != sum(length for _, _, length in value.places) or not value.places:
            _reject(plan, f"the chunks of key {value.key!r} do not fit its layout")
    for serializer in {value.serializer for value in plan.values}:
        if len(serializer.encode()) > MAX_SERIALIZER_BYTES:
            _reject(plan, "the name of a serializer is too long")


def _reject(plan: Plan, reason: str) -> NoReturn:
    raise CorruptionError(
        f"checkpoint {plan.checkpoint_id!r} cannot be loaded, since its rows in "
        f"{plan.database!r} are damaged ({reason}): restore a backup, or rebuild the database",
        checkpoint_id=plan.checkpoint_id,
    )


def _chosen(rows: Iterable[Any], keys: Collection[str], checkpoint_id: str) -> list[Any]:
    by_key = {row.key: row for row in rows}
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
    for batch in batches(dict.fromkeys(value_ids)):
        for value_id, chunks in groupby(
            connection.execute(queries.chunks_of(batch)), key=itemgetter(0)
        ):
            found[value_id] = tuple((member, at, length) for _, member, at, length in chunks)
    return found


def read(plan: Plan, payloads: PayloadStore, pool: Pool, reading: Reading) -> None:
    """Fill the parts of every value of a plan and check their digests.

    Raises PayloadGoneError if a payload is gone, CorruptionError if bytes are not those that
    were saved.
    """
    pieces: dict[int, list[_Piece]] = {member.id: [] for member in plan.members}
    for value in plan.values:
        _allocate(plan, value, pieces)

    def read_share(share: list[list[Any]]) -> None:
        for run in share:
            with explained(plan.checkpoint_id, run[0].name, payloads):
                _read_run(run, pieces, payloads, reading)

    share_bytes = max(plan.stored_bytes // pool.threads // 2, _LEAST_SHARE_BYTES)
    parts = list(shares(runs(plan.members, share_bytes), share_bytes))
    if len(parts) == 1:
        read_share(parts[0])
    else:
        pool.run(read_share, parts)
    for value in plan.values:
        _check_value(plan, value, reading.cipher.digests)


@contextmanager
def explained(checkpoint_id: str, name: str, payloads: PayloadStore) -> Iterator[None]:
    """Say in what goes wrong with a payload which checkpoint was being loaded."""
    try:
        yield
    except CorruptionError as error:
        where = "" if error.payload else f"the payload {payloads.locate(name)!r}: "
        raise CorruptionError(
            f"Hash verification failed for checkpoint {checkpoint_id!r}: {where}{error}",
            checkpoint_id=checkpoint_id,
            payload=name,
        ) from error
    except FileNotFoundError as error:
        raise PayloadGoneError(name) from error
    except StoreUnavailableError:
        raise
    except OSError as error:
        raise StoreUnavailableError(
            f"checkpoint {checkpoint_id!r} was not loaded: the payload {payloads.locate(name)!r} "
            f"cannot be read ({error.strerror}): {advice(error)}"
        ) from error


def _allocate(plan: Plan, value: _Value, pieces: dict[int, list[_Piece]]) -> None:
    """Make the parts of a value and cut them into targets for its chunks."""
    if len(value.layout) == 1:  # a stream alone: joined at the end, which copies it once
        for number, (member, at, length) in enumerate(value.places):
            pieces[member].append((at, length, value, number, None))
        return
    value.parts = [bytearray(length) for length in value.layout]  # so that arrays are writable
    views = [memoryview(part) for part in value.parts]
    part = start = 0
    for number, (member, at, length) in enumerate(value.places):
        while part < len(views) and start == len(views[part]):
            part, start = part + 1, 0
        if part == len(views) or start + length > len(views[part]):
            _reject(plan, f"a chunk of key {value.key!r} reaches into the next part")
        target = views[part][start : start + length]
        pieces[member].append((at, length, value, number, target))
        start += length


def _read_run(
    run: list[Any],
    pieces: dict[int, list[_Piece]],
    payloads: PayloadStore,
    reading: Reading,
) -> None:
    reader = payloads.open(run[0].name)
    try:
        if reader.stored_bytes != run[0].payload_bytes:
            raise CorruptionError(
                f"it has {reader.stored_bytes} bytes where {run[0].payload_bytes} were written"
            )
        seal = reading.cipher.open(run[0].name, reader)
        parts = reader.read_each((member.offset, member.stored_bytes) for member in run)
        for member, stored in zip(run, parts, strict=True):
            if reading.verify_hash and sha256(stored).digest() != member.sha256:
                raise CorruptionError(
                    f"its bytes {member.offset} to {member.offset + member.stored_bytes} are not "
                    "those that were written"
                )
            _, packed = seal.unseal(DATA, stored)
            raw = format.decompress_member(packed, member.raw_bytes)
            _place(raw, pieces[member.id], reading.cipher.digests)
    finally:
        reader.close()


def _place(raw: bytes, pieces: Iterable[_Piece], digests: Digests) -> None:
    view = memoryview(raw)
    for at, length, value, number, target in pieces:
        chunk = view[at : at + length]
        if len(chunk) != length:
            raise CorruptionError("a chunk reaches beyond its member")
        value.put(number, chunk, target, digests)


def _check_value(plan: Plan, value: _Value, digests: Digests) -> None:
    if not value.is_intact(digests):
        raise CorruptionError(
            f"Hash verification failed for key {value.key!r} of checkpoint "
            f"{plan.checkpoint_id!r}: what its rows in {plan.database!r} name is not the value "
            "that was saved; restore a backup, or rebuild the database",
            checkpoint_id=plan.checkpoint_id,
        )
