"""A streamed value as a store has it: read from its checkpoint, a block at a time."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from checkpointdb.digests import Digests
from checkpointdb.errors import CorruptionError
from checkpointdb.store.load_plan import Reading, StateRow, rows_of_state
from checkpointdb.store.stream_index import StreamIndex, body_bytes, read_index
from checkpointdb.store.stream_reader import StreamReader
from checkpointdb.streamed import HEADER, StreamedValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpointdb.store.engine import Engine
    from checkpointdb.store.finding import Find
    from checkpointdb.store.head import Head
    from checkpointdb.store.request import SaveRequest


class StoredStream:
    """The source of what was saved: bound to a checkpoint's row, and gone with it."""

    is_once = False

    def __init__(
        self, engine: Engine, find: Find, checkpoint_id: str, key: str, digest: bytes, size: int
    ) -> None:
        self.engine = engine
        self.checkpoint_id = checkpoint_id
        self.key = key
        self.digest = digest
        self.raw_bytes = size
        self._find = find

    def open(self) -> io.RawIOBase:
        """Open it. Raises what `index` raises."""
        return StreamReader(self)

    def index(self) -> StreamIndex:
        """Ask the rows where the chunks lie now: a compaction moves them.

        Raises NotFoundError if the checkpoint is gone, CorruptionError if the rows do not add
        up to the value.
        """
        engine = self.engine
        engine.follow_fork()
        reading = Reading(engine.pipeline, engine.cipher, True)
        with engine.database.read() as connection:
            place = self._find(connection)
            [found] = rows_of_state(connection, place, [self.key], reading)
            row = StateRow(*found)
            if row.digest != self.digest:
                raise CorruptionError(
                    f"key {self.key!r} of checkpoint {self.checkpoint_id!r} has another value in "
                    "the rows than it had: restore a backup, or rebuild the database",
                    checkpoint_id=self.checkpoint_id,
                )
            try:
                return read_index(connection, row, engine.cipher.digests)
            except CorruptionError as error:
                error.checkpoint_id = self.checkpoint_id
                raise

    def is_named_alike(self, digests: Digests) -> bool:
        """Say whether digests are those of the store that this lies in."""
        return self.engine.cipher.digests.chunk(HEADER) == digests.chunk(HEADER)


def bound(engine: Engine, place: Any, row: Any) -> StreamedValue:
    """Return the streamed value of a row of a state, bound to the checkpoint at a place."""
    find = engine.place_of_row(place.row, place.checkpoint_id)
    size = body_bytes(row.layout)
    stored = StoredStream(engine, find, place.checkpoint_id, row.key, row.digest, size)
    return StreamedValue._of(stored)


def rebind(engine: Engine, given: Mapping[str, object], saved: SaveRequest, head: Head) -> None:
    """Let streams of a state read from the checkpoint that it was saved as.

    Those that could be read only once, of which `saved` has copies; and those that are of this
    pipeline already, so that a state that is saved again and again does not hang on the first
    checkpoint that had it.
    """
    find = engine.place_of_row(head.row, saved.checkpoint_id)
    for key, value in given.items():
        if not isinstance(value, StreamedValue):
            continue
        repeatable = saved.state[key]
        assert isinstance(repeatable, StreamedValue)
        source, size = repeatable._source, repeatable.raw_bytes
        is_ours = isinstance(source, StoredStream) and source.engine is engine
        if size is not None and (is_ours or repeatable is not value):
            digest = head.values[key].digest
            value._source = StoredStream(engine, find, saved.checkpoint_id, key, digest, size)
