"""Which runs there are, where they stand, what their stages took, and what failed.

What has the metadata of a run, of the right types, counts as its checkpoint: anybody may use some
of the same names.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    Subquery,
    and_,
    bindparam,
    func,
    select,
)

from checkpointdb.queries.listings import pipeline_id
from checkpointdb.schema import checkpoint_metadata, checkpoints, failures, pipelines

_bound_pipeline = (
    select(pipelines.c.id).where(pipelines.c.name == bindparam("pipeline")).scalar_subquery()
)


def newest_of_runs(pipeline: str, workflow: str | None) -> Select[Any]:
    """Return the newest checkpoint of each run, by the order of saving."""
    newest = _newest_rows(pipeline, workflow)
    return (
        select(
            newest.c.workflow,
            newest.c.run_id,
            checkpoints.c.id,
            checkpoints.c.checkpoint_id,
            checkpoints.c.created_at,
            checkpoints.c.custom_metadata,
        )
        .join(checkpoints, checkpoints.c.id == newest.c.row)
        .order_by(checkpoints.c.id)
    )


def _newest_rows(pipeline: str, workflow: str | None) -> Subquery:
    names = ("flow", "run", "stage", "stages")
    flow, run, stage, stages = (checkpoint_metadata.alias(name) for name in names)
    query = (
        select(
            flow.c.text.label("workflow"),
            run.c.text.label("run_id"),
            func.max(flow.c.checkpoint_id).label("row"),
        )
        .select_from(_beside(flow, run, stage, stages))
        .join(checkpoints, checkpoints.c.id == flow.c.checkpoint_id)
        .where(_is_text(flow, "workflow"))
        .where(_is_text(run, "run"))
        .where(_is_count(stage, "stage"))
        .where(_is_count(stages, "stages"))
        .where(checkpoints.c.pipeline_id == _id_of(pipeline))
        .group_by(flow.c.text, run.c.text)
    )
    return _of(query, flow.c.text, workflow).subquery("newest")


def attempts_of_run() -> Select[Any]:
    """Return the workflow and the token of each attempt at :run in :pipeline.

    Of every workflow: to look for one, too, might be answered by all of its checkpoints.
    """
    run, flow, attempt = (checkpoint_metadata.alias(name) for name in ("run", "flow", "attempt"))
    return (
        select(flow.c.text.label("workflow"), attempt.c.text.label("token"))
        .distinct()
        .select_from(_beside(run, flow, attempt))
        .join(checkpoints, checkpoints.c.id == run.c.checkpoint_id)
        .where(run.c.key == "run")
        .where(run.c.text == bindparam("run"))
        .where(flow.c.key == "workflow")
        .where(_is_text(attempt, "attempt"))
        .where(checkpoints.c.pipeline_id == _bound_pipeline)
    )


def stage_times(pipeline: str, workflow: str | None) -> Select[Any]:
    """Return how long each stage took over the runs, by its number and name."""
    names = ("flow", "run", "outcome", "stage", "name", "seconds")
    flow, run, outcome, stage, name, seconds = map(checkpoint_metadata.alias, names)
    query = (
        select(
            stage.c.number.label("stage"),
            name.c.text.label("name"),
            func.count().label("runs"),
            func.min(seconds.c.number).label("least_seconds"),
            func.avg(seconds.c.number).label("mean_seconds"),
            func.max(seconds.c.number).label("most_seconds"),
        )
        .select_from(_beside(flow, run, outcome, stage, name, seconds))
        .join(checkpoints, checkpoints.c.id == flow.c.checkpoint_id)
        .where(_is_text(flow, "workflow"))
        .where(_is_text(run, "run"))
        .where(outcome.c.key == "outcome")
        .where(outcome.c.text == "completed")
        .where(_is_count(stage, "stage"))
        .where(_is_text(name, "name"))
        .where(seconds.c.key == "seconds")
        .where(seconds.c.number.is_not(None))
        .where(checkpoints.c.pipeline_id == _id_of(pipeline))
        .group_by(stage.c.number, name.c.text)
        .order_by(stage.c.number, name.c.text)
    )
    return _of(query, flow.c.text, workflow)


def failures_of(
    pipeline: str,
    workflow: str | None,
    run_id: str | None,
    limit: int | None,
    after: str | None = None,
) -> Select[Any]:
    """Return what failed, newest first; with `after`, since that checkpoint was saved."""
    query = (
        select(failures)
        .where(failures.c.pipeline_id == _id_of(pipeline))
        .order_by(failures.c.id.desc())
        .limit(limit)
    )
    if after is not None:
        saved = (
            select(checkpoints.c.id)
            .where(checkpoints.c.pipeline_id == _id_of(pipeline))
            .where(checkpoints.c.checkpoint_id == after)
        )
        # By the order of saving: clocks may be set back.
        query = query.where(failures.c.after_checkpoint >= saved.scalar_subquery())
    return _of(_of(query, failures.c.workflow, workflow), failures.c.run_id, run_id)


def newest_failures(pipeline: str, workflow: str | None) -> Select[Any]:
    """Return the newest failure of each run."""
    newest = (
        select(func.max(failures.c.id))
        .where(failures.c.pipeline_id == _id_of(pipeline))
        .group_by(failures.c.workflow, failures.c.run_id)
    )
    newest = _of(newest, failures.c.workflow, workflow)
    return select(failures).where(failures.c.id.in_(newest)).order_by(failures.c.id)


def _id_of(pipeline: str) -> ScalarSelect[int]:
    return pipeline_id(pipeline).scalar_subquery()


def _beside(first: FromClause, *others: FromClause) -> FromClause:
    """Join metadata rows of the same checkpoint."""
    joined = first
    for other in others:
        joined = joined.join(other, other.c.checkpoint_id == first.c.checkpoint_id)
    return joined


def _is_text(field: FromClause, key: str) -> ColumnElement[bool]:
    return and_(field.c.key == key, field.c.text.is_not(None))


def _is_count(field: FromClause, key: str) -> ColumnElement[bool]:
    """It is a whole number from 1."""
    number = field.c.number
    return and_(field.c.key == key, number >= 1, number == func.round(number))


def _of(query: Select[Any], column: Any, value: str | None) -> Select[Any]:
    return query if value is None else query.where(column == value)
