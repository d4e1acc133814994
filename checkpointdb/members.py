"""The rows of members: where they lie, and in which file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from checkpointdb import queries
from checkpointdb.batches import run_among
from checkpointdb.rows import typed


class MemberRow(NamedTuple):
    """A row of `queries.members_by_id` as the driver gives it."""

    id: int
    payload_id: int
    offset: int
    stored_bytes: int
    raw_bytes: int
    sha256: bytes
    name: str
    payload_bytes: int


def find_members(connection: Connection, ids: Iterable[int]) -> list[MemberRow]:
    """Return the rows of members, those of a file together and in its order."""
    return [*map(MemberRow._make, run_among(connection, queries.members_by_id, sorted(ids)))]


def find_typed_members(connection: Connection, ids: Iterable[int]) -> list[MemberRow]:
    """Return the same. Raises TypeError if a column holds what it is not for."""
    kinds = (int, int, int, int, int, bytes, str, int)
    return [typed(row, *kinds) for row in find_members(connection, ids)]
