"""The questions, by name. Each returns a Select, takes no connection, has a total order.

Hot ones are built once and take bound parameters, named in their docstrings; the others take
their arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Exists,
    Integer,
    LargeBinary,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    column,
    exists,
    func,
    or_,
    select,
    table,
)

from checkpointdb.schema import (
    UtcDateTime,
    chains,
    checkpoints,
    chunks,
    entries,
    members,
    payloads,
    pipelines,
    state_values,
    value_chunks,
)

T = TypeVar("T")

# SQLite before 3.32 takes 999 bound parameters in a statement, and long lists are no faster.
BATCH = 500


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut `items` into lists that fit one statement."""
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


key_history = table(
    "key_history",
    *map(column, ("pipeline", "key", "chain", "checkpoint_id", "change", "type", "raw_bytes")),
    column("created_at", UtcDateTime),
    column("digest", LargeBinary),
    column("checkpoint_row"),
)


# --- a state


def covers(depth: Any) -> ColumnElement[bool]:
    """Say whether an entry's interval holds `depth`."""
    return and_(
        entries.c.from_depth <= depth,
        or_(entries.c.to_depth.is_(None), entries.c.to_depth > depth),
    )


@cache
def state_at() -> Select[Any]:
    """Return keys and values of the state at (:chain_id, :depth), in the order of keys.

    A value of one chunk comes with the place of its bytes, others with NULLs there.
    """
    return _at_depth(
        select(
            entries.c.key,
            state_values.c.digest,
            state_values.c.id.label("value_id"),
            state_values.c.serializer,
            state_values.c.layout,
            state_values.c.raw_bytes,
            state_values.c.member_id,
            state_values.c.offset,
        )
    )


@cache
def values_at() -> Select[Any]:
    """Return what each key of the state at (:chain_id, :depth) is, in the order of keys."""
    return _at_depth(
        select(
            entries.c.key,
            state_values.c.digest,
            state_values.c.type_name,
            state_values.c.raw_bytes,
        )
    )


def _at_depth(columns: Select[Any]) -> Select[Any]:
    return (
        columns.join(state_values, state_values.c.id == entries.c.value_id)
        .where(entries.c.chain_id == bindparam("chain_id"))
        .where(covers(bindparam("depth")))
        .order_by(entries.c.position, entries.c.key)
    )


@cache
def state_keys() -> Select[Any]:
    """Return (checkpoint row, key) of the checkpoints in :rows, in the order of keys."""
    return (
        select(checkpoints.c.id, entries.c.key)
        .join(entries, entries.c.chain_id == checkpoints.c.chain_id)
        .where(checkpoints.c.id.in_(bindparam("rows", expanding=True)))
        .where(covers(checkpoints.c.depth))
        .where(entries.c.value_id.is_not(None))
        .order_by(checkpoints.c.id, entries.c.position, entries.c.key)
    )


def chunks_of(value_ids: Sequence[int]) -> Select[Any]:
    """Return the places of the chunks of values, by value and place in it."""
    return (
        select(
            value_chunks.c.value_id,
            chunks.c.member_id,
            chunks.c.offset,
            chunks.c.raw_bytes,
        )
        .join(chunks, chunks.c.id == value_chunks.c.chunk_id)
        .where(value_chunks.c.value_id.in_(value_ids))
        .order_by(value_chunks.c.value_id, value_chunks.c.seq)
    )


def members_by_id(member_ids: Sequence[int]) -> Select[Any]:
    """Return where members lie, by payload and offset, so that files are read forwards."""
    return (
        select(
            members.c.id,
            members.c.payload_id,
            members.c.offset,
            members.c.stored_bytes,
            members.c.raw_bytes,
            members.c.sha256,
            payloads.c.name,
            payloads.c.stored_bytes.label("payload_bytes"),
        )
        .join(payloads, payloads.c.id == members.c.payload_id)
        .where(members.c.id.in_(member_ids))
        .order_by(members.c.payload_id, members.c.offset, members.c.id)
    )


# --- what a save compares with


@cache
def place_of_save() -> Select[Any]:
    """Return what a save must know of :pipeline_id under its lock, in one row.

    What tells which payloads are damaged; the row that :checkpoint_id has
    now, and whether it is pinned; and of the base
    :base_id, its chain's next depth (NULL if the base is gone).
    """

    def of_replaced(column: Column[Any]) -> ScalarSelect[Any]:
        return (
            select(column)
            .where(checkpoints.c.pipeline_id == bindparam("pipeline_id"))
            .where(checkpoints.c.checkpoint_id == bindparam("checkpoint_id"))
            .scalar_subquery()
        )

    next_depth = (
        select(chains.c.next_depth)
        .join(checkpoints, checkpoints.c.chain_id == chains.c.id)
        .where(checkpoints.c.id == bindparam("base_id"))
        .scalar_subquery()
    )
    base_id: BindParameter[int] = bindparam("base_id")
    return select(
        damaged_payloads().label("damaged"),
        of_replaced(checkpoints.c.id).label("replaced_id"),
        of_replaced(checkpoints.c.pinned).label("was_pinned"),
        next_depth.label("next_depth"),
        base_id.label("base_id"),
    )


def damaged_payloads() -> ColumnElement[int]:
    """Return a number that changes when other payloads of :pipeline_id are damaged.

    Not their count: one may be forgotten while another is marked.
    """
    return (
        select(func.coalesce(func.sum(payloads.c.id * payloads.c.id), 0))
        .select_from(payloads)
        .where(payloads.c.pipeline_id == bindparam("pipeline_id"))
        .where(payloads.c.damaged_at.is_not(None))
        .scalar_subquery()
    )


def _is_damaged(payload_id: ColumnElement[Any]) -> Exists:
    return exists(
        select(payloads.c.id)
        .where(payloads.c.id == payload_id)
        .where(payloads.c.damaged_at.is_not(None))
        .correlate_except(payloads)
    )


def values_by_digest(pipeline_id: int, digests: Sequence[bytes]) -> Select[Any]:
    """Return a pipeline's undamaged values of given digests; the newest of each comes last."""
    return (
        select(
            state_values.c.id,
            state_values.c.digest,
            state_values.c.member_id,
            members.c.raw_bytes.label("member_bytes"),
        )
        .outerjoin(members, members.c.id == state_values.c.member_id)
        .where(state_values.c.pipeline_id == pipeline_id)
        .where(state_values.c.digest.in_(digests))
        .where(~_is_damaged(state_values.c.payload_id))
        .where(~_is_damaged(members.c.payload_id))
        .order_by(state_values.c.id)
    )


def chunks_by_digest(pipeline_id: int, digests: Sequence[bytes]) -> Select[Any]:
    """Return a pipeline's undamaged chunks of given digests; the newest of each comes last."""
    return (
        select(
            chunks.c.id,
            chunks.c.digest,
            chunks.c.member_id,
            members.c.raw_bytes.label("member_bytes"),
        )
        .join(members, members.c.id == chunks.c.member_id)
        .where(chunks.c.pipeline_id == pipeline_id)
        .where(chunks.c.digest.in_(digests))
        .where(~_is_damaged(members.c.payload_id))
        .order_by(chunks.c.id)
    )


def members_of_values(value_ids: Sequence[int]) -> Select[Any]:
    """Return the members that hold values of several chunks, and whether they are damaged."""
    return (
        select(
            value_chunks.c.value_id,
            members.c.id,
            members.c.raw_bytes,
            _is_damaged(members.c.payload_id).label("is_damaged"),
        )
        .distinct()
        .join(chunks, chunks.c.id == value_chunks.c.chunk_id)
        .join(members, members.c.id == chunks.c.member_id)
        .where(value_chunks.c.value_id.in_(value_ids))
        .order_by(value_chunks.c.value_id, members.c.id)
    )


@cache
def head_values() -> Select[Any]:
    """Return what a save compares with: the state at (:chain_id, :depth).

    As `state_at`, but with what tells whether a value may be relied on.
    """
    return (
        select(
            entries.c.key,
            entries.c.position,
            state_values.c.id.label("value_id"),
            state_values.c.digest,
            state_values.c.raw_bytes,
            state_values.c.member_id,
            members.c.raw_bytes.label("member_bytes"),
            (_is_damaged(state_values.c.payload_id) | _is_damaged(members.c.payload_id)).label(
                "is_damaged"
            ),
        )
        .join(state_values, state_values.c.id == entries.c.value_id)
        .outerjoin(members, members.c.id == state_values.c.member_id)
        .where(entries.c.chain_id == bindparam("chain_id"))
        .where(covers(bindparam("depth")))
        .order_by(entries.c.position, entries.c.key)
    )


# --- checkpoints


def pipeline_id(name: str) -> Select[Any]:
    """Return the row id of a pipeline."""
    return select(pipelines.c.id).where(pipelines.c.name == name)


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
    ).join(chains, chains.c.id == checkpoints.c.chain_id)


@cache
def place_by_checkpoint_id() -> Select[Any]:
    """Return row id, chain, depth and digest of :checkpoint_id in :pipeline_id."""
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
    return (
        _place()
        .where(checkpoints.c.pipeline_id == bindparam("pipeline_id"))
        .order_by(checkpoints.c.id.desc())
        .limit(1)
    )


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
    """Return all that `CheckpointMetadata` shows of the checkpoints in :rows, but their keys."""
    return (
        select(
            checkpoints,
            payloads.c.name.label("payload"),
            payloads.c.sha256,
            parent().label("parent_id"),
        )
        .join(payloads, payloads.c.id == checkpoints.c.payload_id)
        .where(checkpoints.c.id.in_(bindparam("rows", expanding=True)))
        .order_by(checkpoints.c.id)
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


def history(pipeline: str, key: str) -> Select[Any]:
    """Return the versions of a key, as the view `key_history` tells them, oldest first."""
    return (
        select(key_history)
        .where(key_history.c.pipeline == pipeline)
        .where(key_history.c.key == key)
        .order_by(key_history.c.checkpoint_row)
    )
