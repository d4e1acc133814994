"""Runs whose rows are in PostgreSQL answer the same questions."""

from __future__ import annotations

import pytest

from checkpointdb import KeepAll, PipelineCheckpoint
from checkpointdb.pipeline import Pipeline, Stage


def test_a_run_fails_and_resumes_and_every_question_is_answered(tmp_path, server_url):
    broken = [True]

    def extract(state):
        state["pages"] = list(range(2_000))
        return {"pages": 2_000}

    def train(state):
        for epoch in pipeline.steps("epoch", range(4)):
            if broken and epoch == 2:
                raise LookupError("nul \0 in it")
            state["epoch"] = epoch

    with PipelineCheckpoint(
        tmp_path, database_url=server_url, retention_policy=KeepAll(), durable=False
    ) as store:
        pipeline = Pipeline("plan", store, [Stage(extract, version="1"), train], background=True)
        with pytest.raises(LookupError):
            pipeline.run({}, "R")
        [run] = pipeline.runs()
        assert (run.status, run.stage, run.steps) == ("failed", 2, {"epoch": 1})
        assert (run.failure.name, run.failure.message) == ("train", "nul \ufffd in it")
        assert run.failure.failed_at.utcoffset().total_seconds() == 0
        broken.clear()
        assert pipeline.run({}, "R", "latest")["epoch"] == 3
        [run] = pipeline.runs()
        assert (run.status, run.checkpoint_id, run.failure) == ("completed", "R_stage_2", None)
        assert [(each.stage, each.runs) for each in pipeline.stage_times()] == [(1, 1), (2, 1)]
        assert [each.outcome for each in pipeline.failures("R")] == ["failed"]
        assert store.check(read_data=True).problems == ()
