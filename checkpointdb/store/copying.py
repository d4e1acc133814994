"""A store copied into another, checkpoint by checkpoint; nothing is unpickled.

So is one encrypted: into another directory, not in place, since a store that is half converted
would have to accept payloads in the clear, which an encrypted one never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import URL, ColumnElement

from checkpointdb.callbacks import Progress
from checkpointdb.errors import CorruptionError, NotFoundError
from checkpointdb.keys import Key
from checkpointdb.records import CheckpointMetadata, CloudBackupConfig, RetentionPolicy
from checkpointdb.schema import checkpoints
from checkpointdb.store import listing
from checkpointdb.store.arrivals import Arrival, Arrivals, OnConflict
from checkpointdb.store.copying_failures import copy_failures
from checkpointdb.store.finding import Find, Row
from checkpointdb.store.request import SaveRequest

if TYPE_CHECKING:
    from checkpointdb.store.pipeline_checkpoint import PipelineCheckpoint

Open = Callable[[str], "PipelineCheckpoint"]  # a store, by the name of a pipeline


def opener(
    directory: Path,
    key: bytes | str | Key | None,
    *,
    is_encrypted: bool,
    busy_seconds: float = 60.0,
    payload_url: str | None = None,
    database_url: str | URL | None = None,
    config: CloudBackupConfig | None = None,
) -> Open:
    """Return what opens a store for a pipeline; nothing in it is forgotten or upgraded by that."""
    from checkpointdb.store.pipeline_checkpoint import PipelineCheckpoint

    # It says how to reach a place; that nothing is to be backed up meanwhile, this says.
    config = None if config is None else replace(config, enabled=False, auto_sync=False)
    return lambda name: PipelineCheckpoint(
        directory,
        key,
        enable_encryption=is_encrypted,
        cloud_backup_config=config,
        payload_url=payload_url,
        database_url=database_url,
        retention_policy=RetentionPolicy.KEEP_ALL,
        pipeline=name,
        busy_seconds=busy_seconds,
        upgrade=False,
    )


def copy_store(
    pipelines: list[str],
    source: Open,
    target: Open,
    where: ColumnElement[bool] | None = None,
    progress: Progress | None = None,
    on_conflict: OnConflict = "refuse",
) -> int:
    """Copy what the target does not have yet (and `where` admits); return how many that were.

    Raises InvalidInputError, before anything is copied, where it has others of the same ids and
    that is refused; CorruptionError for what is damaged, behind what was copied before it.
    """
    copies = [_Copy(source, target, name, where, on_conflict) for name in pipelines]
    total = sum(each.total() for each in copies)
    copied = done = 0
    for each in copies:
        try:
            for is_copied in each.run():
                copied += is_copied
                done += 1
                if progress is not None:
                    progress(done, total)
        except CorruptionError as error:
            raise _damaged(error, done, total) from error
    return copied


def _damaged(error: CorruptionError, done: int, total: int) -> CorruptionError:
    return CorruptionError(
        f"{error}. Of {total} checkpoints that were to be copied, {done} are: repair the store, or "
        "leave this one out by `where` (--where), and copy again, which brings the others",
        checkpoint_id=error.checkpoint_id,
        payload=error.payload,
    )


class _Copy(NamedTuple):
    """One pipeline to be copied."""

    source: Open
    target: Open
    pipeline: str
    where: ColumnElement[bool] | None
    on_conflict: OnConflict

    def total(self) -> int:
        with self.source(self.pipeline) as ours:
            found = self._found(ours)  # before a target is made: `where` may be refused
            with self.target(self.pipeline) as theirs:
                arrivals = Arrivals.into(theirs, self.on_conflict, "copied")
                return sum(arrival.is_saved for *_, arrival in _arriving(found, arrivals))

    def run(self) -> Iterator[bool]:
        """Copy one after the other; yield whether it was there to be copied."""
        with self.source(self.pipeline) as ours, self.target(self.pipeline) as theirs:
            arrivals = Arrivals.into(theirs, self.on_conflict, "copied")
            names: dict[str, str | None] = {}  # of what others were saved upon, in the target
            for find, each, arrival in _arriving(self._found(ours), arrivals):
                is_there = arrival.outcome != "skipped"
                names[each.checkpoint_id] = arrival.checkpoint_id if is_there else None
                if arrival.is_saved:
                    base = each.base_checkpoint_id
                    base = names.get(base, base) if base else None
                    yield copy_checkpoint(ours, theirs, find, each, arrival, base)
                    arrivals.record(each.checkpoint_id, _created_at(each), arrival)
            if self.where is None:
                copy_failures(ours, theirs, names)

    def _found(self, ours: PipelineCheckpoint) -> list[tuple[Find, CheckpointMetadata]]:
        """Return checkpoints in the order of saving: what was saved upon another follows it.

        Each with what finds it by its row: what replaces it meanwhile is not what is described.
        """
        by_row = checkpoints.c.id
        with ours._engine.database.read() as connection:
            rows = listing.find_rows(
                connection, self.pipeline, self.where, by_row, False, None, None
            )
            described = ours._describe(connection, rows)
        return [
            (ours._engine.place_of_row(Row(row, _created_at(each)), each.checkpoint_id), each)
            for row, each in zip(rows, described, strict=True)
        ]


def _arriving(
    found: list[tuple[Find, CheckpointMetadata]], arrivals: Arrivals
) -> Iterator[tuple[Find, CheckpointMetadata, Arrival]]:
    """Yield what was found with what becomes of each, asked when it is its turn."""
    for find, each in found:
        yield find, each, arrivals.place(each.checkpoint_id, _created_at(each))


def _created_at(each: CheckpointMetadata) -> datetime:
    return datetime.fromisoformat(each.timestamp)


def copy_checkpoint(
    ours: PipelineCheckpoint,
    theirs: PipelineCheckpoint,
    find: Find,
    each: CheckpointMetadata,
    arrival: Arrival,
    base: str | None,
) -> bool:
    """Copy one checkpoint, to be compared with `base` there; False if it was forgotten meanwhile.

    `find` is what finds it, and `each` what is known of it.

    Raises InvalidInputError if the target has one of that id, unless it is to be replaced.
    """
    try:
        _copy(ours, theirs, find, each, arrival, base)
    except NotFoundError as error:  # by the load, or by the save, which reads the streams
        if error.checkpoint_id != each.checkpoint_id:
            raise
        return False  # forgotten meanwhile, or replaced
    return True


def _copy(
    ours: PipelineCheckpoint,
    theirs: PipelineCheckpoint,
    find: Find,
    each: CheckpointMetadata,
    arrival: Arrival,
    base: str | None,
) -> None:
    state = ours._engine.load_serialized(find)
    replaces = arrival.outcome == "replaced"
    theirs._engine.save(
        SaveRequest(
            state=dict(state),
            checkpoint_id=arrival.checkpoint_id,
            custom_metadata=each.custom_metadata,
            force_full=not each.is_incremental,
            pinned=each.pinned or (None if replaces else False),
            base=base if base and theirs.get_checkpoint_info(base) else None,
            created_at=_created_at(each),
            replaces=replaces,
            state_version=each.state_version,
        )
    )
