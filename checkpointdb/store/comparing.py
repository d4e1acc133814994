"""How a key and a state changed, from the rows alone: no payload is read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from checkpointdb import queries
from checkpointdb.reports import KeyChange, KeyVersion, StateDiff


def key_history(connection: Connection, pipeline: str, key: str) -> list[KeyVersion]:
    """Return the values that a key had, oldest first."""
    return [
        KeyVersion(
            key=key,
            checkpoint_id=row.checkpoint_id,
            created_at=row.created_at,
            chain=row.chain,
            change=row.change,
            type_name=row.type,
            raw_bytes=row.raw_bytes,
            digest=None if row.digest is None else row.digest.hex(),
        )
        for row in connection.execute(queries.history(pipeline, key))
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
