"""The rows of members: where they lie, and in which file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from checkpointdb import queries
from checkpointdb.batches import run_among


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
