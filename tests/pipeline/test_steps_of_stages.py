"""Stages that loop save after their steps, and go on with the one after the last."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from breaking import HARMLESS, KEEP_ALL, command

from checkpointdb import InvalidInputError, PipelineCheckpoint
from checkpointdb.pipeline import Pipeline


def training(store, stop_at=None, **options):
    """A pipeline with a loop in a loop, which fails at a step."""
    pipeline = Pipeline("train", store)

    @pipeline.stage(version="1")
    def prepare(state):
        state["done"] = []

    @pipeline.stage(version="1")
    def train(state):
        for epoch in pipeline.steps("epoch", "abc", **options):
            for batch in pipeline.steps("batch", range(3), **options):
                if (epoch, batch) == stop_at:
                    raise LookupError("stop")
                state["done"].append((epoch, batch))

    return pipeline


ALL = [(epoch, batch) for epoch in "abc" for batch in range(3)]


@pytest.mark.parametrize("stop_at", [("a", 0), ("b", 0), ("b", 2), ("c", 1)], ids=str)
def test_a_loop_resumes_at_its_last_step_and_so_does_one_within_it(archive, stop_at):
    with pytest.raises(LookupError):
        training(archive, stop_at).run({}, "R")
    [run] = archive.runs("train")
    assert (run.status, run.stages) == ("failed", 2)
    assert training(archive).run({}, "R", "latest") == {"done": ALL}
    ids = [each.checkpoint_id for each in archive.list_checkpoints(reverse=False)]
    assert ids == ["R_stage_1", "R_stage_2"]


def test_a_step_says_where_the_loops_are(archive):
    with pytest.raises(LookupError):
        training(archive, ("b", 1)).run({}, "R")
    about = archive.get_checkpoint_info("R_stage_2_step").custom_metadata
    assert (about["stage"], about["outcome"]) == (2, "running")
    assert about["steps"] == {"epoch": 0, "epoch=1/batch": 0}
    assert archive.runs("train")[0].steps == about["steps"]


def test_a_step_may_be_written_as_a_block(archive):
    pipeline = Pipeline("plan", archive)
    stops = [4]

    @pipeline.stage
    def loop(state):
        for number in range(pipeline.next_step("epoch"), 6):
            with pipeline.step("epoch", number):
                if number in stops:
                    raise LookupError
                state[str(number)] = number

    with pytest.raises(LookupError):
        pipeline.run({}, "R")
    stops.clear()
    assert pipeline.run({}, "R", "latest") == {str(number): number for number in range(6)}


def test_a_step_that_was_done_is_never_done_twice_unnoticed(archive):
    pipeline = Pipeline("plan", archive)

    @pipeline.stage
    def loop(state):
        for number in (0, 1, 1):
            with pipeline.step("epoch", number):
                state["n"] = number

    with pytest.raises(InvalidInputError, match="step 1 of 'epoch' was done"):
        pipeline.run({}, "R")


def test_a_second_loop_of_a_name_is_refused_and_not_skipped(archive):
    pipeline = Pipeline("plan", archive)
    broken = [True]

    @pipeline.stage(version="1")
    def loops(state):
        for _ in range(2):
            for number in pipeline.steps("epoch", range(2)):
                state[str(number)] = number
            if broken:
                raise LookupError

    with pytest.raises(LookupError):
        pipeline.run({}, "R")
    broken.clear()
    for where in (None, "latest"):
        with pytest.raises(InvalidInputError, match="two loops 'epoch'"):
            pipeline.run({}, "R", where)


def test_a_loop_that_was_left_may_be_begun_again(archive):
    pipeline = Pipeline("plan", archive)

    @pipeline.stage
    def retry(state):
        for attempt in range(2):
            for number in pipeline.steps("epoch", range(3)):
                if number == 1 and not attempt:
                    break
                state.setdefault("done", []).append(number)

    assert pipeline.run({}, "R") == {"done": [0, 1, 2]}


def test_steps_are_saved_as_seldom_as_one_likes(archive):
    events = []
    pipeline = training(archive, ("c", 2), every_seconds=60)
    pipeline._options = pipeline._options._replace(progress=events.append)
    with pytest.raises(LookupError):
        pipeline.run({}, "R")
    assert "step" not in [each.kind for each in events]
    assert training(archive).run({}, "R", "latest") == {"done": ALL}


def test_time_of_a_stage_that_was_resumed_is_counted_from_its_beginning(archive):
    with pytest.raises(LookupError):
        training(archive, ("c", 1)).run({}, "R")
    before = archive.get_checkpoint_info("R_stage_2_step").custom_metadata["seconds"]
    training(archive).run({}, "R", "latest")
    assert archive.get_checkpoint_info("R_stage_2").custom_metadata["seconds"] > before


def test_steps_in_the_background_are_in_order_and_the_run_waits_for_the_last(archive):
    pipeline = training(archive)
    pipeline._options = pipeline._options._replace(background=True)
    assert pipeline.run({}, "R") == {"done": ALL}
    ids = [each.checkpoint_id for each in archive.list_checkpoints(reverse=False)]
    assert ids == ["R_stage_1", "R_stage_2"]


@pytest.mark.parametrize("name", ["", "a=b", "a/b", 7], ids=repr)
def test_a_loop_has_a_name_without_signs_of_a_path(archive, name):
    pipeline = Pipeline("plan", archive, [lambda _state: pipeline.next_step(name)])
    with pytest.raises(InvalidInputError):
        pipeline.run({}, "R")


def test_outside_of_a_stage_there_are_no_steps(archive):
    pipeline = Pipeline("plan", archive)
    with pytest.raises(InvalidInputError, match="within a stage"):
        pipeline.next_step("epoch")


# --- killed and told to end


@pytest.mark.parametrize(
    ("how", "within"), [("SIGKILL", "step"), ("SIGTERM", "step"), ("SIGTERM", "stage")]
)
def test_a_run_that_is_ended_goes_on_where_it_was(tmp_path, how, within):
    if not hasattr(signal, how):
        pytest.skip("there is no such signal here")
    slow = command("run_stages", tmp_path, "slow", within)
    with subprocess.Popen(slow, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"within a {within}\n"
        process.send_signal(getattr(signal, how))
        rest = process.stdout.read().split("\n")
    assert process.returncode == (143 if how == "SIGTERM" else -signal.SIGKILL)
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        [run] = handle.runs("killed")
        assert run.status == ("interrupted" if how == "SIGTERM" else "unfinished")
        if within == "step":
            # On SIGTERM the step is done to its end and saved, though it was not due.
            assert run.steps == ({"epoch": 2} if how == "SIGTERM" else {})
            assert ("step ended" in rest) == (how == "SIGTERM")
        else:
            assert (run.stage, run.steps) == (1, {})
    done = subprocess.run(
        command("run_stages", tmp_path, "fast", within), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "prepared 0 1 2 3 4 5"
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        assert {each.kind for each in handle.check(read_data=True).problems} <= HARMLESS


@pytest.mark.parametrize("where", ["latest", "loop 2", None])
def test_steps_that_a_killed_run_left_behind_end_with_their_stage(archive, where):
    """Killed in the background, or between the save of a stage and the deletion of its steps."""
    clear = archive.delete_checkpoint
    archive.delete_checkpoint = lambda *_, **__: None
    with pytest.raises(LookupError):
        looping(archive, fails_at=3).run({}, "R")
    archive.delete_checkpoint = clear
    left = ["R_stage_1_step", "R_stage_2_step", "R_stage_3_step"]
    assert steps_in(archive) == left
    with pytest.raises(LookupError):  # before its stage is saved, and after stages that are
        looping(archive, fails_at=3, every_seconds=60).run({}, "R", where)
    assert steps_in(archive) == (left if where else left[2:])
    looping(archive, every_seconds=60).run({}, "R", "latest")
    assert steps_in(archive) == []


def test_the_steps_of_a_run_are_left_alone_by_another_of_a_like_name(archive):
    with pytest.raises(LookupError):
        looping(archive, fails_at=1).run({}, "R")
    Pipeline("another", archive, [lambda _: None], checkpoint_id=lambda _: "mine").run({}, "R")
    assert steps_in(archive) == ["R_stage_1_step"]


def steps_in(store):
    ids = [each.checkpoint_id for each in store.list_checkpoints(reverse=False)]
    return [each for each in ids if each.endswith("_step")]


def looping(store, fails_at=None, **options):
    """Three stages with a loop each; one fails at its second step."""
    pipeline = Pipeline("loops", store)

    def loop(stage):
        def work(state, stage=stage):
            for number in pipeline.steps("epoch", range(3), **options):
                if (stage, number) == (fails_at, 1):
                    raise LookupError("stop")
                state[f"{stage} {number}"] = number

        return work

    for stage in (1, 2, 3):
        pipeline.stage(name=f"loop {stage}", version="1")(loop(stage))
    return pipeline


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to this process")
def test_the_handler_is_gone_after_the_run_and_never_takes_the_place_of_another(archive):
    seen = []

    def look(_state):
        seen.append(signal.getsignal(signal.SIGTERM))

    Pipeline("plan", archive, [look]).run({}, "R")
    assert seen.pop() is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        Pipeline("plan", archive, [look]).run({}, "R2")
        assert seen.pop() is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
