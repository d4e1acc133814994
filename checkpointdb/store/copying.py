"""A store copied into another, checkpoint by checkpoint; nothing is unpickled.

So is one encrypted: into another directory, not in place, since a store that is half converted
would have to accept payloads in the clear, which an encrypted one never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement

from checkpointdb.errors import InvalidInputError, NotFoundError
from checkpointdb.keys import Key
from checkpointdb.records import CheckpointMetadata, CloudBackupConfig, RetentionPolicy
from checkpointdb.schema import checkpoints
from checkpointdb.store.arrivals import taken_ids
from checkpointdb.store.request import SaveRequest

if TYPE_CHECKING:
    from checkpointdb.store.pipeline_checkpoint import PipelineCheckpoint

Open = Callable[[str], "PipelineCheckpoint"]  # a store, by the name of a pipeline
Progress = Callable[[int, int], object]


def opener(
    directory: Path,
    key: bytes | str | Key | None,
    *,
    is_encrypted: bool,
    busy_seconds: float = 60.0,
    payload_url: str | None = None,
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
) -> int:
    """Copy what the target does not have yet (and `where` admits); return how many that were.

    Raises InvalidInputError, before anything is copied, where it has others of the same ids.
    """
    total = 0
    for name in pipelines:
        with source(name) as ours, target(name) as theirs:
            total += sum(1 for _ in _missing(ours, theirs, where))
    copied = done = 0
    for name in pipelines:
        with source(name) as ours, target(name) as theirs:
            for each in _missing(ours, theirs, where):
                copied += copy_checkpoint(ours, theirs, each)
                done += 1
                if progress is not None:
                    progress(done, total)
    return copied


def _missing(
    ours: PipelineCheckpoint, theirs: PipelineCheckpoint, where: ColumnElement[bool] | None
) -> Iterator[CheckpointMetadata]:
    """Yield what is to be copied in the order of saving: what was saved upon another follows it."""
    copies = taken_ids(theirs)
    for each in ours.list_checkpoints(checkpoints.c.id, reverse=False, where=where):
        if each.checkpoint_id not in copies:
            yield each
        elif copies[each.checkpoint_id] != datetime.fromisoformat(each.timestamp):
            raise InvalidInputError(
                f"{str(theirs.checkpoint_dir)!r} has another checkpoint {each.checkpoint_id!r} in "
                f"pipeline {theirs.pipeline!r} than {str(ours.checkpoint_dir)!r}: it was not "
                "replaced; copy into a new directory, or delete it there first"
            )


def copy_checkpoint(
    ours: PipelineCheckpoint,
    theirs: PipelineCheckpoint,
    each: CheckpointMetadata,
    *,
    checkpoint_id: str | None = None,
    replaces: bool = False,
) -> bool:
    """Copy one checkpoint, under another id if one is given; False if it was forgotten meanwhile.

    Raises InvalidInputError if the target has one of that id, unless it is to be replaced.
    """
    find = ours._engine.place_of(each.checkpoint_id)
    try:
        state = ours._engine.load_serialized(find)
    except NotFoundError:
        return False  # forgotten meanwhile
    base = each.base_checkpoint_id
    theirs._engine.save(
        SaveRequest(
            state=dict(state),
            checkpoint_id=checkpoint_id or each.checkpoint_id,
            custom_metadata=each.custom_metadata,
            force_full=not each.is_incremental,
            pinned=None if replaces else each.pinned,
            base=base if base and theirs.get_checkpoint_info(base) else None,
            created_at=datetime.fromisoformat(each.timestamp),
            replaces=replaces,
            state_version=each.state_version,
        )
    )
    return True
