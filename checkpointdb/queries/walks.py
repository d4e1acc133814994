"""What is walked through outside of SQL, by pages, chains or payloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select

from checkpointdb.schema import (
    chains,
    checkpoint_metadata,
    checkpoints,
    entries,
    members,
    payloads,
    pipelines,
    state_values,
)


def payloads_before(epoch: int) -> Select[Any]:
    """Return the payloads that the master key of `epoch`, the newest, did not seal."""
    return (
        select(payloads.c.id, payloads.c.pipeline_id, payloads.c.name)
        .where(payloads.c.key_epoch.is_distinct_from(epoch))
        .order_by(payloads.c.id)
    )


def payload_name(payload_id: int) -> Select[Any]:
    """Return the name of a payload."""
    return select(payloads.c.name).where(payloads.c.id == payload_id)


def payload_names() -> Select[Any]:
    """Return the names of all payloads."""
    return select(payloads.c.name).order_by(payloads.c.id)


def member_offsets(payload_id: int) -> Select[Any]:
    """Return where the members of a payload lie that anything alive needs."""
    return (
        select(members.c.offset)
        .where(members.c.payload_id == payload_id)
        .order_by(members.c.offset)
    )


def all_chains() -> Select[Any]:
    """Return all chains and the names of their pipelines, to be walked one by one."""
    return (
        select(chains.c.id, chains.c.uuid, pipelines.c.name)
        .join(pipelines, pipelines.c.id == chains.c.pipeline_id)
        .order_by(chains.c.id)
    )


def checkpoints_of_chain(chain_id: int) -> Select[Any]:
    """Return what the checkpoints of a chain say of their states, by depth."""
    return (
        select(
            checkpoints.c.checkpoint_id,
            checkpoints.c.depth,
            checkpoints.c.key_count,
            checkpoints.c.state_bytes,
            checkpoints.c.state_digest,
            checkpoints.c.state_version,
        )
        .where(checkpoints.c.chain_id == chain_id)
        .order_by(checkpoints.c.depth)
    )


def entries_of_chain(chain_id: int) -> Select[Any]:
    """Return the entries of a chain that have a value."""
    return (
        select(
            entries.c.key,
            entries.c.from_depth,
            entries.c.to_depth,
            entries.c.position,
            state_values.c.digest,
            state_values.c.raw_bytes,
        )
        .join(state_values, state_values.c.id == entries.c.value_id)
        .where(entries.c.chain_id == chain_id)
        .order_by(entries.c.from_depth, entries.c.key)
    )


def metadata_of_checkpoints(after: int, count: int) -> Select[Any]:
    """Return the metadata of the next `count` checkpoints behind the row `after`."""
    return (
        select(checkpoints.c.id, checkpoints.c.checkpoint_id, checkpoints.c.custom_metadata)
        .where(checkpoints.c.id > after)
        .order_by(checkpoints.c.id)
        .limit(count)
    )


def metadata_rows(rows: Sequence[int]) -> Select[Any]:
    """Return the rows into which the metadata of checkpoints was flattened."""
    return (
        select(checkpoint_metadata)
        .where(checkpoint_metadata.c.checkpoint_id.in_(rows))
        .order_by(checkpoint_metadata.c.checkpoint_id, checkpoint_metadata.c.key)
    )


def payload_sequences() -> Select[Any]:
    """Return the names of all payloads, each with the next sequence of its pipeline."""
    return (
        select(payloads.c.name, pipelines.c.next_sequence)
        .join(pipelines, pipelines.c.id == payloads.c.pipeline_id)
        .order_by(payloads.c.id)
    )
