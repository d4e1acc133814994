"""Which checkpoints there are, and what the rows say of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    CompoundSelect,
    Integer,
    LargeBinary,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    column,
    exists,
    func,
    literal,
    null,
    select,
    table,
    union_all,
)

from checkpointdb.queries.listed import listed_in
from checkpointdb.queries.states import covers
from checkpointdb.schema import (
    UtcDateTime,
    chains,
    checkpoints,
    entries,
    payloads,
    pipelines,
)

key_history = table(
    "key_history",
    *map(column, ("pipeline", "key", "chain", "checkpoint_id", "change", "type", "raw_bytes")),
    column("created_at", UtcDateTime),
    column("digest", LargeBinary),
    column("checkpoint_row"),
)


def pipeline_id(name: str) -> Select[Any]:
    """Return the row id of a pipeline."""
    return select(pipelines.c.id).where(pipelines.c.name == name)


@cache
def pipeline_by_name() -> Select[Any]:
    """Return the row id of the pipeline :name."""
    return select(pipelines.c.id).where(pipelines.c.name == bindparam("name"))


def _id_of(name: str) -> ScalarSelect[int]:
    return pipeline_id(name).scalar_subquery()


def pipeline_names() -> Select[Any]:
    """Return the names of all pipelines."""
    return select(pipelines.c.name).order_by(pipelines.c.name)


@cache
def _place() -> Select[Any]:
    return select(
        checkpoints.c.id,
        checkpoints.c.checkpoint_id,
        checkpoints.c.chain_id,
        chains.c.uuid,
        checkpoints.c.depth,
        checkpoints.c.since_full,
        checkpoints.c.state_digest,
        checkpoints.c.state_version,
        checkpoints.c.is_encrypted,
        checkpoints.c.created_at,
    ).join(chains, chains.c.id == checkpoints.c.chain_id)


@cache
def place_by_checkpoint_id() -> Select[Any]:
    """Return row id, chain, depth, digest … of :checkpoint_id in :pipeline_id."""
    return (
        _place()
        .where(checkpoints.c.pipeline_id == bindparam("pipeline_id"))
        .where(checkpoints.c.checkpoint_id == bindparam("checkpoint_id"))
    )


@cache
def place_by_row() -> Select[Any]:
    """Return the same of the checkpoint in row :id."""
    return _place().where(checkpoints.c.id == bindparam("id"))


@cache
def newest_place() -> Select[Any]:
    """Return the same of the newest checkpoint in :pipeline_id: by row, never by the clock."""
    return _place().where(checkpoints.c.id == newest_row(bindparam("pipeline_id")))


def newest_row(pipeline_id: ColumnElement[int] | int) -> ScalarSelect[int]:
    """The row id of a pipeline's newest checkpoint, NULL if it has none.

    The newer of the newest pinned and the newest not pinned, each the end of a range in an index:
    no index has a pipeline's ids alone, and without one SQLite sorts all of them to find the last.
    SQLite keeps any value in any column: what is neither must not hide a checkpoint, and is looked
    for in the ranges between, which are empty. (By a sum: for the greatest id itself SQLite would
    walk the table from its end.)
    """
    row_id, pinned = checkpoints.c.id, checkpoints.c.pinned
    no, yes = literal(False, Boolean), literal(True, Boolean)

    def newest(found: ColumnElement[int], is_in_range: ColumnElement[bool]) -> Select[Any]:
        return (
            select(func.max(found).label("id"))
            .where(checkpoints.c.pipeline_id == pipeline_id)
            .where(is_in_range)
        )

    every = union_all(
        newest(row_id, pinned == no),
        newest(row_id, pinned == yes),
        newest(row_id + 0, pinned < no),
        newest(row_id + 0, and_(pinned > no, pinned < yes)),
        newest(row_id + 0, pinned > yes),
    ).subquery("newest")
    return select(func.max(every.c.id)).scalar_subquery()


def parent() -> ColumnElement[str]:
    """The id of what a checkpoint was saved upon: the nearest earlier one that still lives."""
    earlier = checkpoints.alias("earlier")
    origin = checkpoints.alias("origin")
    in_chain = (
        select(earlier.c.checkpoint_id)
        .where(earlier.c.chain_id == checkpoints.c.chain_id)
        .where(earlier.c.depth < checkpoints.c.depth)
        .order_by(earlier.c.depth.desc())
        .limit(1)
        .correlate(checkpoints)
        .scalar_subquery()
    )
    forked_from = (
        select(origin.c.checkpoint_id)
        .select_from(chains.join(origin, origin.c.id == chains.c.forked_from))
        .where(chains.c.id == checkpoints.c.chain_id)
        .correlate(checkpoints)
        .scalar_subquery()
    )
    return func.coalesce(in_chain, forked_from)


@cache
def overview() -> Select[Any]:
    """Return all that `CheckpointMetadata` shows, but the keys, of those in the `array` :rows."""
    return (
        select(
            checkpoints.c.id,
            checkpoints.c.checkpoint_id,
            checkpoints.c.created_at,
            payloads.c.name.label("payload"),
            payloads.c.sha256,
            checkpoints.c.is_encrypted,
            checkpoints.c.is_incremental,
            parent().label("parent_id"),
            checkpoints.c.stored_bytes,
            checkpoints.c.custom_metadata,
            checkpoints.c.state_bytes,
            checkpoints.c.pinned,
            checkpoints.c.state_version,
        )
        .join(payloads, payloads.c.id == checkpoints.c.payload_id)
        .where(checkpoints.c.id.in_(listed_in("rows")))
        .order_by(checkpoints.c.id)
    )


def lineage(pipeline: str) -> Select[Any]:
    """Return the places of a pipeline's checkpoints in the order of saving."""
    return (
        select(
            checkpoints.c.checkpoint_id,
            parent().label("parent_id"),
            chains.c.uuid.label("chain"),
            checkpoints.c.depth,
            checkpoints.c.created_at,
            checkpoints.c.is_incremental,
            checkpoints.c.stored_bytes,
            checkpoints.c.pinned,
        )
        .join(chains, chains.c.id == checkpoints.c.chain_id)
        .where(checkpoints.c.pipeline_id == _id_of(pipeline))
        .order_by(checkpoints.c.id)
    )


@cache
def ids() -> Select[Any]:
    """Return row and id of the checkpoints of :pipeline_id, the oldest first."""
    return (
        select(checkpoints.c.id, checkpoints.c.checkpoint_id)
        .where(checkpoints.c.pipeline_id == bindparam("pipeline_id"))
        .order_by(checkpoints.c.id)
    )


@cache
def ages() -> Select[Any]:
    """Return row, id, time and size of the checkpoints of :pipeline_id, by time: as an index is."""
    return (
        select(
            checkpoints.c.id,
            checkpoints.c.checkpoint_id,
            checkpoints.c.created_at,
            checkpoints.c.stored_bytes,
        )
        .where(checkpoints.c.pipeline_id == bindparam("pipeline_id"))
        .order_by(checkpoints.c.created_at, checkpoints.c.id)
    )


def statistics(pipeline: str) -> Select[Any]:
    """Return the counts and sums of a pipeline's checkpoints, in one row."""
    return select(
        func.count().label("total"),
        func.coalesce(func.sum(checkpoints.c.is_incremental.cast(Integer)), 0).label("incremental"),
        func.coalesce(func.sum(checkpoints.c.is_encrypted.cast(Integer)), 0).label("encrypted"),
        func.coalesce(func.sum(checkpoints.c.pinned.cast(Integer)), 0).label("pinned"),
        func.coalesce(func.sum(checkpoints.c.state_bytes), 0).label("state_bytes"),
        func.min(checkpoints.c.id).label("oldest"),
        func.max(checkpoints.c.id).label("newest"),
    ).where(checkpoints.c.pipeline_id == _id_of(pipeline))


def stored_bytes(pipeline: str) -> Select[Any]:
    """Return how many payloads a pipeline has, and their bytes on disk, in one row."""
    return select(
        func.count().label("payloads"),
        func.coalesce(func.sum(payloads.c.stored_bytes), 0).label("stored_bytes"),
    ).where(payloads.c.pipeline_id == _id_of(pipeline))


def history(pipeline: str, key: str) -> CompoundSelect[Any]:
    """Return the versions of a key, oldest first: those of the view `key_history`, and removals
    that begin a chain, of which it has none.
    """
    told = (
        select(key_history)
        .where(key_history.c.pipeline == pipeline)
        .where(key_history.c.key == key)
    )
    return union_all(told, _removed_at_beginnings(pipeline, key)).order_by("checkpoint_row")


def _removed_at_beginnings(pipeline: str, key: str) -> Select[Any]:
    """Return the removals of a key where a chain begins without an entry of it, as a full does.

    Found from the chains, whose entries of the key are looked up.
    """
    first, before = checkpoints.alias("first"), checkpoints.alias("before")
    earliest = (
        select(func.min(checkpoints.c.depth))
        .where(checkpoints.c.chain_id == chains.c.id)
        .scalar_subquery()
    )

    def has_entry(place: Any, *tests: ColumnElement[bool]) -> ColumnElement[bool]:
        asked = exists(entries.c.chain_id).where(entries.c.chain_id == place.c.chain_id)
        return asked.where(entries.c.key == key, covers(place.c.depth), *tests)

    told: dict[str, Any] = {
        "pipeline": literal(pipeline),
        "key": literal(key),
        "chain": chains.c.uuid,
        "checkpoint_id": first.c.checkpoint_id,
        "change": literal("removed"),
        "created_at": first.c.created_at,
        "checkpoint_row": first.c.id,
    }
    return (
        select(*(told.get(each.name, null()).label(each.name) for each in key_history.c))
        .select_from(chains)
        .join(first, and_(first.c.chain_id == chains.c.id, first.c.depth == earliest))
        .join(before, before.c.id == chains.c.forked_from)
        .where(chains.c.pipeline_id == _id_of(pipeline))
        .where(has_entry(before, entries.c.value_id.is_not(None)))
        .where(~has_entry(first))
    )
