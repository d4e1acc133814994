"""The rows of stages that failed, copied with a store: they are in no payload."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from checkpointdb import queries

if TYPE_CHECKING:
    from checkpointdb.store.pipeline_checkpoint import PipelineCheckpoint

Names = Mapping[str, str | None]  # of checkpoints, there; None for one that was left out

# What tells one failure from another.
_IDENTITY = ("workflow", "run_id", "stage", "failed_at", "traceback_digest")


def copy_failures(ours: PipelineCheckpoint, theirs: PipelineCheckpoint, names: Names) -> None:
    """Copy those of a pipeline that the other store lacks, in their order.

    Into an encrypted store they go without their messages, as they are recorded there.
    """
    there = {_identity(each) for each in _failures(theirs)}
    missing = [each for each in _failures(ours) if _identity(each) not in there]
    if missing:
        places = _Places(ours, theirs, names)
        has_message = theirs._unlocked is None
        moved = [_moved(each, names, places, has_message=has_message) for each in missing]
        theirs._engine.record_failures(moved)


def _failures(handle: PipelineCheckpoint) -> list[Any]:
    """Return the rows of a pipeline's failures, the oldest first."""
    query = queries.failures_of(handle.pipeline, None, None, None)
    with handle._engine.database.read() as connection:
        return list(reversed(connection.execute(query).all()))


def _identity(row: Any) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _IDENTITY)


def _moved(row: Any, names: Names, places: _Places, *, has_message: bool) -> dict[str, Any]:
    """Return the columns of a failure as they are right in the other store."""
    values = {**row._mapping}
    del values["id"], values["pipeline_id"]
    values["after_checkpoint"] = places.there(row.after_checkpoint)
    values["checkpoint_id"] = names.get(row.checkpoint_id, row.checkpoint_id)
    if not has_message:
        values["message"] = None
    return values


class _Places:
    """Which row there stands where a checkpoint's row stood here, in the order of saving."""

    def __init__(self, ours: PipelineCheckpoint, theirs: PipelineCheckpoint, names: Names) -> None:
        copies = {name: row for row, name in _rows(theirs)}
        pairs = [(row, names.get(name)) for row, name in _rows(ours)]
        pairs = [(row, name) for row, name in pairs if name in copies]
        self._rows = [row for row, _ in pairs]
        self._newest = list(accumulate((copies[name] for _, name in pairs if name), max))

    def there(self, row: int) -> int:
        """Return the newest copy there of what was saved here up to a row, 0 if none."""
        before = bisect(self._rows, row)
        return self._newest[before - 1] if before else 0


def _rows(handle: PipelineCheckpoint) -> list[tuple[int, str]]:
    with handle._engine.database.read() as connection:
        pipeline_id = connection.scalar(queries.pipeline_id(handle.pipeline))
        rows = connection.execute(queries.ids(), {"pipeline_id": pipeline_id})
        return [(each.id, each.checkpoint_id) for each in rows]
