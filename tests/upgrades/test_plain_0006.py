"""A store of schema 0006, in the clear: it knows no runs, and its stages are gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from make_plain_0006 import STATES

from checkpointdb import PipelineCheckpoint, RetentionPolicy
from checkpointdb.pipeline import Pipeline

VECTOR = Path(__file__).parent / "plain_0006"


@pytest.fixture
def store(tmp_path):
    shutil.copytree(VECTOR, tmp_path / "store")
    with PipelineCheckpoint(
        tmp_path / "store", retention_policy=RetentionPolicy.KEEP_ALL
    ) as handle:
        yield handle
        assert handle.check(read_data=True).problems == ()


def test_its_states_are_loaded_and_it_has_no_runs_and_no_failures(store):
    assert {each: store.load(each) for each in STATES} == STATES
    assert (store.runs(), store.failures(), store.stage_times()) == ([], [], [])


def test_runs_are_begun_in_it_and_their_failures_recorded(store):
    def fail(_state):
        raise LookupError("no")

    with pytest.raises(LookupError):
        Pipeline("plan", store, [fail]).run(store.load("R_stage_3"), "R")
    [run] = store.runs()
    assert (run.run_id, run.status, run.checkpoint_id) == ("R", "failed", None)
    assert {each: store.load(each) for each in STATES} == STATES
