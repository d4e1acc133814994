"""Two that run one run: the later has it, the earlier is told; and no run replaces another's."""

from __future__ import annotations

import subprocess
import threading
from types import SimpleNamespace

import pytest
from breaking import KEEP_ALL, command

from checkpointdb import InvalidInputError, PipelineCheckpoint, RunTakenError
from checkpointdb.pipeline import Pipeline, Stage, attempts
from checkpointdb.pipeline.attempts import Attempt


def note(state):
    state.setdefault("by", []).append("note")


def test_of_two_processes_with_one_run_the_later_goes_on_and_the_earlier_is_told(tmp_path):
    first = command("run_until_told", tmp_path)
    with subprocess.Popen(
        first, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "waiting\n"
        with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
            stages = [
                Stage(lambda _: None, "prepare", version="1"),
                Stage(lambda state: state.update(by="the second"), "work", version="1"),
            ]
            Pipeline("shared", handle, stages).run(None, "R", "latest")
            out, _ = process.communicate("go on\n")
            assert (out, process.returncode) == ("taken\n", 0)
            assert handle.load("R_stage_2") == {"by": "the second"}
            [run] = handle.runs()
            assert (run.status, handle.failures()) == ("completed", [])


@pytest.mark.parametrize("is_background", [False, True])
@pytest.mark.parametrize("where", ["stage", "step"])
def test_an_attempt_that_was_overtaken_saves_nothing_more(archive, where, is_background):
    events, begun = [], []
    pipeline = Pipeline("plan", archive, background=is_background, progress=events.append)

    @pipeline.stage
    def first(state):
        if where == "step":
            for _ in pipeline.steps("epoch", range(2)):
                overtake(state)
        else:
            overtake(state)

    @pipeline.stage
    def second(state):
        state["second"] = state["try"]

    def overtake(state):
        if not begun:
            begun.append(True)
            pipeline.run({"try": 2}, "R")
        state["by"] = state["try"]

    with pytest.raises(RunTakenError, match="'R' of 'plan' was begun again"):
        pipeline.run({"try": 1}, "R")
    assert archive.load("R_stage_2") == {"try": 2, "by": 2, "second": 2}
    assert (pipeline.runs()[0].status, pipeline.failures()) == ("completed", [])
    assert events[-1].kind == "failed"


def test_an_error_of_an_attempt_that_was_overtaken_is_not_the_runs(archive):
    begun = []

    def overtake(_state):
        if not begun:
            begun.append(True)
            pipeline.run({}, "R")
            raise LookupError("mine")

    pipeline = Pipeline("plan", archive, [overtake])
    with pytest.raises(LookupError, match="mine") as caught:
        pipeline.run({}, "R")
    assert "begun again" in caught.value.__notes__[0]
    assert (pipeline.runs()[0].status, pipeline.failures()) == ("completed", [])


def test_threads_that_begin_one_run_at_once_leave_one_that_is_whole(archive):
    """Whoever ends has saved every stage."""
    ready = threading.Barrier(4)
    ended = []

    def stage(number):
        def mark(state):
            state.setdefault("by", []).append((state["thread"], number))

        return Stage(mark, f"s{number}", version="1")

    def run(thread):
        pipeline = Pipeline("plan", archive, [stage(number) for number in range(3)])
        ready.wait()
        try:
            pipeline.run({"thread": thread}, "R")
            ended.append(thread)
        except RunTakenError:
            pass

    threads = [threading.Thread(target=run, args=[each]) for each in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert archive.failures() == []
    assert ended  # whoever began last yields to nobody
    state = archive.load("R_stage_3")
    assert state["by"] == [(state["thread"], number) for number in range(3)]


@pytest.mark.parametrize("done", [[], ["prepare"]], ids=["anew", "resumed"])
def test_who_began_last_has_it_though_the_earlier_saves_first(archive, done):
    is_begun, is_saved = [[threading.Event() for _ in range(2)] for _ in range(2)]
    found = {}

    # Both are in it before any saves; the earlier is first.
    to_work, to_report = [is_begun[1], is_saved[0]], [is_saved[1], is_begun[1]]

    def report(state):
        assert to_report[state["by"]].wait(30)

    def run(by):
        def tell(event):
            if (event.kind, event.name) == ("completed", "work"):
                is_saved[by].set()

        def take(state):
            state["by"] = by
            is_begun[by].set()
            assert to_work[by].wait(30)

        stages = [*prepared, Stage(take, "work", version="1"), Stage(report, version="1")]
        pipeline = Pipeline("plan", archive, stages, progress=tell)
        try:
            found[by] = pipeline.run({}, "R", *done)
        except RunTakenError as error:
            found[by] = error

    prepared = [Stage(lambda _: None, name, version="1") for name in done]
    if prepared:
        Pipeline("plan", archive, prepared).run({}, "R")
    threads = [threading.Thread(target=run, args=[by]) for by in range(2)]
    for by in range(2):
        threads[by].start()
        assert is_begun[by].wait(30)
    for each in threads:
        each.join()
    assert isinstance(found[0], RunTakenError)
    assert found[1] == archive.load(f"R_stage_{len(done) + 2}") == {"by": 1}
    assert (archive.runs()[0].status, archive.failures()) == ("completed", [])


def test_an_attempt_that_is_overtaken_while_it_saves_its_last_is_told(archive):
    def overtake(event):
        if event.kind == "completed":
            Pipeline("plan", archive, [note]).run({}, "R")

    with pytest.raises(RunTakenError):
        Pipeline("plan", archive, [note], progress=overtake).run({}, "R")
    assert (archive.runs()[0].status, archive.failures()) == ("completed", [])


def test_a_clock_that_was_set_back_makes_no_attempt_an_earlier_one(archive, monkeypatch):
    Pipeline("plan", archive, [note]).run({}, "R")
    monkeypatch.setattr(attempts, "time", SimpleNamespace(time_ns=lambda: 5))
    later = Attempt(archive, "plan", "R")
    [earlier] = archive.attempts("plan", "R")
    assert later.token > earlier
    later.check_alone()


@pytest.mark.parametrize("token", ["ffffffffffffffff", "9999999999999999", "by hand"])
def test_a_token_without_a_time_is_of_an_earlier_attempt(archive, token):
    attempt = Attempt(archive, "plan", "R")
    archive.save({}, "old", custom_metadata={"workflow": "plan", "run": "R", "attempt": token})
    assert archive.attempts("plan", "R") == {token}
    attempt.check_alone()
    Attempt(archive, "plan", "R").check_alone()


def test_what_was_begun_before_and_is_over_is_in_nobodys_way(archive):
    pipeline = Pipeline("plan", archive, [note, Stage(note, "again")])
    for _ in range(3):
        pipeline.run({}, "R")
    archive.delete_checkpoint("R_stage_2")
    assert pipeline.run({}, "R", "latest") == {"by": ["note", "note"]}


# --- ids of others


@pytest.mark.parametrize("name", ["other", "plan"])
def test_a_checkpoint_of_another_run_is_never_replaced(archive, name):
    worked = []
    ids = {"checkpoint_id": lambda point: f"stage {point.stage}"}
    Pipeline("plan", archive, [note], **ids).run({"of": "the first"}, "R")
    with pytest.raises(InvalidInputError, match="is of run 'R' of 'plan'"):
        Pipeline(name, archive, [worked.append], **ids).run({}, "R" if name == "other" else "S")
    assert (worked, archive.load("stage 1")["of"]) == ([], "the first")


def test_what_was_saved_by_hand_is_replaced_as_by_any_save(archive):
    archive.save({}, "R_stage_1")
    Pipeline("plan", archive, [note]).run({}, "R")
    assert archive.load("R_stage_1") == {"by": ["note"]}


@pytest.mark.parametrize("wrong", [7, ""])
def test_an_id_that_is_none_is_refused_before_the_stage_has_worked(archive, wrong):
    worked = []
    pipeline = Pipeline("plan", archive, [worked.append], checkpoint_id=lambda _: wrong)
    with pytest.raises(InvalidInputError, match="checkpoint id"):
        pipeline.run({}, "R")
    assert worked == []
