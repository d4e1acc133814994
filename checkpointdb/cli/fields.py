"""Metadata fields that a command names: their cells in a table, and notes on what nobody has."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from checkpointdb import CheckpointMetadata, PipelineCheckpoint
from checkpointdb.custom_metadata import value_at
from checkpointdb.filters import meta
from checkpointdb.filters.expressions import COLUMNS

_ABSENT: Final = object()
# What people call columns without their @; what `--sort` calls so too.
_COLUMN_OF: Final = {
    **{name: name for name in (*COLUMNS, "is_backed_up")},
    "timestamp": "created_at",
    "size": "stored_bytes",
}


def cell(of: CheckpointMetadata, path: str) -> str | int | float:
    """Return what a table shows of a metadata field: nothing where it is not."""
    value = value_at(of.custom_metadata, path, _ABSENT)
    if value is _ABSENT:
        return ""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value, ensure_ascii=False)


def notes_on_absent(
    store: PipelineCheckpoint, paths: Iterable[str], more: str | None = None
) -> tuple[str, ...]:
    """Say which metadata fields no checkpoint has, of a pipeline that has any: a typo is likely.

    And `more`, or else which column may be meant.
    """
    absent = [
        each
        for each in dict.fromkeys(paths)
        if not store.list_checkpoints(where=meta(each).exists(), limit=1)
    ]
    if not absent or not store.list_checkpoints(limit=1):
        return ()
    return tuple(
        f"no checkpoint has a metadata field {each!r} that can be asked for"
        f"{_column_meant(each) if more is None else more}"
        for each in absent
    )


def _column_meant(path: str) -> str:
    return f": did you mean @{_COLUMN_OF[path]}?" if path in _COLUMN_OF else ""
