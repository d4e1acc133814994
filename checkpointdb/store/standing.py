"""Rows of runs as users receive them, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from checkpointdb.errors import InvalidInputError
from checkpointdb.runs import Failure, RunStatus
from checkpointdb.store.validation import checked_count, checked_number, checked_time
from checkpointdb.text import storable

_OPTIONAL = ("version", "message", "location", "checkpoint_id")
_TEXTS = ("workflow", "run_id", "name", "outcome", "error_type", "traceback_digest", *_OPTIONAL)
_MOST_STAGES = 2**31 - 1  # an integer column of a server
_MOST_MESSAGE = 2_000  # characters: some errors hold the whole of what they complain about


def row_of(failure: object, *, has_message: bool) -> dict[str, Any]:
    """Return the columns of a failure. Raises InvalidInputError for what they cannot hold."""
    if not isinstance(failure, Failure):
        raise InvalidInputError(f"a Failure is expected, not {type(failure).__name__}")
    row = asdict(failure)
    if isinstance(failure.message, str):
        row["message"] = _shown(failure.message) or None
    for name in _TEXTS:
        _check_text(row[name], name)
    if checked_count(failure.stage, "the failure's stage", least=0) > _MOST_STAGES:
        raise InvalidInputError(f"the failure's stage must be at most {_MOST_STAGES}")
    row["seconds"] = checked_number(failure.seconds, "the failure's seconds")
    if not has_message:
        row["message"] = None
    row["failed_at"] = checked_time(failure.failed_at, "the failure's failed_at")
    return row


def _check_text(value: object, name: str) -> None:
    if isinstance(value, str):
        storable(value, f"the failure's {name}")
    elif value is not None or name not in _OPTIONAL:
        raise InvalidInputError(f"the failure's {name} must be text, not {value!r}")


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
