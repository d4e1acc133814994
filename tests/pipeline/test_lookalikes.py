"""Checkpoints whose own metadata has some of the names that a run uses."""

from __future__ import annotations

import pytest

from checkpointdb import InvalidInputError
from checkpointdb.pipeline import Pipeline, Stage

pytestmark = pytest.mark.databases

OF_RUN = {"workflow": "plan", "run": "R"}
WHOLE = {
    **OF_RUN,
    **{"stage": 2, "stages": 2, "name": "two", "outcome": "completed", "seconds": 1.0},
    "made_by": [["one", "1", "", ""]],
}
LOOKALIKES = {
    "a name and a run": OF_RUN,
    "a stage by its name": {**OF_RUN, "stage": "train", "outcome": "completed"},
    "all but what the stage took": {**OF_RUN, "stage": 1, "name": "n", "outcome": "completed"},
    "a run by its number": {**WHOLE, "run": 7},
    "a workflow by its number": {**WHOLE, "workflow": 7},
    "half a stage": {**WHOLE, "stage": 1.5},
    "steps that are a number": {**OF_RUN, "steps": 100, "stages": "three"},
    "stages that are none": {**OF_RUN, "stage": 1, "stages": None},
    "an attempt by its number": {**OF_RUN, "attempt": 1},
}


def staged(archive, *, fails):
    def one(state):
        state["one"] = True

    def two(state):
        if fails:
            raise LookupError
        state["two"] = True

    return Pipeline("plan", archive, [Stage(one, version="1"), Stage(two, version="1")])


@pytest.fixture
def stopped(archive):
    """A store with a run R that failed in its second stage."""
    with pytest.raises(LookupError):
        staged(archive, fails=True).run({}, "R")
    return archive


@pytest.mark.parametrize("metadata", LOOKALIKES.values(), ids=LOOKALIKES)
def test_what_only_looks_like_a_checkpoint_of_a_run_is_none(stopped, metadata):
    before = stopped.runs(), stopped.stage_times(), stopped.attempts("plan", "R")
    stopped.save({"mine": 1}, "mine", custom_metadata=metadata)
    assert (stopped.runs(), stopped.stage_times(), stopped.attempts("plan", "R")) == before
    pipeline = staged(stopped, fails=False)
    assert pipeline.run({}, "R", "latest") == {"one": True, "two": True}
    assert [each.status for each in pipeline.runs()] == ["completed"]
    assert stopped.load("mine") == {"mine": 1}


ALMOST = {
    "what made it is text": {"made_by": "me"},
    "of a stage only the name": {"made_by": [["one"]]},
    "stages by their names alone": {"made_by": ["one"]},
    "steps that are a list": {"outcome": "running", "steps": [1]},
    "steps that are text": {"outcome": "running", "steps": {"epoch": "two"}},
    "no steps": {"outcome": "running"},
    "resumed from a number": {"resumed_from": 1},
    "no name": {"name": None},
    "an outcome that is none": {"outcome": None},
    "no time": {"seconds": "long"},
}


@pytest.mark.parametrize("differs", ALMOST.values(), ids=ALMOST)
def test_what_almost_looks_like_one_is_not_resumed_from_and_breaks_no_question(stopped, differs):
    stopped.save({"mine": 1}, "mine", custom_metadata={**WHOLE, **differs})
    assert len(stopped.runs()) == 1
    assert {each.stage for each in stopped.stage_times()} <= {1, 2}
    pipeline = staged(stopped, fails=False)
    with pytest.raises(InvalidInputError, match="'mine' was not saved by a run"):
        pipeline.run({}, "S", "mine")
    assert pipeline.run({}, "R", "latest", on_change="redo") == {"one": True, "two": True}
