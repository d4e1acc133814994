"""Chunks carried from payloads into a new one as they are: each checked, nothing unpickled.

Members are read one by one in the order of files, so that memory does not follow the amount.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection

from checkpointdb import format
from checkpointdb.contexts import contextmanager
from checkpointdb.damage import only_damage, read_member
from checkpointdb.database import Database
from checkpointdb.database_errors import LostRace
from checkpointdb.digests import Digests
from checkpointdb.errors import CorruptionError
from checkpointdb.format import CompressionLevel
from checkpointdb.manifest import Manifest, Member
from checkpointdb.manifests import read_manifest
from checkpointdb.members import find_typed_members
from checkpointdb.payloads import PayloadReader, PayloadStore
from checkpointdb.rows import typed
from checkpointdb.sealing import Cipher
from checkpointdb.store.loading import PayloadGoneError
from checkpointdb.store.packer import Chunk, Packer
from checkpointdb.store.pool import Pool
from checkpointdb.store.trash import Trash

Spot = tuple[int, int]  # where bytes lie: a member, and the offset in its plain bytes


class Cargo(NamedTuple):
    """A chunk to carry. `owner` is the value that has it for itself, and that `digest` names."""

    spot: Spot
    raw_bytes: int
    digest: bytes
    owner: tuple[str, str] | None = None  # its serializer and layout


_NO = type(None)


def typed_values(rows: Iterable[Any]) -> list[Any]:
    """Return rows of values, each of the right types, with a layout, and a whole place or none.

    Called within a transaction, where TypeError and ValueError are told as damage. What follows the
    columns of the value itself, a key and its position, is looked at too.
    """
    kinds = (int, bytes, str, str, str, int, (int, _NO), (int, _NO), str, int)
    found = [typed(row, *kinds[: len(row)]) for row in rows]
    for row in found:
        layout_of(row.layout)
        if (row.member_id is None) != (row.offset is None):
            raise ValueError("a value has half of a place")
    return found


def cargo_of_chunk(row: Any) -> Cargo:
    """Return a chunk's row as cargo."""
    typed((row.member_id, row.offset, row.raw_bytes, row.digest), int, int, int, bytes)
    return Cargo((row.member_id, row.offset), row.raw_bytes, row.digest)


def cargo_of_value(row: Any) -> Cargo:
    """Return the only chunk of a value that carries its place."""
    owner = (row.serializer, row.layout)
    return Cargo((row.member_id, row.offset), row.raw_bytes, row.digest, owner)


def members_of(connection: Connection, cargo: Iterable[Cargo]) -> list[Any]:
    """Return the rows of the members in which cargo lies."""
    return find_typed_members(connection, {each.spot[0] for each in cargo})


def carry(
    cargo: Sequence[Cargo],
    members: Sequence[Any],
    payloads: PayloadStore,
    cipher: Cipher,
    packer: Packer,
) -> dict[Spot, int]:
    """Add all cargo to a payload and return the number that each chunk has there.

    Raises CorruptionError, which names the payload, if bytes are not those that were saved;
    PayloadGoneError or LostRace if a payload is gone: then the rows must be asked again.
    """
    by_member: dict[int, list[Cargo]] = defaultdict(list)
    for each in sorted(cargo, key=lambda each: each.spot):
        by_member[each.spot[0]].append(each)
    numbers: dict[Spot, int] = {}
    for member, plain in _plain_members(members, payloads, cipher):
        for each in by_member[member.id]:
            chunk = _checked(each, plain, cipher.digests)
            if chunk is None:
                where = payloads.locate(member.name)
                reason = f"a chunk in the payload {where!r} is not what its row says"
                raise CorruptionError(reason, payload=member.name)
            numbers[each.spot] = packer.add(chunk)
    if any(each.spot not in numbers for each in cargo):
        raise LostRace("members went while the rows were read")
    return numbers


def _plain_members(
    members: Sequence[Any], payloads: PayloadStore, cipher: Cipher
) -> Iterator[tuple[Any, bytes]]:
    for name, group in groupby(members, key=lambda member: member.name):
        with _opened(payloads, name) as reader:
            seal = cipher.open(name, reader)
            for member in group:
                yield member, read_member(reader, seal, member)


@contextmanager
def _opened(payloads: PayloadStore, name: str) -> Iterator[PayloadReader]:
    """Open a payload; what is wrong with it is told with its name.

    Raises StoreUnavailableError if it cannot be read now, which is no damage.
    """
    try:
        with only_damage(payloads, name):
            reader = payloads.open(name)
            try:
                yield reader
            finally:
                reader.close()
    except FileNotFoundError as error:
        raise PayloadGoneError(name) from error
    except CorruptionError as error:
        where = payloads.locate(name)
        raise CorruptionError(f"the payload {where!r}: {error}", payload=name) from error


def _checked(each: Cargo, plain: bytes, digests: Digests) -> Chunk | None:
    """Return a chunk; None if it is not what its row says."""
    at = each.spot[1]
    data = plain[at : at + each.raw_bytes]  # a copy: a view would keep the whole member
    digest = digests.chunk(data)
    found = digest if each.owner is None else _value_digest(*each.owner, digest, digests)
    if found != each.digest or len(data) != each.raw_bytes:
        return None
    return Chunk(memoryview(data), digest, "", each.owner is None)


def _value_digest(serializer: str, layout: str, chunk: bytes, digests: Digests) -> bytes | None:
    """Return the digest of a value of one chunk; None if there is none of such a layout."""
    try:
        return digests.value(serializer, layout_of(layout), [chunk])
    except struct.error:
        return None


def layout_of(layout: str) -> tuple[int, ...]:
    """Return a value's layout from its column. Raises ValueError if it is none."""
    return tuple(map(int, layout.split(",")))


def spots_of(members: Sequence[Member], member_ids: Sequence[int]) -> list[Spot]:
    """Return where the chunks of a payload lie, by their numbers."""
    spots: list[Spot] = []
    for member_id, member in zip(member_ids, members, strict=True):
        at = 0
        for chunk in member.chunks:
            spots.append((member_id, at))
            at += chunk.raw_bytes
    return spots


def manifest_of(payloads: PayloadStore, name: str, cipher: Cipher) -> Manifest:
    """Read a payload's manifest, each checkpoint with the sequence that it was saved with.

    Raises what `carry` raises.
    """
    with _opened(payloads, name) as reader:
        manifest = read_manifest(reader, name, cipher)
    saved_with = format.sequence_of(name)
    return manifest._replace(
        checkpoints=tuple(
            each._replace(sequence=saved_with if each.sequence is None else each.sequence)
            for each in manifest.checkpoints
        )
    )


class Tools(NamedTuple):
    """What of a handle is needed to write payloads again."""

    database: Database
    payloads: PayloadStore
    cipher: Cipher
    pool: Pool
    trash: Trash
    level: CompressionLevel


@contextmanager
def flushing_tools(
    database: Database,
    payloads: PayloadStore,
    cipher: Cipher,
    pool: Pool,
    trash: Trash,
    level: CompressionLevel,
) -> Iterator[Tools]:
    """Give what is needed to write payloads again, flushed even if the handle is not durable.

    What it replaces is unlinked, which a power loss may leave done, and undo the rest: checkpoints
    that were on the disk for long would be gone.
    """
    if database.durable:
        yield Tools(database, payloads, cipher, pool, trash, level)
        return
    flushed = Database(database.url, durable=True, busy_seconds=database.busy_seconds)
    try:
        yield Tools(flushed, payloads.flushing(), cipher, pool, trash, level)
    finally:
        flushed.close()


class Rewriter:
    """Writes again what payloads hold."""

    def __init__(self, tools: Tools) -> None:
        self._database = tools.database
        self._payloads = tools.payloads
        self._cipher = tools.cipher
        self._pool = tools.pool
        self._trash = tools.trash
        self._level = tools.level
