"""Where in a run a checkpoint is saved, and the id that it gets there."""

from __future__ import annotations

from dataclasses import dataclass

from checkpointdb.errors import InvalidInputError
from checkpointdb.store.validation import checked_id

_MOST_CHARACTERS = 500  # longer texts of metadata have no row in an index


@dataclass(frozen=True, slots=True)
class Point:
    """Where a checkpoint is saved: after stage number `stage`, or after a `step` within it."""

    run_id: str
    stage: int
    name: str
    step: tuple[str, int] | None = None


def default_id(point: Point) -> str:
    """Return `RUN_stage_4`; one id for all steps of a stage, so that the newest replaces."""
    after = "_step" if point.step else ""
    return f"{point.run_id}_stage_{point.stage}{after}"


def checked_name(name: object, what: str) -> str:
    """Return a name that checkpoints are found by. Raises InvalidInputError for what is none."""
    found = checked_id(name, what)
    if len(found) > _MOST_CHARACTERS:
        raise InvalidInputError(f"{what} has over {_MOST_CHARACTERS} characters: {found[:60]!r} …")
    return found
