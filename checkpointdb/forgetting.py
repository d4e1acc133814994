"""Forgetting checkpoints, and deleting the rows that nothing alive needs any more.

A checkpoint rests on no other: its chain's entries that covered it alone are deleted, and then
whatever only they kept, looking only at what was touched. Two steps, because a save that
replaces a checkpoint must write between them: first the checkpoints' rows go, then, with
everything new in place, what is dead is collected. (Collecting before the new rows are in would
take away chunks that they rely on.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Table,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from checkpointdb.queries import batches
from checkpointdb.schema import (
    chains,
    checkpoint_metadata,
    checkpoints,
    chunks,
    entries,
    members,
    payloads,
    removals,
    state_values,
    value_chunks,
)


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
        connection.execute(
            update(chains).where(chains.c.forked_from.in_(batch)).values(forked_from=None)
        )
        connection.execute(
            delete(checkpoint_metadata).where(checkpoint_metadata.c.checkpoint_id.in_(batch))
        )
        gone = connection.execute(
            delete(checkpoints)
            .where(checkpoints.c.id.in_(batch))
            .returning(checkpoints.c.chain_id, checkpoints.c.depth, checkpoints.c.payload_id)
        )
        for chain_id, depth, payload_id in gone:
            touched.depths.setdefault(chain_id, set()).add(depth)
            touched.payloads.add(payload_id)
    return touched


def collect(connection: Connection, touched: Touched) -> list[str]:
    """Delete what nothing alive needs of what was touched; return payloads to unlink.

    Their names are in `removals` too, so that a crash before the unlinking is made good.
    """
    for chain_id, depths in sorted(touched.depths.items()):
        _collect_entries(connection, chain_id, depths, touched)
    _collect_values(connection, touched)
    _collect_chunks(connection, touched)
    _collect_members(connection, touched)
    names = _collect_payloads(connection, touched)
    _collect_chains(connection, touched.depths)
    return names


def _collect_entries(
    connection: Connection, chain_id: int, depths: set[int], touched: Touched
) -> None:
    survivors = list(
        connection.scalars(
            select(checkpoints.c.depth)
            .where(checkpoints.c.chain_id == chain_id)
            .order_by(checkpoints.c.depth)
        )
    )
    for before, after in gaps(survivors, depths):
        dead = (
            delete(entries)
            .where(entries.c.chain_id == chain_id)
            .where(entries.c.from_depth > before)
            .returning(entries.c.value_id, entries.c.payload_id)
        )
        if after is not None:
            dead = dead.where(entries.c.to_depth > before).where(entries.c.to_depth <= after)
        for value_id, payload_id in connection.execute(dead):
            touched.payloads.add(payload_id)
            if value_id is not None:
                touched.values.add(value_id)


def gaps(survivors: Sequence[int], gone: Iterable[int]) -> list[tuple[int, int | None]]:
    """Return the (previous, next) survivors around depths that went; -1 and None: no such.

    Entries whose interval lies wholly between the two cover nobody.
    """
    from bisect import bisect

    found = set()
    for depth in gone:
        index = bisect(survivors, depth)
        before = survivors[index - 1] if index else -1
        after = survivors[index] if index < len(survivors) else None
        found.add((before, after))
    return sorted(found, key=lambda gap: gap[0])


def _unused(column: Column[Any], *users: Column[Any]) -> ColumnElement[bool]:
    """Say that no row refers to the row whose id is `column`. (Not NOT IN: it fails on NULL.)"""
    return ~or_(*(exists().where(user == column) for user in users))


def _delete_unused(
    connection: Connection,
    ids: set[int],
    statement: Callable[[list[int]], Delete],
    *columns: Column[Any],
) -> Iterable[Any]:
    for batch in batches(sorted(ids)):
        yield from connection.execute(statement(batch).returning(*columns))


def _collect_values(connection: Connection, touched: Touched) -> None:
    dead: list[int] = []
    for batch in batches(sorted(touched.values)):
        dead += connection.scalars(
            select(state_values.c.id)
            .where(state_values.c.id.in_(batch))
            .where(_unused(state_values.c.id, entries.c.value_id))
        )
    for batch in batches(dead):
        links = delete(value_chunks).where(value_chunks.c.value_id.in_(batch))
        touched.chunks.update(connection.scalars(links.returning(value_chunks.c.chunk_id)))
        rows = connection.execute(
            delete(state_values)
            .where(state_values.c.id.in_(batch))
            .returning(state_values.c.payload_id, state_values.c.member_id)
        )
        for payload_id, member_id in rows:
            touched.payloads.add(payload_id)
            if member_id is not None:
                touched.members.add(member_id)


def _collect_chunks(connection: Connection, touched: Touched) -> None:
    def dead(batch: list[int]) -> Delete:
        return (
            delete(chunks)
            .where(chunks.c.id.in_(batch))
            .where(_unused(chunks.c.id, value_chunks.c.chunk_id))
        )

    for row in _delete_unused(connection, touched.chunks, dead, chunks.c.member_id):
        touched.members.add(row.member_id)


def _collect_members(connection: Connection, touched: Touched) -> None:
    def dead(batch: list[int]) -> Delete:
        return (
            delete(members)
            .where(members.c.id.in_(batch))
            .where(_unused(members.c.id, chunks.c.member_id, state_values.c.member_id))
        )

    for row in _delete_unused(connection, touched.members, dead, members.c.payload_id):
        touched.payloads.add(row.payload_id)


def _collect_payloads(connection: Connection, touched: Touched) -> list[str]:
    def dead(batch: list[int]) -> Delete:
        return (
            delete(payloads)
            .where(payloads.c.id.in_(batch))
            .where(
                _unused(
                    payloads.c.id,
                    checkpoints.c.payload_id,
                    entries.c.payload_id,
                    state_values.c.payload_id,
                    members.c.payload_id,
                )
            )
        )

    found = _delete_unused(connection, touched.payloads, dead, payloads.c.name)
    names = sorted(row.name for row in found)
    if names:
        now = datetime.now(UTC)
        connection.execute(insert(removals), [{"name": name, "created_at": now} for name in names])
    return names


def _collect_chains(connection: Connection, depths: dict[int, set[int]]) -> None:
    for batch in batches(sorted(depths)):
        connection.execute(
            delete(chains)
            .where(chains.c.id.in_(batch))
            .where(_unused(chains.c.id, checkpoints.c.chain_id))
        )
