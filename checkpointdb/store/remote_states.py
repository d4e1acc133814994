"""States and ids as a remote has them; the own store has no part in it."""

from __future__ import annotations

import os
import shutil
import weakref
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from sqlalchemy import select

from checkpointdb.backup.pulling import Wanted
from checkpointdb.backup.remote import Remote
from checkpointdb.backup.snapshots import chosen, fetch, opened
from checkpointdb.directories import room_in
from checkpointdb.keys import Key
from checkpointdb.records import RetentionPolicy
from checkpointdb.schema import checkpoints, pipelines
from checkpointdb.store.backing import pull_store
from checkpointdb.store.state_versions import StateVersions
from checkpointdb.streamed import TYPE_NAME
from checkpointdb.trusted_globals import TrustedGlobals


def ids_in(remote: Remote, snapshot: str | None, pipeline: str) -> list[str]:
    """Return the ids that a snapshot has of a pipeline, oldest first."""
    with room_in(None, "checkpointdb-") as room:
        database = opened(fetch(remote, chosen(remote, snapshot), room))
        try:
            with database.read() as connection:
                return list(
                    connection.scalars(
                        select(checkpoints.c.checkpoint_id)
                        .join(pipelines, pipelines.c.id == checkpoints.c.pipeline_id)
                        .where(pipelines.c.name == pipeline)
                        .order_by(checkpoints.c.id)
                    )
                )
        finally:
            database.close()


def state_in(
    remote: Remote,
    snapshot: str | None,
    named: tuple[str, str],
    key: Key | None,
    trusted: TrustedGlobals | None,
    versions: StateVersions,
) -> dict[str, Any]:
    """Return the state of a checkpoint, named by its pipeline and id.

    By a pull of it alone, into a temporary directory: what makes a pull safe makes this safe.
    Where the state has streams, that stays as long as one of them.
    """
    from checkpointdb.store.pipeline_checkpoint import PipelineCheckpoint

    pipeline, checkpoint_id = named
    with ExitStack() as stack:
        room = mkdtemp(prefix="checkpointdb-")
        stack.callback(_remove, room, os.getpid())
        directory = Path(room) / "store"
        pull_store(remote, directory, Wanted([pipeline], [checkpoint_id]), snapshot=snapshot)
        with PipelineCheckpoint(
            directory,
            key,
            key is not None,
            retention_policy=RetentionPolicy.KEEP_ALL,
            pipeline=pipeline,
        ) as handle:
            engine = handle._engine
            engine.trusted, engine.versions = trusted, versions
            kinds = {each.type_name for each in handle.details(checkpoint_id).keys}
            state = handle.load(checkpoint_id)
        if TYPE_NAME in kinds:
            stack.callback(engine.database.close)  # reading them has opened it again
            weakref.finalize(engine, stack.pop_all().close)
    return state


def _remove(room: str, made_by: int) -> None:
    """Remove a directory, unless this process was forked from the one that made it."""
    if os.getpid() == made_by:
        shutil.rmtree(room, ignore_errors=True)
