"""What the rows say of checkpoints, as the frozen values that users receive."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection

from checkpointdb import queries
from checkpointdb.batches import batches
from checkpointdb.database_errors import asking
from checkpointdb.records import CheckpointMetadata, CheckpointVersion
from checkpointdb.schema import utc_of
from checkpointdb.statements import prepared


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
    from checkpointdb import filters  # imported when used: it takes as long as all the rest

    with asking():
        query = filters.select_checkpoints(
            pipeline,
            where,
            sort_by,
            reverse,
            limit,
            offset,
            count=lambda counting: connection.execute(counting).scalar_one(),
        )
        return list(connection.scalars(query))


def describe_rows(
    connection: Connection, rows: Sequence[int], locate: Callable[[str], str]
) -> list[CheckpointMetadata]:
    """Return the metadata of checkpoints by their row ids, in the order of `rows`."""
    found: dict[int, CheckpointMetadata] = {}
    for batch in batches(rows):
        bound = {"rows": queries.array(batch)}
        keys: dict[int, list[str]] = {row_id: [] for row_id in batch}
        for row_id, key in prepared(queries.state_keys).run(connection, bound):
            keys[row_id].append(key)
        for row in map(_Row._make, prepared(queries.overview).run(connection, bound)):
            found[row.id] = _metadata(row, keys[row.id], locate)
    return [found[row_id] for row_id in rows]


class _Row(NamedTuple):
    """A row of `queries.overview` as the driver gives it."""

    id: int
    checkpoint_id: str
    created_at: Any
    payload: str
    sha256: bytes
    is_encrypted: int
    is_incremental: int
    parent_id: str | None
    stored_bytes: int
    custom_metadata: Any
    state_bytes: int
    pinned: int
    state_version: int | None


def _metadata(row: _Row, keys: list[str], locate: Callable[[str], str]) -> CheckpointMetadata:
    metadata = row.custom_metadata
    return CheckpointMetadata(
        checkpoint_id=row.checkpoint_id,
        timestamp=utc_of(row.created_at).isoformat(),
        version=CheckpointVersion.CURRENT.value,
        file_path=locate(row.payload),
        hash_sha256=row.sha256.hex(),
        is_encrypted=bool(row.is_encrypted),
        is_incremental=bool(row.is_incremental),
        base_checkpoint_id=row.parent_id if row.is_incremental else None,
        size_bytes=row.stored_bytes,
        state_keys=keys,
        # PostgreSQL's driver has parsed it, SQLite keeps its text.
        custom_metadata=metadata if isinstance(metadata, dict) else json.loads(metadata),
        state_bytes=row.state_bytes,
        pinned=bool(row.pinned),
        state_version=row.state_version,
    )


def statistics(connection: Connection, pipeline: str) -> dict[str, Any]:
    """Return the numbers of a pipeline, under the names of the system we replace, and ours."""
    row = connection.execute(queries.statistics(pipeline)).one()
    files = connection.execute(queries.stored_bytes(pipeline)).one()
    bound = {"rows": queries.array([row.oldest, row.newest])}
    ends = {each.id: each for each in connection.execute(queries.overview(), bound)}
    oldest, newest = ends.get(row.oldest), ends.get(row.newest)
    remotes = connection.execute(queries.backup_state()).all()
    pushes = [each.pushed_at for each in remotes if each.pushed_at is not None]
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
        "not_backed_up_checkpoints": connection.scalar(queries.not_backed_up(pipeline)),
        "last_backup_timestamp": max(pushes).isoformat() if pushes else None,
        "last_backup_error": next((each.failure for each in remotes if each.failure), None),
    }
