"""Runs whose rows are in PostgreSQL answer the same questions."""

from __future__ import annotations

import pytest

from checkpointdb import KeepAll, PipelineCheckpoint, RunTakenError
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


def test_a_run_that_is_begun_again_there_is_the_later_ones(tmp_path, server_url):
    begun = []

    def overtake(_state):
        if not begun:
            begun.append(True)
            pipeline.run({"by": 2}, "R")

    with PipelineCheckpoint(
        tmp_path, database_url=server_url, retention_policy=KeepAll(), durable=False
    ) as store:
        pipeline = Pipeline("plan", store, [overtake])
        with pytest.raises(RunTakenError):
            pipeline.run({"by": 1}, "R")
        assert store.load("R_stage_1") == {"by": 2}


def test_what_failed_is_copied_there_and_back_once(archive, tmp_path, server_url):
    def fail(_state):
        raise LookupError("why")

    with pytest.raises(LookupError):
        Pipeline("plan", archive, [lambda _: None, fail]).run({}, "R")
    for _ in range(2):
        archive.copy_into(tmp_path / "there", database_url=server_url)
    with PipelineCheckpoint(tmp_path / "there", database_url=server_url) as there:
        assert there.failures() == archive.failures()
        assert there.runs()[0].status == "failed"
        there.copy_into(tmp_path / "back")
        there.copy_into(archive.checkpoint_dir)
    with PipelineCheckpoint(tmp_path / "back") as back:
        assert back.failures() == archive.failures()
        assert len(back.failures()) == 1
