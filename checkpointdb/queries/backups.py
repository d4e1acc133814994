"""How far backups are: for statistics."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, exists, func, select

from checkpointdb.schema import backed_up, checkpoints, pipelines, remotes


def backup_state() -> Select[Any]:
    """Return each remote that a push was tried to: when it went well last, and why it did not."""
    return select(
        remotes.c.url,
        remotes.c.pushed_at,
        remotes.c.failed_at,
        remotes.c.failure,
    ).order_by(remotes.c.id)


def not_backed_up(pipeline: str) -> Select[Any]:
    """Return how many checkpoints of a pipeline no backup has, in one row."""
    return (
        select(func.count().label("checkpoints"))
        .select_from(checkpoints)
        .join(pipelines, pipelines.c.id == checkpoints.c.pipeline_id)
        .where(pipelines.c.name == pipeline)
        .where(~exists().where(backed_up.c.checkpoint_row == checkpoints.c.id))
    )
