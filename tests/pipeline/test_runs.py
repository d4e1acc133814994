"""Stages run in their order, each leaves a checkpoint, and a failure leaves a row."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import threading

import pytest

from checkpointdb import (
    InvalidInputError,
    InvalidStateError,
    NotFoundError,
    PipelineCheckpoint,
    StoreBusyError,
    generate_encryption_key,
    meta,
)
from checkpointdb.pipeline import Event, Pipeline, Stage, Terminated
from checkpointdb.queries import (
    attempts_of_run,
    failures_of,
    newest_failures,
    newest_of_runs,
    stage_times,
)


def extract(state):
    state["pages"] = ["a", "b"]
    return {"pages": 2}


def analyse(state):
    state["words"] = len(state["pages"])


def fail(state):
    state["half"] = "done"
    raise LookupError("no such word")


def test_a_checkpoint_after_each_stage_says_what_it_is(archive):
    pipeline = Pipeline("plan", archive, [extract, Stage(analyse, version="3")])
    state = pipeline.run({"pdf": "x"}, "R1", metadata={"policy": "P"})
    assert state == {"pdf": "x", "pages": ["a", "b"], "words": 2}
    assert archive.load("R1_stage_1") == {"pdf": "x", "pages": ["a", "b"]}
    assert archive.load("R1_stage_2") == state
    first, second = archive.list_checkpoints(reverse=False)
    about = first.custom_metadata
    assert about.pop("seconds") >= 0
    assert len(about.pop("made_by")) == 1
    assert about.pop("attempt") == second.custom_metadata["attempt"]
    assert about == {
        "workflow": "plan",
        "run": "R1",
        "stage": 1,
        "name": "extract",
        "stages": 2,
        "outcome": "completed",
        "version": None,
        "metrics": {"pages": 2},
        "policy": "P",
        "shape": "dict",
        "resumed_from": None,
    }
    assert second.custom_metadata["version"] == "3"
    [found] = archive.list_checkpoints(where=(meta("metrics.pages") == 2) & (meta("run") == "R1"))
    assert found.checkpoint_id == "R1_stage_1"


def test_a_decorator_adds_stages_and_leaves_the_functions_alone(archive):
    pipeline = Pipeline("plan", archive)

    @pipeline.stage
    def first(state):
        state["n"] = 1

    @pipeline.stage(name="twice", version="2", parameters={"by": 2})
    def second(state, by):
        state["n"] *= by

    assert [(each.name, each.version) for each in pipeline.stages] == [
        ("first", None),
        ("twice", "2"),
    ]
    assert pipeline.run({}) == {"n": 1 * 2}
    state = {"n": 5}
    second(state, 3)
    assert state == {"n": 15}
    with pytest.raises(InvalidInputError, match="two stages 'first'"):
        pipeline.stage(first)


def test_partial_functions_methods_and_objects_are_stages(archive):
    class Adder:
        def __call__(self, state):
            state["object"] = True

        def method(self, state):
            state["method"] = True

    def add(state, amount):
        state["partial"] = amount

    stages = [functools.partial(add, amount=3), Adder(), Adder().method]
    pipeline = Pipeline("plan", archive, stages)
    assert [each.name for each in pipeline.stages] == ["add", "Adder", "method"]
    assert pipeline.run({}) == {"partial": 3, "object": True, "method": True}


@pytest.mark.parametrize("is_background", [False, True])
def test_ids_and_a_full_at_the_end_are_as_one_likes(archive, is_background):
    pipeline = Pipeline(
        "plan",
        archive,
        [extract, analyse],
        checkpoint_id=lambda point: f"{point.name}-of-{point.run_id}",
        full_last=True,
        background=is_background,
    )
    pipeline.run({"large": "x" * 50_000}, "R")
    found = {each.checkpoint_id: each.is_incremental for each in archive.list_checkpoints()}
    assert found == {"extract-of-R": False, "analyse-of-R": False}


def test_what_a_stage_returns_is_metrics_a_new_state_or_both(archive):
    def same(state):
        return state

    def both(state):
        return {**state, "new": 1}, {"size": 2}

    def wrong(_state):
        return 7

    pipeline = Pipeline("plan", archive, [same, both])
    assert pipeline.run({"a": 0}, "R") == {"a": 0, "new": 1}
    assert archive.get_checkpoint_info("R_stage_2").custom_metadata["metrics"] == {"size": 2}
    with pytest.raises(InvalidInputError, match="'wrong' returned what is of type int"):
        Pipeline("wrong", archive, [wrong]).run({}, "W")
    assert archive.failures("wrong")[0].error_type == "checkpointdb.errors.InvalidInputError"


def test_a_new_state_that_would_pass_for_metrics_is_refused(archive):
    def grow(state):
        return {**state, "more": 1}

    with pytest.raises(InvalidInputError, match="as a tuple"):
        Pipeline("plan", archive, [extract, grow]).run({}, "R")
    assert archive.load("R_stage_1") == {"pages": ["a", "b"]}
    with pytest.raises(InvalidInputError, match="as a tuple"):
        Pipeline("scalars", archive, [grow]).run({"pdf": "x.pdf"}, "S")
    Pipeline("same", archive, [lambda state: {"n": state["n"]}]).run({"n": 1}, "T")  # metrics


# --- failures


def test_a_failed_stage_leaves_a_row_and_the_last_good_checkpoint(archive):
    pipeline = Pipeline("plan", archive, [extract, Stage(fail, version="1")])
    with pytest.raises(LookupError, match="no such word"):
        pipeline.run({}, "R")
    [found] = pipeline.failures()
    assert (found.run_id, found.stage, found.name, found.version) == ("R", 2, "fail", "1")
    assert (found.outcome, found.error_type) == ("failed", "LookupError")
    assert (found.message, found.checkpoint_id) == ("no such word", "R_stage_1")
    assert found.location.startswith("test_runs.py:")
    assert found.location.endswith(" in fail")
    assert archive.load(found.checkpoint_id) == {"pages": ["a", "b"]}
    rows = archive.sql("SELECT run_id, name, error_type, message FROM failures").rows
    assert [tuple(row) for row in rows] == [("R", "fail", "LookupError", "no such word")]


def test_the_same_error_has_the_same_digest_and_another_has_another(archive):
    def deeper(state):
        fail(state)

    for run, stage in (("A", fail), ("B", fail), ("C", deeper)):
        with pytest.raises(LookupError):
            Pipeline("plan", archive, [stage]).run({}, run)
    digests = [each.traceback_digest for each in archive.failures("plan")]
    assert digests[1] == digests[2] != digests[0]


def test_an_error_whose_text_is_no_text_for_a_database_is_recorded(archive):
    def odd(_state):
        raise ValueError("nul \0 and \ud800 " + "x" * 10_000)

    with pytest.raises(ValueError, match="nul"):
        Pipeline("plan", archive, [odd]).run({}, "R")
    message = archive.failures()[0].message
    assert len(message) == 2_000
    assert message.startswith("nul \ufffd and ?")


def test_what_could_not_be_saved_in_the_background_is_not_the_last_good_one(store):
    handle = store(busy_seconds=0.2)
    other = sqlite3.connect(handle.checkpoint_dir / "checkpoints.db", isolation_level=None)

    def hold(_state):
        handle.load("R_stage_1")  # which waits for it
        other.execute("BEGIN IMMEDIATE")

    def release(_state):
        with pytest.raises(NotFoundError):  # nor was this one saved, which was waited for
            handle.load("R_stage_2")
        other.execute("ROLLBACK")
        other.close()

    pipeline = Pipeline("plan", handle, [extract, hold, release], background=True)
    with pytest.raises(StoreBusyError) as caught:
        pipeline.run({}, "R")
    assert "'R_stage_2'" in caught.value.__notes__[0]
    [failure] = pipeline.failures()
    assert (failure.name, failure.checkpoint_id) == ("release", "R_stage_1")
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["R_stage_1"]


def test_an_encrypted_store_keeps_no_message(tmp_path):
    pytest.importorskip("cryptography")
    options = {"encryption_key": generate_encryption_key(), "enable_encryption": True}
    with PipelineCheckpoint(tmp_path, durable=False, **options) as handle:
        with pytest.raises(LookupError):
            Pipeline("plan", handle, [fail]).run({}, "R")
        [found] = handle.failures()
    assert (found.error_type, found.message) == ("LookupError", None)


def test_a_failure_that_cannot_be_recorded_hides_nothing(archive, alter):
    alter(archive, "ALTER TABLE failures RENAME TO away")
    with pytest.raises(LookupError) as caught:
        Pipeline("plan", archive, [fail]).run({}, "R")
    alter(archive, "ALTER TABLE away RENAME TO failures")
    assert "could not be recorded" in caught.value.__notes__[0]


# --- questions


def test_runs_say_where_each_stands(archive):
    gate = []

    def sometimes(state):
        if not gate:
            raise LookupError("closed")

    def leave(_state):
        raise Terminated

    pipeline = Pipeline("plan", archive, [extract, sometimes])
    for run in ("A", "B"):
        with pytest.raises(LookupError):
            pipeline.run({}, run)
    with pytest.raises(SystemExit):
        Pipeline("plan", archive, [leave]).run({}, "C")
    gate.append("open")
    pipeline.run({}, "A", "latest")
    Pipeline("other", archive, [extract]).run({}, "D")
    found = {each.run_id: each for each in pipeline.runs()}
    assert {run: each.status for run, each in found.items()} == {
        "A": "completed",
        "B": "failed",
        "C": "interrupted",
    }
    assert (found["B"].stage, found["B"].name, found["B"].stages) == (1, "extract", 2)
    assert (found["B"].failure.name, found["A"].failure) == ("sometimes", None)
    assert found["C"].checkpoint_id is None
    assert archive.runs()[0].run_id == "D"
    assert [each.run_id for each in pipeline.failures(limit=2)] == ["C", "B"]
    assert [each.run_id for each in pipeline.failures("A")] == ["A"]


def test_stage_times_are_over_runs(archive):
    pipeline = Pipeline("plan", archive, [extract, analyse])
    for run in "ABC":
        pipeline.run({}, run)
    times = pipeline.stage_times()
    assert [(each.stage, each.name, each.runs) for each in times] == [
        (1, "extract", 3),
        (2, "analyse", 3),
    ]
    for each in times:
        assert 0 <= each.least_seconds <= each.mean_seconds <= each.most_seconds


def test_a_store_without_runs_answers_all_questions(store):
    handle = store()
    assert (handle.runs(), handle.stage_times(), handle.failures()) == ([], [], [])


def test_questions_search_indexes(archive):
    Pipeline("plan", archive, [extract]).run({}, "R")
    for query in (
        attempts_of_run().params(pipeline="default", run="R"),
        newest_of_runs("default", "plan"),
        stage_times("default", "plan"),
        failures_of("default", "plan", None, None),
        failures_of("default", "plan", "R", 1, after="R_stage_1"),
        newest_failures("default", "plan"),
    ):
        text = query.compile(compile_kwargs={"literal_binds": True})
        with archive.query() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all()
        scans = [row[3] for row in plan if row[3].startswith("SCAN")]
        assert [each for each in scans if each != "SCAN newest"] == [], plan


# --- around a run


def test_progress_is_told_step_by_step(archive):
    events = []
    pipeline = Pipeline("plan", archive, [extract, fail], progress=events.append)
    with pytest.raises(LookupError):
        pipeline.run({}, "R")
    assert [(each.kind, each.stage, each.checkpoint_id) for each in events] == [
        ("began", 1, None),
        ("completed", 1, "R_stage_1"),
        ("began", 2, None),
        ("failed", 2, None),
    ]
    assert isinstance(events[0], Event)


async def fetch(state):
    await asyncio.sleep(0)
    state["loop"] = id(asyncio.get_running_loop())


async def again(state):
    await asyncio.sleep(0)
    state["same"] = state["loop"] == id(asyncio.get_running_loop())
    return {"asked": 1}


def test_asynchronous_stages_share_a_loop(archive):
    state = Pipeline("plan", archive, [fetch, analyse_nothing, again]).run({}, "R")
    assert state["same"]


def analyse_nothing(state):
    state["between"] = True


def test_within_a_loop_run_async_is_awaited(archive):
    pipeline = Pipeline("plan", archive, [extract, fetch])

    async def main():
        with pytest.raises(InvalidInputError, match="run_async"):
            pipeline.run({}, "no")
        return await asyncio.gather(*(pipeline.run_async({}, run) for run in "AB"))

    states = asyncio.run(main())
    assert [each["pages"] for each in states] == [["a", "b"]] * 2
    done = {each.run_id: each.status for each in pipeline.runs()}
    assert done == {"A": "completed", "B": "completed", "no": "failed"}


def test_runs_go_on_side_by_side_in_threads(archive):
    pipeline = Pipeline("plan", archive, [extract, looping])

    def looping_run(run):
        pipeline.run({"run": run}, run)

    threads = [threading.Thread(target=looping_run, args=[run]) for run in "ABCD"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {each.run_id: each.status for each in pipeline.runs()} == dict.fromkeys(
        "ABCD", "completed"
    )
    assert [archive.load(f"{run}_stage_2")["run"] for run in "ABCD"] == list("ABCD")


def looping(state):
    state["loop"] = [state["run"]] * 100


@pytest.mark.parametrize(
    "make",
    [
        lambda store: Pipeline("", store),
        lambda store: Pipeline("plan", store, [7]),
        lambda store: Pipeline("plan", store, [Stage(extract, name="latest")]),
        lambda store: Stage(extract, parameters={"at": object()}),
        lambda store: Pipeline("plan", store, [extract]).run({}, ""),
        lambda store: Pipeline("plan", store, [extract]).run({}, "x" * 501),
        lambda store: Pipeline("plan", store, [extract]).run(None, "R"),
        lambda store: Pipeline("plan", store, [extract]).run({}, "R", on_change="hope"),
        lambda store: Pipeline("plan", store, [extract]).run({}, "R", metadata={"run": 1}),
        lambda store: Pipeline("plan", store, [extract]).run({}, "R", metadata="x"),
        lambda store: Pipeline("plan", store, [extract]).run({}, "R", 1.5),
    ],
    ids=range(11),
)
def test_arguments_that_make_no_sense_are_refused_and_nothing_is_saved(archive, make):
    with pytest.raises(InvalidInputError):
        make(archive)
    assert archive.list_checkpoints() == []


def test_a_state_of_no_known_kind_is_refused(archive):
    with pytest.raises(InvalidStateError, match="not list"):
        Pipeline("plan", archive, [extract]).run([1], "R")
