"""What is known of a pipeline's runs: where each stands, how long stages take, what failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """A stage that did not end well.

    `outcome` is "failed", or "interrupted" for a signal, an interrupt or an exit. `message` is None
    in an encrypted store. Equal `traceback_digest`s mean that the same error came the same way.
    `checkpoint_id` is the run's last good checkpoint, None if it was begun anew and saved nothing.
    """

    workflow: str
    run_id: str
    stage: int
    name: str
    version: str | None
    outcome: str
    error_type: str
    message: str | None
    location: str | None
    traceback_digest: str
    checkpoint_id: str | None
    seconds: float
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a run stands.

    `status` is "completed", "failed", "interrupted", or "unfinished": it is running, or was killed.
    `stage` and `name` are those of its newest checkpoint, `steps` the last steps that were saved of
    a stage's loops. `failure` is what stopped it since that.
    """

    workflow: str
    run_id: str
    status: str
    stage: int | None
    name: str | None
    stages: int | None
    steps: dict[str, int]
    checkpoint_id: str | None
    updated_at: datetime
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long a stage took, over the runs whose checkpoints still exist."""

    stage: int
    name: str
    runs: int
    least_seconds: float
    mean_seconds: float
    most_seconds: float
