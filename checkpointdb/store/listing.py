"""What the rows say of checkpoints, as the frozen values that users receive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

from sqlalchemy import ColumnElement, Connection

from checkpointdb import filters, queries
from checkpointdb.queries import batches
from checkpointdb.records import (
    CheckpointMetadata,
    CheckpointVersion,
    KeyChange,
    KeyVersion,
    StateDiff,
)


def find_rows(
    connection: Connection,
    pipeline: str,
    where: ColumnElement[bool] | None,
    sort_by: Any,
    reverse: bool,
    limit: int | None,
    offset: int | None,
) -> list[int]:
    """Return the row ids of the checkpoints asked for, in order.

    Conditions are counted first (up to a bound) and written in the form that suits the count.
    """
    pipeline_id = connection.scalar(queries.pipeline_id(pipeline))
    if pipeline_id is None:
        return []
    query = filters.planned_checkpoints(
        lambda counting: connection.execute(counting).scalar_one(),
        pipeline_id,
        where,
        sort_by,
        reverse,
        limit,
        offset,
    )
    return list(connection.scalars(query))


def describe_rows(
    connection: Connection, rows: Sequence[int], locate: Callable[[str], str]
) -> list[CheckpointMetadata]:
    """Return the metadata of checkpoints by their row ids, in the order of `rows`."""
    found: dict[int, CheckpointMetadata] = {}
    for batch in batches(rows):
        keys: dict[int, list[str]] = {row_id: [] for row_id in batch}
        for row_id, key in connection.execute(queries.state_keys(batch)):
            keys[row_id].append(key)
        for row in connection.execute(queries.overview(batch)):
            found[row.id] = _metadata(row, keys[row.id], locate)
    return [found[row_id] for row_id in rows]


def _metadata(row: Any, keys: list[str], locate: Callable[[str], str]) -> CheckpointMetadata:
    return CheckpointMetadata(
        checkpoint_id=row.checkpoint_id,
        timestamp=row.created_at.astimezone(UTC).isoformat(),
        version=CheckpointVersion.CURRENT.value,
        file_path=locate(row.payload),
        hash_sha256=row.sha256.hex(),
        is_encrypted=row.is_encrypted,
        is_incremental=row.is_incremental,
        base_checkpoint_id=row.parent_id if row.is_incremental else None,
        size_bytes=row.stored_bytes,
        state_keys=keys,
        custom_metadata=row.custom_metadata,
        state_bytes=row.state_bytes,
        pinned=row.pinned,
    )


def key_history(connection: Connection, pipeline: str, key: str) -> list[KeyVersion]:
    """Return the values that a key had, oldest first; a fork that changed nothing is left out."""
    return [
        KeyVersion(
            key=key,
            checkpoint_id=row.checkpoint_id,
            created_at=row.created_at,
            chain=row.uuid,
            change="removed" if row.digest is None else "set",
            type_name=row.type_name,
            raw_bytes=row.raw_bytes,
            digest=None if row.digest is None else row.digest.hex(),
        )
        for row in connection.execute(queries.history(pipeline, key))
        if row.digest is None or row.digest != row.inherited
    ]


def diff_states(connection: Connection, old: Any, new: Any) -> StateDiff:
    """Compare the states at two places by the digests of their values; no payload is read."""
    before, after = (
        {
            row.key: row
            for row in connection.execute(
                queries.values_at(), {"chain_id": place.chain_id, "depth": place.depth}
            )
        }
        for place in (old, new)
    )
    both = [key for key in after if key in before]
    return StateDiff(
        added=tuple(_change(key, None, row) for key, row in after.items() if key not in before),
        removed=tuple(_change(key, row, None) for key, row in before.items() if key not in after),
        changed=tuple(
            _change(key, before[key], after[key])
            for key in both
            if before[key].digest != after[key].digest
        ),
        unchanged=tuple(key for key in both if before[key].digest == after[key].digest),
    )


def _change(key: str, old: Any, new: Any) -> KeyChange:
    return KeyChange(
        key=key,
        old_bytes=old and old.raw_bytes,
        new_bytes=new and new.raw_bytes,
        old_type=old and old.type_name,
        new_type=new and new.type_name,
    )


def statistics(connection: Connection, pipeline: str) -> dict[str, Any]:
    """Return the numbers of a pipeline, under the names of the system we replace, and ours."""
    row = connection.execute(queries.statistics(pipeline)).one()
    files = connection.execute(queries.stored_bytes(pipeline)).one()
    ends = {
        each.id: each
        for each in connection.execute(
            queries.overview([end for end in (row.oldest, row.newest) if end is not None])
        )
    }
    oldest, newest = ends.get(row.oldest), ends.get(row.newest)
    return {
        "total_checkpoints": row.total,
        "total_size_bytes": int(files.stored_bytes),
        "total_size_mb": int(files.stored_bytes) / 2**20,
        "full_checkpoints": row.total - row.incremental,
        "incremental_checkpoints": row.incremental,
        "encrypted_checkpoints": row.encrypted,
        "oldest_checkpoint": oldest and oldest.checkpoint_id,
        "oldest_timestamp": oldest and oldest.created_at.isoformat(),
        "newest_checkpoint": newest and newest.checkpoint_id,
        "newest_timestamp": newest and newest.created_at.isoformat(),
        "pinned_checkpoints": row.pinned,
        "payload_files": files.payloads,
        "state_bytes": int(row.state_bytes),
    }
