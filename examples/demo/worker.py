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


def resume(store: PipelineCheckpoint) -> tuple[State, int]:
    """Load the newest checkpoint, if there is one, and the number of its stage."""
    start = time.perf_counter()
    latest = store.load_latest()
    if latest is None:
        return {}, 0
    found, state = latest
    tell("resumed", checkpoint=found.checkpoint_id, seconds=time.perf_counter() - start)
    return state, int(found.custom_metadata["stage"])


def run_stage(store: PipelineCheckpoint, state: State, number: int) -> State:
    """Run one stage and make its result durable."""
    name = STAGES[number - 1][0]
    tell("begin", stage=number, name=name)
    start = time.perf_counter()
    state = advance(state, number, reporting)
    worked = time.perf_counter()
    checkpoint = f"stage_{number}_{name}"
    store.save(
        state,
        checkpoint,
        custom_metadata={"stage": number, "name": name, "seconds": round(worked - start, 3)},
    )
    saved = time.perf_counter()
    info = store.get_checkpoint_info(checkpoint)
    assert info is not None
    tell(
        "saved",
        said=state["log"][-1],
        work_seconds=worked - start,
        save_seconds=saved - worked,
        stored_bytes=info.size_bytes,
    )
    return state


def main(directory: Path) -> None:
    """Bring the pipeline in `directory` to its end, from wherever it stands."""
    with open_store(directory) as store:
        state, done = resume(store)
        for number in range(done + 1, len(STAGES) + 1):
            state = run_stage(store, state, number)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
