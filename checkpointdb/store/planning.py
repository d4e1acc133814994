"""Retention plans: made from one state of the rows, executed as far as they still hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection

from checkpointdb import queries
from checkpointdb.reports import PlannedCheckpoint, RetentionPlan
from checkpointdb.retention import KeepAll, Retention, Scope


def make_plan(
    connection: Connection, pipeline: str, policy: Retention, now: datetime
) -> RetentionPlan:
    """Return what `policy` keeps and forgets at `now`, why, and what that frees."""
    pipeline_id = connection.scalar(queries.pipeline_id(pipeline))
    if pipeline_id is None:
        return RetentionPlan(pipeline, str(policy), now, (), 0, 0)
    planned = tuple(_planned(connection, policy, Scope(pipeline_id, now)))
    survivors = queries.listed(each.row for each in planned if each.is_kept)
    freed = connection.execute(queries.freed_payloads(pipeline_id, survivors)).one()
    return RetentionPlan(
        pipeline, str(policy), now, planned, freed.payloads, int(freed.stored_bytes)
    )


def _planned(
    connection: Connection, policy: Retention, scope: Scope
) -> Iterator[PlannedCheckpoint]:
    kept, taken = policy.decide(scope, connection.execute)
    by_none = [f"not {rule}" for rule in policy.rules or (KeepAll(),)]
    for row in connection.execute(queries.ages_and_pins(scope.pipeline_id)):
        reasons = kept.get(row.id) or taken.get(row.id, by_none)
        yield PlannedCheckpoint(
            row.checkpoint_id,
            row.created_at,
            row.stored_bytes,
            row.id in kept,
            tuple(reasons),
            row.id,
        )


# --- execution


def still_planned(
    connection: Connection, plan: RetentionPlan
) -> tuple[list[PlannedCheckpoint], list[tuple[str, str]]]:
    """Return what a plan may forget now, and what it may not any more, each with why."""
    pipeline_id = connection.scalar(queries.pipeline_id(plan.pipeline))
    rows = connection.execute(queries.ages_and_pins(pipeline_id or 0)).all()
    living = {(row.id, row.checkpoint_id, row.created_at): row.pinned for row in rows}
    last = rows[-1].id if rows else None
    forgettable, spared = [], []
    for each in plan.forgotten:
        pinned = living.get((each.row, each.checkpoint_id, each.created_at))
        if pinned is None:
            spared.append((each.checkpoint_id, "forgotten or replaced since"))
        elif pinned:
            spared.append((each.checkpoint_id, "pinned since"))
        elif each.row == last:
            spared.append((each.checkpoint_id, "what was saved after it is gone"))
        else:
            forgettable.append(each)
    return forgettable, spared
