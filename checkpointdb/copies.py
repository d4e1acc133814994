"""Where else lost pieces lie: chunks, and values of one chunk, of the same digest elsewhere.

A plan says by which copy each piece is replaced. No copy is relied on before it was read: the
SHA-256 of its member, and its own digest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Table, bindparam, select, update

from checkpointdb import queries
from checkpointdb.batches import batches
from checkpointdb.damage import only_damage, read_member
from checkpointdb.database import Database
from checkpointdb.digests import Digests
from checkpointdb.errors import CorruptionError
from checkpointdb.forgetting import Touched, collect
from checkpointdb.members import find_members
from checkpointdb.payloads import PayloadStore
from checkpointdb.schema import chunks, entries, state_values, value_chunks
from checkpointdb.sealing import Cipher

Piece = tuple[str, int]  # "chunk" or "value", and its row


class Replacing(NamedTuple):
    """By which copy each lost piece is replaced; the values that this makes whole; the others."""

    copies: dict[Piece, Any]
    recovered: frozenset[int]
    lost: frozenset[int]


def plan_copies(
    connection: Connection, members: Collection[int], refused: Collection[Piece]
) -> Replacing:
    """Look for copies of what lies in lost members, but for `refused` ones."""
    copies: dict[Piece, Any] = {}
    for row in connection.execute(queries.copies_of(members)):
        if (row.kind, row.id) not in refused:
            copies.setdefault((row.kind, row.lost_id), row)
    values, lost = set(), set()
    for value_id, kind, piece in connection.execute(queries.pieces_in(members)):
        values.add(value_id)
        if (kind, piece) not in copies:
            lost.add(value_id)
    return Replacing(copies, frozenset(values - lost), frozenset(lost))


# --- verifying


@dataclass(slots=True)
class Proof:
    """Which copies were read: `sound` ones are what their rows say, `refused` ones are not."""

    database: Database
    payloads: PayloadStore
    cipher: Cipher
    sound: set[Piece] = field(default_factory=set)
    refused: set[Piece] = field(default_factory=set)

    def read(self, copies: Iterable[Any]) -> set[int]:
        """Read copies that were not yet; return the payloads in which a member is not whole."""
        by_member: dict[int, list[Any]] = defaultdict(list)
        for copy in copies:
            if (copy.kind, copy.id) not in self.sound:
                by_member[copy.member_id].append(copy)
        with self.database.read() as connection:
            members = find_members(connection, by_member)
        suspects = set()
        for payload_id, run in groupby(members, key=lambda member: member.payload_id):
            read = [self._read_member(each, by_member[each.id]) for each in run]
            if not all(read):
                suspects.add(payload_id)
        return suspects

    def _read_member(self, member: Any, copies: list[Any]) -> bool:
        """Read a member and judge the copies in it; False if it cannot be read."""
        try:
            with only_damage(self.payloads, member.name):
                reader = self.payloads.open(member.name)
                try:
                    raw = read_member(reader, self.cipher.open(member.name, reader), member)
                finally:
                    reader.close()
        except (CorruptionError, FileNotFoundError):
            self.refused.update((copy.kind, copy.id) for copy in copies)
            return False
        for copy in copies:
            judged = self.sound if _is_sound(copy, raw, self.cipher.digests) else self.refused
            judged.add((copy.kind, copy.id))
        return True


def _is_sound(copy: Any, raw: bytes, digests: Digests) -> bool:
    """Say whether a copy's bytes have the digest that its row says."""
    if not 0 <= copy.offset <= copy.offset + copy.raw_bytes <= len(raw):
        return False
    digest = digests.chunk(memoryview(raw)[copy.offset : copy.offset + copy.raw_bytes])
    if copy.kind == "value":
        parts = copy.layout.split(",")
        if not all(map(str.isdecimal, parts)) or sum(map(int, parts)) != copy.raw_bytes:
            return False
        digest = digests.value(copy.serializer, tuple(map(int, parts)), [digest])
    return bool(digest == copy.digest)


# --- replacing


def replace(connection: Connection, copies: dict[Piece, Any]) -> list[str]:
    """Let what needs a lost piece name its copy, under the lock; return payloads to unlink.

    A copy that is gone meanwhile is left out: the next plan finds another, or none.
    """
    touched = Touched(
        chunks=_replace(connection, "chunk", copies, chunks, value_chunks.c.chunk_id),
        values=_replace(connection, "value", copies, state_values, entries.c.value_id),
    )
    return collect(connection, touched)


def _replace(
    connection: Connection,
    kind: str,
    copies: dict[Piece, Any],
    table: Table,
    user: Column[Any],
) -> set[int]:
    """Replace the pieces of a kind in the column that refers to them; return what they were."""
    wanted = {lost: copy.id for (each, lost), copy in copies.items() if each == kind}
    there = {
        row
        for batch in batches(sorted(set(wanted.values())))
        for row in connection.scalars(select(table.c.id).where(table.c.id.in_(batch)))
    }
    pairs = [{"lost": lost, "copy": copy} for lost, copy in wanted.items() if copy in there]
    if pairs:
        statement = update(user.table).where(user == bindparam("lost"))
        connection.execute(statement.values({user: bindparam("copy")}), pairs)
    return {pair["lost"] for pair in pairs}
