"""The process that is killed: runs the stages that are not done yet, a checkpoint after each.

It tells its parent what it does, one JSON object per line on standard output.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from checkpointdb import PipelineCheckpoint, RetentionPolicy
from checkpointdb.pipeline import Event, Pipeline, Stage

from .stages import STAGES, Item, State, advance


def tell(event: str, **facts: Any) -> None:
    """Write one event to the parent."""
    print(json.dumps({"event": event, **facts}), flush=True)


def reporting(items: Collection[Item], /) -> Iterator[Item]:
    """Hand out the items; at each new percent, tell how far the stage is."""
    told = 0
    for done, item in enumerate(items):
        percent = 100 * done // len(items)
        if percent > told:
            told = percent
            tell("progress", percent=percent)
        yield item


def open_store(directory: Path) -> PipelineCheckpoint:
    """Open the demo's store: every checkpoint is kept."""
    return PipelineCheckpoint(
        directory,
        enable_incremental=True,
        retention_policy=RetentionPolicy.KEEP_ALL,
        pipeline="stdlib",
    )


class Told:
    """What the parent is told of a run, from the events of its pipeline."""

    def __init__(self, store: PipelineCheckpoint) -> None:
        self.store = store
        self.said = ""
        self.begun = self.worked = time.perf_counter()

    def stage(self, number: int) -> Stage:
        """Return a stage that remembers when it ended, and what it has to say."""

        def run(state: State) -> tuple[State, dict[str, Any]]:
            state = advance(state, number, reporting)
            self.said, self.worked = state["log"][-1], time.perf_counter()
            return state, {}

        return Stage(run, STAGES[number - 1][0], version="1")

    def progress(self, event: Event) -> None:
        now = time.perf_counter()
        if event.kind == "resumed":
            tell("resumed", checkpoint=event.checkpoint_id, seconds=now - self.begun)
        elif event.kind == "began":
            self.begun = now
            tell("begin", stage=event.stage, name=event.name)
        elif event.kind == "completed" and event.checkpoint_id is not None:
            info = self.store.get_checkpoint_info(event.checkpoint_id)
            assert info is not None
            tell(
                "saved",
                said=self.said,
                work_seconds=self.worked - self.begun,
                save_seconds=now - self.worked,
                stored_bytes=info.size_bytes,
            )


def main(directory: Path) -> None:
    """Bring the pipeline in `directory` to its end, from wherever it stands."""
    with open_store(directory) as store:
        told = Told(store)
        Pipeline(
            "stdlib",
            store,
            map(told.stage, range(1, len(STAGES) + 1)),
            checkpoint_id=lambda point: f"stage_{point.stage}_{point.name}",
            progress=told.progress,
        ).run({}, "demo", resume_from="latest")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
