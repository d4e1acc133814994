"""Rows of runs as users receive them, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from checkpointdb.runs import Failure, RunStatus
from checkpointdb.text import storable

_MOST_MESSAGE = 2_000  # characters: some errors hold the whole of what they complain about


def row_of(failure: Failure, *, has_message: bool) -> dict[str, Any]:
    """Return the columns of a failure. Raises InvalidInputError for text that is none."""
    row = asdict(failure)
    row["message"] = _shown(failure.message) if has_message and failure.message else None
    for name, value in row.items():
        if isinstance(value, str):
            storable(value, f"the failure's {name}")
    return row


def failure_of(row: Any) -> Failure:
    """Return the failure of a row."""
    return Failure(**{name: getattr(row, name) for name in Failure.__dataclass_fields__})


def statuses(newest: Iterable[Any], failures: Iterable[Any]) -> list[RunStatus]:
    """Return where runs stand, by the newest checkpoint and the newest failure of each."""
    stopped = {(each.workflow, each.run_id): each for each in failures}
    found = [_status(each, stopped.pop((each.workflow, each.run_id), None)) for each in newest]
    found += [_status_without_checkpoint(each) for each in stopped.values()]
    return sorted(found, key=lambda each: (each.updated_at, each.run_id), reverse=True)


def _status(row: Any, failure: Any) -> RunStatus:
    about, steps = row.custom_metadata, row.custom_metadata.get("steps")
    is_last = about.get("outcome") == "completed" and about.get("stage") == about.get("stages")
    status, updated_at, stopped_by = "completed" if is_last else "unfinished", row.created_at, None
    # By the order of saving: clocks may be set back.
    if failure is not None and failure.after_checkpoint >= row.id:
        status, updated_at = failure.outcome, failure.failed_at
        stopped_by = failure_of(failure)
    return RunStatus(
        row.workflow,
        row.run_id,
        status,
        about.get("stage"),
        about.get("name"),
        about.get("stages"),
        dict(steps) if isinstance(steps, dict) else {},
        row.checkpoint_id,
        updated_at,
        stopped_by,
    )


def _status_without_checkpoint(row: Any) -> RunStatus:
    """It reached no checkpoint, or none of them is left."""
    return RunStatus(
        row.workflow,
        row.run_id,
        row.outcome,
        stage=None,
        name=None,
        stages=None,
        steps={},
        checkpoint_id=None,
        updated_at=row.failed_at,
        failure=failure_of(row),
    )


def _shown(message: str) -> str:
    """Return a message as a column can hold it: an error's text may be anything."""
    text = message[:_MOST_MESSAGE].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode("utf-8")
