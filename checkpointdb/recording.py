"""Writing rows: a payload, what is stored and defined in it, and the checkpoint itself.

Effects on a connection that the caller holds in a write transaction; no file is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import repeat
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Table, bindparam, func, insert, select, update

from checkpointdb import custom_metadata
from checkpointdb.manifest import FORMAT_VERSION, Checkpoint, Entry, Member, Value
from checkpointdb.queries import newest_row
from checkpointdb.schema import (
    chains,
    checkpoint_metadata,
    checkpoints,
    chunks,
    entries,
    failures,
    members,
    payloads,
    pipelines,
    removals,
    state_values,
    value_chunks,
)
from checkpointdb.statements import Prepared


class ChunkPlace(NamedTuple):
    """Where a chunk lies; `chunk_id` is None where one value alone uses it."""

    member_id: int
    offset: int
    chunk_id: int | None


class PayloadRows(NamedTuple):
    """The rows of a payload: its id, its members' ids, and the place of each of its chunks."""

    payload_id: int
    member_ids: list[int]
    places: list[ChunkPlace]


@cache
def _insert(table: Table, columns: tuple[str, ...]) -> Prepared:
    return Prepared(insert(table), columns)


@cache
def _insert_one(table: Table, columns: tuple[str, ...]) -> Prepared:
    return Prepared(insert(table).returning(table.c.id), columns)


@cache
def _ids_by(owner: Column[Any]) -> Prepared:
    ids = owner.table.c.id
    return Prepared(select(ids).where(owner == bindparam("owner")).order_by(ids))


def insert_row(connection: Connection, table: Table, row: Mapping[str, Any]) -> int:
    """Insert a row and return its id."""
    [(row_id,)] = _insert_one(table, tuple(row)).run(connection, row)
    return int(row_id)


def insert_columns(
    connection: Connection, table: Table, count: int, columns: Mapping[str, Iterable[Any]]
) -> None:
    """Insert so many rows, given by columns."""
    if count:
        _insert(table, tuple(columns)).run_columns(connection, columns)


def insert_rows(
    connection: Connection,
    owner: Column[Any],
    owners: Iterable[int],
    count: int,
    columns: Mapping[str, Iterable[Any]],
) -> list[int]:
    """Insert so many rows, the first of these owners (the values of a column), return ids in order.

    Ids grow in the order of insertion, so that they can be asked for afterwards. (RETURNING
    would insert row by row: its own order is not promised.)
    """
    table = owner.table
    if count <= 1:
        rows = zip(*columns.values(), strict=True)
        return [insert_row(connection, table, dict(zip(columns, row, strict=True))) for row in rows]
    insert_columns(connection, table, count, columns)
    find = _ids_by(owner)
    return [row_id for each in owners for (row_id,) in find.run(connection, {"owner": each})]


def record_pipeline(connection: Connection, name: str, next_sequence: int = 1) -> int:
    """Insert a pipeline and return its id."""
    return insert_row(connection, pipelines, {"name": name, "next_sequence": next_sequence})


def record_payload(
    connection: Connection,
    pipeline_id: int,
    name: str,
    sha256: bytes,
    stored_bytes: int,
    created_at: datetime,
    stored: Sequence[Member],
    key_epoch: int | None,
    raw_bytes: int | None = None,
) -> PayloadRows:
    """Insert a payload, its members, and those of its chunks that can be shared.

    `raw_bytes` are those of all of its members, if not all are `stored`.
    """
    if raw_bytes is None:
        raw_bytes = sum(member.raw_bytes for member in stored)
    payload = {
        "pipeline_id": pipeline_id,
        "name": name,
        "sha256": sha256,
        "stored_bytes": stored_bytes,
        "raw_bytes": raw_bytes,
        "created_at": created_at,
        "key_epoch": key_epoch,
    }
    payload_id = insert_row(connection, payloads, payload)
    count = len(stored)
    member_ids = insert_rows(
        connection,
        members.c.payload_id,
        [payload_id],
        count,
        {
            "payload_id": repeat(payload_id, count),
            "offset": [member.offset for member in stored],
            "stored_bytes": [member.stored_bytes for member in stored],
            "raw_bytes": [member.raw_bytes for member in stored],
            "sha256": [member.sha256 for member in stored],
        },
    )
    places = _record_chunks(connection, pipeline_id, member_ids, stored)
    return PayloadRows(payload_id, member_ids, places)


def move_payload(
    connection: Connection,
    payload_id: int,
    old_name: str,
    name: str,
    sha256: bytes,
    stored_bytes: int,
    key_epoch: int | None,
    moved: Mapping[int, Member],
) -> None:
    """Let a payload's rows name the file that it was copied to, and note the old one's removal.

    `moved` are the members of the copy, by the offsets that they had. No row's id changes.
    """
    file = {"name": name, "sha256": sha256, "stored_bytes": stored_bytes, "key_epoch": key_epoch}
    connection.execute(update(payloads).where(payloads.c.id == payload_id).values(file))
    connection.execute(
        update(checkpoints)
        .where(checkpoints.c.payload_id == payload_id)
        .values(stored_bytes=stored_bytes)
    )
    here = select(members.c.id, members.c.offset).where(members.c.payload_id == payload_id)
    for row_id, offset in connection.execute(here.order_by(members.c.id)).all():
        new = moved[offset]
        places = {"offset": new.offset, "stored_bytes": new.stored_bytes, "sha256": new.sha256}
        connection.execute(update(members).where(members.c.id == row_id).values(places))
    connection.execute(insert(removals).values(name=old_name, created_at=datetime.now(UTC)))


def _record_chunks(
    connection: Connection,
    pipeline_id: int,
    member_ids: Sequence[int],
    stored: Sequence[Member],
) -> list[ChunkPlace]:
    places: list[ChunkPlace] = []
    shared: list[int] = []  # the numbers of those that get rows
    digests: list[bytes] = []
    sizes: list[int] = []
    for member_id, member in zip(member_ids, stored, strict=True):
        offset = 0
        for raw_bytes, digest in member.chunks:
            if digest is not None:
                shared.append(len(places))
                digests.append(digest)
                sizes.append(raw_bytes)
            places.append(ChunkPlace(member_id, offset, None))
            offset += raw_bytes
    owners = [places[number].member_id for number in shared]
    count = len(shared)
    ids = insert_rows(
        connection,
        chunks.c.member_id,
        dict.fromkeys(owners),
        count,
        {
            "pipeline_id": repeat(pipeline_id, count),
            "digest": digests,
            "member_id": owners,
            "offset": [places[number].offset for number in shared],
            "raw_bytes": sizes,
        },
    )
    for number, chunk_id in zip(shared, ids, strict=True):
        places[number] = places[number]._replace(chunk_id=chunk_id)
    return places


def record_values(
    connection: Connection,
    pipeline_id: int,
    rows: PayloadRows,
    values: Sequence[Value],
    chunk_ids: Callable[[bytes], int],
) -> list[int]:
    """Insert the values that a payload defines and return their ids, in order.

    `chunk_ids` gives the row of a chunk that another payload stores.
    """
    count = len(values)
    places = [_place_of(rows, value) for value in values]
    ids = insert_rows(
        connection,
        state_values.c.payload_id,
        [rows.payload_id],
        count,
        {
            "pipeline_id": repeat(pipeline_id, count),
            "digest": [value.digest for value in values],
            "type_name": [value.type_name for value in values],
            "serializer": [value.serializer for value in values],
            "layout": [",".join(map(str, value.layout)) for value in values],
            "raw_bytes": [sum(value.layout) for value in values],
            "payload_id": repeat(rows.payload_id, count),
            "member_id": [place.member_id if place else None for place in places],
            "offset": [place.offset if place else None for place in places],
        },
    )
    links: dict[str, list[int | None]] = {"value_id": [], "seq": [], "chunk_id": []}
    for value_id, value, place in zip(ids, values, places, strict=True):
        if place is None:
            links["value_id"] += repeat(value_id, len(value.chunks))
            links["seq"] += range(len(value.chunks))
            links["chunk_id"] += [
                rows.places[ref].chunk_id if isinstance(ref, int) else chunk_ids(ref)
                for ref in value.chunks
            ]
    insert_columns(connection, value_chunks, len(links["seq"]), links)
    return ids


def _place_of(rows: PayloadRows, value: Value) -> ChunkPlace | None:
    """The place of a value that has its only chunk for itself."""
    if len(value.chunks) == 1 and isinstance(value.chunks[0], int):
        place = rows.places[value.chunks[0]]
        return place if place.chunk_id is None else None
    return None


def record_chain(
    connection: Connection,
    pipeline_id: int,
    uuid: str,
    forked_from: int | None,
    next_depth: int,
) -> int:
    """Insert a chain and return its id; depths under `next_depth` are taken."""
    row = {
        "pipeline_id": pipeline_id,
        "uuid": uuid,
        "next_depth": next_depth,
        "forked_from": forked_from,
    }
    return insert_row(connection, chains, row)


def extend_chain(connection: Connection, chain_id: int, depth: int) -> None:
    """Take the next depth of a chain, which must be `depth`."""
    _NEXT_DEPTH.run(connection, {"chain": chain_id, "after": depth + 1})


_NEXT_DEPTH = Prepared(
    update(chains).where(chains.c.id == bindparam("chain")).values(next_depth=bindparam("after"))
)


def record_checkpoint(
    connection: Connection,
    pipeline_id: int,
    chain_id: int,
    payload_id: int,
    stored_bytes: int,
    checkpoint: Checkpoint,
    *,
    is_encrypted: bool,
    pinned: bool,
) -> int:
    """Insert a checkpoint's row and its metadata's, and return the row's id."""
    row = {
        "pipeline_id": pipeline_id,
        "checkpoint_id": checkpoint.checkpoint_id,
        "chain_id": chain_id,
        "depth": checkpoint.depth,
        "created_at": checkpoint.created_at,
        "format_version": FORMAT_VERSION,
        "payload_id": payload_id,
        "is_incremental": checkpoint.is_incremental,
        "since_full": checkpoint.since_full,
        "is_encrypted": is_encrypted,
        "state_digest": checkpoint.state_digest,
        "state_bytes": checkpoint.state_bytes,
        "stored_bytes": stored_bytes,
        "key_count": checkpoint.key_count,
        "pinned": pinned,
        "custom_metadata": checkpoint.custom_metadata,
        "state_version": checkpoint.state_version,
    }
    row_id = insert_row(connection, checkpoints, row)
    scalars = [*custom_metadata.flatten(checkpoint.custom_metadata)]
    count = len(scalars)
    columns: dict[str, Iterable[Any]] = {
        "checkpoint_id": repeat(row_id, count),
        "key": [key for key, _, _ in scalars],
        "number": [number for _, number, _ in scalars],
        "text": [text for _, _, text in scalars],
    }
    insert_columns(connection, checkpoint_metadata, count, columns)
    return row_id


_CLOSE = Prepared(
    update(entries)
    .where(entries.c.chain_id == bindparam("chain"))
    .where(entries.c.key == bindparam("opened"))
    .where(entries.c.to_depth.is_(None))
    .values(to_depth=bindparam("depth"))
)


def record_entries(
    connection: Connection,
    chain_id: int,
    depth: int,
    payload_id: int,
    opened: Sequence[Entry],
    value_ids: Iterable[int | None],
) -> None:
    """Open entries at a depth, each with its value's row, and close what they follow."""
    keys = [entry.key for entry in opened]
    if depth > 0:
        closed = ({"chain": chain_id, "opened": key, "depth": depth} for key in keys)
        _CLOSE.run_each(connection, closed)
    count = len(opened)
    columns: dict[str, Iterable[Any]] = {
        "chain_id": repeat(chain_id, count),
        "key": keys,
        "from_depth": repeat(depth, count),
        "to_depth": repeat(None, count),
        "value_id": value_ids,
        "position": [entry.position for entry in opened],
        "payload_id": repeat(payload_id, count),
    }
    insert_columns(connection, entries, count, columns)


def record_failure(connection: Connection, pipeline_id: int, values: dict[str, Any]) -> None:
    """Insert what is known of a stage that did not end well.

    And the pipeline's newest checkpoint: what a run saves after it is past the failure.
    """
    newest = func.coalesce(newest_row(pipeline_id), 0)
    row = {"pipeline_id": pipeline_id, "after_checkpoint": newest, **values}
    connection.execute(insert(failures).values(row))
