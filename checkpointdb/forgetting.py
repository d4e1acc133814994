"""Forgetting checkpoints, and deleting the rows that nothing alive needs any more.

A checkpoint rests on no other: its chain's entries that covered it alone are deleted, and then
whatever only they kept, looking only at what was touched. Two steps, because a save that
replaces a checkpoint must write between them: first the checkpoints' rows go, then, with
everything new in place, what is dead is collected. (Collecting before the new rows are in would
take away chunks that they rely on.)
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Executable,
    Select,
    Text,
    Update,
    bindparam,
    delete,
    exists,
    insert,
    or_,
    select,
    update,
)

from checkpointdb.batches import among, batches, run_among
from checkpointdb.queries import items
from checkpointdb.schema import (
    chains,
    checkpoint_metadata,
    checkpoints,
    chunks,
    entries,
    failures,
    members,
    payloads,
    removals,
    state_values,
    value_chunks,
)
from checkpointdb.statements import Prepared


@dataclass(slots=True)
class Touched:
    """What may have lost its last user: rows to look at, and chains with the depths that went."""

    depths: dict[int, set[int]] = field(default_factory=dict)
    values: set[int] = field(default_factory=set)
    chunks: set[int] = field(default_factory=set)
    members: set[int] = field(default_factory=set)
    payloads: set[int] = field(default_factory=set)

    def update(self, other: Touched) -> None:
        """Add what `other` touched."""
        for chain_id, depths in other.depths.items():
            self.depths.setdefault(chain_id, set()).update(depths)
        self.values |= other.values
        self.chunks |= other.chunks
        self.members |= other.members
        self.payloads |= other.payloads


def remove_checkpoints(connection: Connection, rows: Collection[int]) -> Touched:
    """Delete the rows of checkpoints; what they leave behind is for `collect`."""
    touched = Touched()
    for batch in batches(rows):
        has_forks = has_metadata = False
        for chain_id, depth, payload_id, is_forked, is_described in run_among(
            connection, _places, batch
        ):
            touched.depths.setdefault(chain_id, set()).add(depth)
            touched.payloads.add(payload_id)
            has_forks |= bool(is_forked)
            has_metadata |= bool(is_described)
        if has_forks:
            run_among(connection, _unlink_forks, batch)
        if has_metadata:
            run_among(connection, _delete_metadata, batch)
        run_among(connection, _delete_checkpoints, batch)
    return touched


def collect(connection: Connection, touched: Touched) -> list[str]:
    """Delete what nothing alive needs of what was touched; return payloads to unlink.

    Their names are in `removals` too, so that a crash before the unlinking is made good.
    """
    for chain_id, depths in sorted(touched.depths.items()):
        _collect_chain(connection, chain_id, depths, touched)
    _collect_values(connection, touched)
    for (member_id,) in run_among(connection, _delete_chunks, sorted(touched.chunks)):
        touched.members.add(member_id)
    for (payload_id,) in run_among(connection, _delete_members, sorted(touched.members)):
        touched.payloads.add(payload_id)
    names = sorted(
        name for (name,) in run_among(connection, _delete_payloads, sorted(touched.payloads))
    )
    if names:
        _NOTE.run(connection, {"names": json.dumps(names), "now": datetime.now(UTC)})
    return names


def _collect_chain(
    connection: Connection, chain_id: int, depths: set[int], touched: Touched
) -> None:
    """Delete the entries that covered only what went, and the chain if nothing is left of it."""
    survivors = [depth for (depth,) in _SURVIVORS.run(connection, {"chain": chain_id})]
    for before, after in gaps(survivors, depths):
        statement = _DELETE_LAST_ENTRIES if after is None else _DELETE_ENTRIES
        where = {"chain": chain_id, "before": before, "after": after}
        for value_id, payload_id in statement.run(connection, where):
            touched.payloads.add(payload_id)
            if value_id is not None:
                touched.values.add(value_id)
    if not survivors:
        _DELETE_CHAIN.run(connection, {"chain": chain_id})


def gaps(survivors: Sequence[int], gone: Iterable[int]) -> list[tuple[int, int | None]]:
    """Return the (previous, next) survivors around depths that went; -1 and None: no such.

    Entries whose interval lies wholly between the two cover nobody.
    """
    found = set()
    for depth in gone:
        index = bisect(survivors, depth)
        before = survivors[index - 1] if index else -1
        after = survivors[index] if index < len(survivors) else None
        found.add((before, after))
    return sorted(found, key=lambda gap: gap[0])


def _collect_values(connection: Connection, touched: Touched) -> None:
    """Delete the values that no entry has: first those that hold their place themselves."""
    spread = set(touched.values)
    for value_id, payload_id, member_id in run_among(
        connection, _delete_placed_values, sorted(touched.values)
    ):
        spread.discard(value_id)
        touched.payloads.add(payload_id)
        touched.members.add(member_id)
    dead = [value_id for (value_id,) in run_among(connection, _dead_spread_values, sorted(spread))]
    for (chunk_id,) in run_among(connection, _delete_value_chunks, sorted(dead)):
        touched.chunks.add(chunk_id)
    for (payload_id,) in run_among(connection, _delete_values, sorted(dead)):
        touched.payloads.add(payload_id)


# --- the statements, prepared once: of rows by their ids, as many as it is told


def _unused(column: Column[Any], *users: Column[Any]) -> ColumnElement[bool]:
    """Say that no row refers to the row whose id is `column`.

    By NOT EXISTS: a NOT IN over a set with a NULL in it is never true.
    """
    return ~or_(*(exists().where(user == column) for user in users))


def _places(size: int) -> Select[Any]:
    return select(
        checkpoints.c.chain_id,
        checkpoints.c.depth,
        checkpoints.c.payload_id,
        exists().where(chains.c.forked_from == checkpoints.c.id).label("has_forks"),
        exists()
        .where(checkpoint_metadata.c.checkpoint_id == checkpoints.c.id)
        .label("has_metadata"),
    ).where(among(checkpoints.c.id, size))


def _unlink_forks(size: int) -> Update:
    return update(chains).where(among(chains.c.forked_from, size)).values(forked_from=None)


def _delete_metadata(size: int) -> Delete:
    return delete(checkpoint_metadata).where(among(checkpoint_metadata.c.checkpoint_id, size))


def _delete_checkpoints(size: int) -> Delete:
    return delete(checkpoints).where(among(checkpoints.c.id, size))


_SURVIVORS = Prepared(
    select(checkpoints.c.depth)
    .where(checkpoints.c.chain_id == bindparam("chain"))
    .order_by(checkpoints.c.depth)
)

_entries_after = (
    delete(entries)
    .where(entries.c.chain_id == bindparam("chain"))
    .where(entries.c.from_depth > bindparam("before"))
)

_DELETE_ENTRIES = Prepared(
    _entries_after.where(entries.c.to_depth > bindparam("before"))
    .where(entries.c.to_depth <= bindparam("after"))
    .returning(entries.c.value_id, entries.c.payload_id)
)

_DELETE_LAST_ENTRIES = Prepared(_entries_after.returning(entries.c.value_id, entries.c.payload_id))

_DELETE_CHAIN = Prepared(delete(chains).where(chains.c.id == bindparam("chain")))

_NOTE = Prepared(
    insert(removals).from_select(
        ["name", "created_at"],
        select(
            items(bindparam("names", type_=Text)).c.value,
            bindparam("now", type_=removals.c.created_at.type),
        ),
    )
)


def _delete_placed_values(size: int) -> Executable:
    return (
        delete(state_values)
        .where(among(state_values.c.id, size))
        .where(state_values.c.member_id.is_not(None))
        .where(_unused(state_values.c.id, entries.c.value_id))
        .returning(state_values.c.id, state_values.c.payload_id, state_values.c.member_id)
    )


def _dead_spread_values(size: int) -> Select[Any]:
    return (
        select(state_values.c.id)
        .where(among(state_values.c.id, size))
        .where(state_values.c.member_id.is_(None))
        .where(_unused(state_values.c.id, entries.c.value_id))
        .order_by(state_values.c.id)
    )


def _delete_value_chunks(size: int) -> Executable:
    return (
        delete(value_chunks)
        .where(among(value_chunks.c.value_id, size))
        .returning(value_chunks.c.chunk_id)
    )


def _delete_values(size: int) -> Executable:
    return (
        delete(state_values)
        .where(among(state_values.c.id, size))
        .returning(state_values.c.payload_id)
    )


def _delete_chunks(size: int) -> Executable:
    return (
        delete(chunks)
        .where(among(chunks.c.id, size))
        .where(_unused(chunks.c.id, value_chunks.c.chunk_id))
        .returning(chunks.c.member_id)
    )


def _delete_members(size: int) -> Executable:
    return (
        delete(members)
        .where(among(members.c.id, size))
        .where(_unused(members.c.id, chunks.c.member_id, state_values.c.member_id))
        .returning(members.c.payload_id)
    )


def _delete_payloads(size: int) -> Executable:
    return (
        delete(payloads)
        .where(among(payloads.c.id, size))
        .where(
            _unused(
                payloads.c.id,
                checkpoints.c.payload_id,
                entries.c.payload_id,
                state_values.c.payload_id,
                members.c.payload_id,
            )
        )
        .returning(payloads.c.name)
    )


def remove_failures(
    connection: Connection,
    pipeline_id: int,
    workflow: str | None,
    run_id: str | None,
    before: datetime | None,
) -> int:
    """Delete what is known of stages that failed; return how many rows that were."""
    rows = delete(failures).where(failures.c.pipeline_id == pipeline_id)
    if workflow is not None:
        rows = rows.where(failures.c.workflow == workflow)
    if run_id is not None:
        rows = rows.where(failures.c.run_id == run_id)
    if before is not None:
        rows = rows.where(failures.c.failed_at < before)
    return connection.execute(rows).rowcount
