"""What a progress callback is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["resumed", "began", "step", "completed", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run.

    `stage` is the number of the stage and `name` its name, of `stages` in all; for "resumed" it is
    the last stage that is taken as it was. `seconds` are those of the stage until now.
    `checkpoint_id` is the checkpoint that was saved or loaded. `step` is such as ("epoch", 7).
    """

    kind: Kind
    run_id: str
    stage: int
    name: str
    stages: int
    seconds: float = 0.0
    checkpoint_id: str | None = None
    step: tuple[str, int] | None = None
