"""Where the chunks of a streamed value lie, by rows that were checked against its digest."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import Connection

from checkpointdb import queries
from checkpointdb.digests import Digests
from checkpointdb.errors import CorruptionError
from checkpointdb.manifest import MEMBER_BYTES
from checkpointdb.members import find_typed_members
from checkpointdb.rows import typed
from checkpointdb.streamed import HEADER, SERIALIZER

_LAYOUT = re.compile(rf"{len(HEADER)},(\d{{1,18}})")


class Block(NamedTuple):
    """Chunks that follow one another, in the value and in one member."""

    start: int  # in the value
    chunks: range
    member: Any


class StreamIndex(NamedTuple):
    """The chunks of a value's body, in flat lists: of 4 GB there are some 13 000."""

    lengths: Sequence[int]
    ends: Sequence[int]
    digests: Sequence[bytes]
    offsets: Sequence[int]  # of each chunk in its member
    firsts: Sequence[int]  # the first chunk of each block
    members: Sequence[Any]  # of each block

    @property
    def raw_bytes(self) -> int:
        return self.ends[-1] if self.ends else 0

    def block_at(self, position: int) -> Block:
        """Return the block that holds a byte, which must be one of the value."""
        return self.block_of(bisect_right(self.ends, position))

    def block_of(self, chunk: int) -> Block:
        number = bisect_right(self.firsts, chunk) - 1
        first = self.firsts[number]
        last = self.firsts[number + 1] if number + 1 < len(self.firsts) else len(self.lengths)
        start = self.ends[first] - self.lengths[first]
        return Block(start, range(first, last), self.members[number])


def is_layout(layout: object) -> bool:
    """Say whether a row's layout is that of a streamed value."""
    return isinstance(layout, str) and _LAYOUT.fullmatch(layout) is not None


def body_bytes(layout: str) -> int:
    """Return how many bytes a streamed value of a layout gives."""
    return int(layout.partition(",")[2])


def read_index(connection: Connection, row: Any, digests: Digests) -> StreamIndex:
    """Ask the rows where a value's chunks lie; `row` is one of `queries.state_at`.

    Raises CorruptionError unless they are, by digests and lengths, those of the value that was
    saved. No byte of it has been read then.
    """
    chunks = [
        typed(each, int, int, bytes, int, int, int)
        for each in connection.execute(queries.chunks_of_defined([row.value_id]))
    ]
    lengths = [each.raw_bytes for each in chunks] or [len(HEADER)]
    named = [each.digest for each in chunks] or [digests.chunk(HEADER)]
    layout = (lengths[0], sum(lengths[1:]))
    if row.layout != ",".join(map(str, layout)) or named[0] != digests.chunk(HEADER):
        _reject(row.key)
    if digests.value(SERIALIZER, layout, named) != row.digest:
        _reject(row.key)
    if not all(0 < length <= MEMBER_BYTES for length in lengths):
        _reject(row.key)
    body = chunks[1:]
    members = _members(connection, sorted({each.member_id for each in body}))
    if any(not 0 <= each.offset <= MEMBER_BYTES or each.member_id not in members for each in body):
        _reject(row.key)
    firsts = array("Q")
    for _, group in groupby(range(len(body)), key=lambda number: body[number].member_id):
        firsts.append(next(group))
    return StreamIndex(
        array("Q", lengths[1:]),
        array("Q", accumulate(lengths[1:])),
        named[1:],
        array("Q", (each.offset for each in body)),
        firsts,
        [members[body[first].member_id] for first in firsts],
    )


def _members(connection: Connection, member_ids: Sequence[int]) -> dict[int, Any]:
    return {row.id: row for row in find_typed_members(connection, member_ids)}


def _reject(key: str) -> NoReturn:
    raise CorruptionError(
        f"Hash verification failed for key {key!r}: what its rows name is not the stream that was "
        "saved; restore a backup, or rebuild the database"
    )
