"""Retention plans: made from one state of the rows, executed as far as they still hold."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from checkpointdb import queries
from checkpointdb.forgetting import collect, remove_checkpoints
from checkpointdb.reports import PlannedCheckpoint, PruneReport, RetentionPlan
from checkpointdb.retention import KeepAll, Retention, Scope, damaged_in, exemptions
from checkpointdb.schema import utc_of
from checkpointdb.statements import Prepared
from checkpointdb.store.outcome import Forgotten


def make_plan(
    connection: Connection, store: str, pipeline: str, policy: Retention, now: datetime
) -> RetentionPlan:
    """Return what `policy` keeps and forgets at `now`, why, and what that frees."""
    pipeline_id = connection.scalar(queries.pipeline_id(pipeline))
    if pipeline_id is None:
        return RetentionPlan(store, pipeline, str(policy), now, (), 0, 0)
    planned = _planned(connection, policy, Scope(pipeline_id, now))
    survivors = queries.listed(each.row for each in planned if each.is_kept)
    freed = connection.execute(queries.freed_payloads(pipeline_id, survivors)).one()
    return RetentionPlan(
        store,
        pipeline,
        str(policy),
        now,
        planned,
        freed.payloads,
        int(freed.stored_bytes),
    )


def _planned(
    connection: Connection, policy: Retention, scope: Scope
) -> tuple[PlannedCheckpoint, ...]:
    damaged = damaged_in(scope, connection.execute)
    kept, taken = policy.decide(scope, connection.execute, damaged)
    by_none = tuple(dict.fromkeys(f"not {rule}" for rule in policy.rules or (KeepAll(),)))
    rows = _AGES.run(connection, {"pipeline_id": scope.pipeline_id})
    rows.sort()  # by row, which is the order of saving, and nearly that of time
    return tuple(
        [
            PlannedCheckpoint(
                checkpoint_id,
                utc_of(created_at),
                stored_bytes,
                row in kept,
                tuple(kept.get(row) or taken.get(row) or by_none),
                row,
            )
            for row, checkpoint_id, created_at, stored_bytes in rows
        ]
    )


# By the driver itself: SQLAlchemy takes twice as long for 100 000 rows.
_AGES = Prepared(queries.ages())
_IDS = Prepared(queries.ids())


# --- execution


def still_planned(
    connection: Connection, plan: RetentionPlan
) -> tuple[list[PlannedCheckpoint], list[tuple[str, str]]]:
    """Return what a plan may forget now, and the ids of what it may not any more, each with why."""
    scope = Scope(connection.scalar(queries.pipeline_id(plan.pipeline)) or 0, plan.planned_at)
    # The id beside the row: a database that was rebuilt meanwhile has other rows.
    living = set(_IDS.run(connection, {"pipeline_id": scope.pipeline_id}))
    exempt = exemptions(scope, connection.execute)
    damaged = damaged_in(scope, connection.execute)
    if damaged:  # found since: the newest that is whole stays
        whole = exemptions(scope._replace(without=damaged), connection.execute)
        exempt = {**{row: ["the newest that is whole"] for row in whole}, **exempt}
    forgettable, spared = [], []
    for each in plan.forgotten:
        if (each.row, each.checkpoint_id) not in living:
            spared.append((each.checkpoint_id, "forgotten or replaced since"))
        elif each.row in exempt:
            spared.append((each.checkpoint_id, f"{exempt[each.row][0]} since"))
        else:
            forgettable.append(each)
    return forgettable, spared


def execute(connection: Connection, plan: RetentionPlan) -> Forgotten:
    """Forget what a plan says, as far as it still holds."""
    size = queries.stored_bytes(plan.pipeline)
    before = connection.execute(size).one()
    forgettable, spared = still_planned(connection, plan)
    rows = [each.row for each in forgettable]
    freed = collect(connection, remove_checkpoints(connection, rows))
    after = connection.execute(size).one()
    report = PruneReport(
        plan,
        False,
        tuple(each.checkpoint_id for each in forgettable),
        tuple(spared),
        before.payloads - after.payloads,
        int(before.stored_bytes - after.stored_bytes),
    )
    return Forgotten(rows, freed, report)


def rehearse(connection: Connection, plan: RetentionPlan) -> PruneReport:
    """Return what the execution of a plan would do now."""
    pipeline_id = connection.scalar(queries.pipeline_id(plan.pipeline)) or 0
    forgettable, spared = still_planned(connection, plan)
    gone = {each.row for each in forgettable}
    rows = _IDS.run(connection, {"pipeline_id": pipeline_id})
    survivors = queries.listed(row for row, _ in rows if row not in gone)
    freed = connection.execute(queries.freed_payloads(pipeline_id, survivors)).one()
    return PruneReport(
        plan,
        True,
        tuple(each.checkpoint_id for each in forgettable),
        tuple(spared),
        freed.payloads,
        int(freed.stored_bytes),
    )
