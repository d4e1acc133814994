"""What the rows of a payload say, and what its manifest says, in the same words.

A fact is a tuple that begins with its kind. Rows may say less than the manifest, since what is
dead goes; every fact that they do say must be one of the manifest's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from checkpointdb.digests import merged_chain
from checkpointdb.manifest import Checkpoint, Manifest, StoredChunk
from checkpointdb.schema import (
    chains,
    checkpoints,
    chunks,
    entries,
    members,
    pipelines,
    state_values,
    value_chunks,
)

Fact = tuple[Any, ...]


def show(fact: Fact) -> str:
    """Return a fact as text."""
    return " ".join(each.hex() if isinstance(each, bytes) else str(each) for each in fact)


def _as_text(custom_metadata: dict[str, Any]) -> str:
    return json.dumps(custom_metadata, sort_keys=True)


# --- of the rows (each query takes :payload_id)


def facts_of_rows(connection: Connection, payload_id: int) -> Iterator[Fact]:
    """Yield what the rows say of a payload."""
    payload = {"payload_id": payload_id}
    for row in connection.execute(_checkpoints(), payload):
        *told, custom_metadata, origin, origin_depth = row
        yield ("checkpoint", *told, _as_text(custom_metadata))
        if origin is not None and row.depth == 0:
            yield "fork", row.uuid, origin, origin_depth
    for row in connection.execute(_entries(), payload):
        yield "entry", *row
    for row in connection.execute(_members(), payload):
        yield "member", *row
    for row in connection.execute(_chunks(), payload):
        yield "chunk", *row
    for row in connection.execute(_placed_values(), payload):
        *told, raw_bytes, member_offset, offset = row
        yield ("value", *told, ((member_offset, offset, raw_bytes),))
    spread = connection.execute(_spread_values(), payload)
    for _, rows in groupby(spread, key=lambda row: row.id):
        found = list(rows)
        told = list(found[0])[1:-1]
        yield ("value", *told, tuple(row.chunk for row in found))


@cache
def _checkpoints() -> Select[Any]:
    origin = checkpoints.alias("origin")
    its_chain = chains.alias("its_chain")
    return (
        select(
            pipelines.c.name,
            checkpoints.c.checkpoint_id,
            chains.c.uuid,
            checkpoints.c.depth,
            checkpoints.c.created_at,
            checkpoints.c.is_incremental,
            checkpoints.c.since_full,
            checkpoints.c.state_digest,
            checkpoints.c.state_bytes,
            checkpoints.c.key_count,
            checkpoints.c.state_version,
            checkpoints.c.custom_metadata,
            its_chain.c.uuid.label("origin"),
            origin.c.depth.label("origin_depth"),
        )
        .join(pipelines, pipelines.c.id == checkpoints.c.pipeline_id)
        .join(chains, chains.c.id == checkpoints.c.chain_id)
        .outerjoin(origin, origin.c.id == chains.c.forked_from)
        .outerjoin(its_chain, its_chain.c.id == origin.c.chain_id)
        .where(checkpoints.c.payload_id == bindparam("payload_id"))
        .order_by(checkpoints.c.id)
    )


@cache
def _entries() -> Select[Any]:
    return (
        select(
            chains.c.uuid,
            entries.c.from_depth,
            entries.c.key,
            entries.c.position,
            state_values.c.digest,
        )
        .join(chains, chains.c.id == entries.c.chain_id)
        .outerjoin(state_values, state_values.c.id == entries.c.value_id)
        .where(entries.c.payload_id == bindparam("payload_id"))
        .order_by(entries.c.chain_id, entries.c.key, entries.c.from_depth)
    )


@cache
def _members() -> Select[Any]:
    return (
        select(members.c.offset, members.c.stored_bytes, members.c.raw_bytes, members.c.sha256)
        .where(members.c.payload_id == bindparam("payload_id"))
        .order_by(members.c.offset)
    )


@cache
def _chunks() -> Select[Any]:
    return (
        select(
            members.c.offset.label("member_offset"),
            chunks.c.offset,
            chunks.c.raw_bytes,
            chunks.c.digest,
        )
        .join(members, members.c.id == chunks.c.member_id)
        .where(members.c.payload_id == bindparam("payload_id"))
        .order_by(chunks.c.id)
    )


_VALUE = (
    state_values.c.digest,
    state_values.c.type_name,
    state_values.c.serializer,
    state_values.c.layout,
)


@cache
def _placed_values() -> Select[Any]:
    return (
        select(
            *_VALUE,
            state_values.c.raw_bytes,
            members.c.offset.label("member_offset"),
            state_values.c.offset,
        )
        .join(members, members.c.id == state_values.c.member_id)
        .where(state_values.c.payload_id == bindparam("payload_id"))
        .order_by(state_values.c.id)
    )


@cache
def _spread_values() -> Select[Any]:
    return (
        select(state_values.c.id, *_VALUE, chunks.c.digest.label("chunk"))
        .join(value_chunks, value_chunks.c.value_id == state_values.c.id)
        .join(chunks, chunks.c.id == value_chunks.c.chunk_id)
        .where(state_values.c.payload_id == bindparam("payload_id"))
        .order_by(state_values.c.id, value_chunks.c.seq)
    )


# --- of the manifest


def facts_of_manifest(manifest: Manifest) -> Iterator[Fact]:
    """Yield what a manifest says of its payload."""
    places: list[tuple[int, int, StoredChunk]] = []
    for member in manifest.members:
        yield "member", member.offset, member.stored_bytes, member.raw_bytes, member.sha256
        offset = 0
        for chunk in member.chunks:
            places.append((member.offset, offset, chunk))
            if chunk.digest is not None:
                yield "chunk", member.offset, offset, chunk.raw_bytes, chunk.digest
            offset += chunk.raw_bytes
    for value in manifest.values:
        layout = ",".join(map(str, value.layout))
        parts = tuple(_chunk_fact(places, ref) for ref in value.chunks)
        yield "value", value.digest, value.type_name, value.serializer, layout, parts
    for each in manifest.checkpoints:
        yield from _facts_of_checkpoint(each)


def _chunk_fact(places: list[tuple[int, int, StoredChunk]], ref: int | bytes) -> Any:
    """A chunk is named by its digest; one that a value has for itself, by its place."""
    if isinstance(ref, bytes):
        return ref
    member_offset, offset, chunk = places[ref]
    return chunk.digest or (member_offset, offset, chunk.raw_bytes)


def _facts_of_checkpoint(each: Checkpoint) -> Iterator[Fact]:
    yield (
        "checkpoint",
        each.pipeline,
        each.checkpoint_id,
        each.chain,
        each.depth,
        each.created_at,
        each.is_incremental,
        each.since_full,
        each.state_digest,
        each.state_bytes,
        each.key_count,
        each.state_version,
        _as_text(each.custom_metadata),
    )
    if each.forked_from is not None:
        yield "fork", each.chain, *each.forked_from
        yield "fork", each.chain, merged_chain(*each.forked_from), 0
    for entry in each.entries:
        yield "entry", each.chain, each.depth, entry.key, entry.position, entry.value
