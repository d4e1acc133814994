"""A run goes on where it stopped, and never upon what changed stages have made."""

from __future__ import annotations

import pytest

from checkpointdb import InvalidInputError, NotFoundError, PipelineCheckpoint, StaleStageError
from checkpointdb.pipeline import Pipeline, Stage
from checkpointdb.pipeline.stages import code_digest


def numbered(count, *, fails_at=None):
    """Stages that write down that they were called; one of them fails."""

    def stage(number):
        def run(state, number=number):
            if number == fails_at:
                raise LookupError(f"stage {number}")
            state.setdefault("called", []).append(number)

        return Stage(run, name=f"s{number}", version="1")

    return [stage(number) for number in range(1, count + 1)]


@pytest.fixture
def stopped(archive):
    """A store with a run R of nine stages that failed in the fifth, and its pipeline, mended."""
    with pytest.raises(LookupError, match="stage 5"):
        Pipeline("plan", archive, numbered(9, fails_at=5)).run({"of": "R"}, "R")
    return Pipeline("plan", archive, numbered(9))


@pytest.mark.parametrize("where", ["latest", 4, "s4", "R_stage_4"])
def test_a_run_resumes_after_the_last_good_stage_whichever_way_that_is_named(stopped, where):
    assert stopped.run({}, "R", where) == {"of": "R", "called": list(range(1, 10))}
    assert stopped.runs()[0].status == "completed"


def test_resuming_by_id_works_for_every_stage(archive):
    pipeline = Pipeline("plan", archive, numbered(9))
    pipeline.run({}, "R")
    for number in range(1, 10):
        events = []
        resumed = Pipeline("plan", archive, numbered(9), progress=events.append)
        state = resumed.run({}, f"again {number}", f"R_stage_{number}")
        assert state == {"called": list(range(1, 10))}
        began = [each.stage for each in events if each.kind == "began"]
        assert began == list(range(number + 1, 10))
        assert (events[0].kind, events[0].checkpoint_id) == ("resumed", f"R_stage_{number}")
    ids = {each.checkpoint_id for each in archive.list_checkpoints()}
    assert {"again 3_stage_4", "again 3_stage_9"} <= ids
    assert "again 3_stage_3" not in ids


def test_a_state_that_is_replaced_while_it_is_loaded_is_not_taken(stopped, archive, monkeypatch):
    """It would be resumed as if the stages that its metadata names had made it."""
    load = PipelineCheckpoint.load

    def replaced_meanwhile(store, checkpoint_id, **options):
        store.save({"of": "another"}, checkpoint_id)
        return load(store, checkpoint_id, **options)

    monkeypatch.setattr(PipelineCheckpoint, "load", replaced_meanwhile)
    with pytest.raises(NotFoundError, match="was replaced while it was loaded"):
        stopped.run({}, "R", "latest")


def test_a_finished_run_is_given_back_as_it_is(archive):
    pipeline = Pipeline("plan", archive, numbered(2))
    pipeline.run({}, "R")
    before = archive.index()
    assert pipeline.run(None, "R", "latest") == {"called": [1, 2]}
    assert archive.index() == before


def test_the_latest_of_a_run_that_never_began_is_its_beginning(archive):
    assert Pipeline("plan", archive, numbered(2)).run({}, "new", "latest") == {"called": [1, 2]}


def test_the_latest_is_what_was_saved_last_and_no_later_stage_of_an_earlier_attempt(archive):
    Pipeline("plan", archive, numbered(4)).run({"try": 1}, "R")
    with pytest.raises(LookupError):
        Pipeline("plan", archive, numbered(4, fails_at=3)).run({"try": 2}, "R")
    state = Pipeline("plan", archive, numbered(4)).run(None, "R", "latest")
    assert state == {"try": 2, "called": [1, 2, 3, 4]}


@pytest.mark.parametrize("end", [LookupError, KeyboardInterrupt])
def test_the_latest_of_a_run_that_was_begun_anew_and_saved_nothing_is_its_beginning(archive, end):
    def end_at_once(_state):
        raise end

    broken = Pipeline("plan", archive, [Stage(end_at_once, "s1", version="1"), *numbered(2)[1:]])
    mended = Pipeline("plan", archive, numbered(2))
    mended.run({"day": "Monday"}, "R")
    for where in (None, "latest"):
        with pytest.raises(end):
            broken.run({"day": "Tuesday"}, "R", where)
    mended.run({"day": "Friday"}, "another")
    assert mended.run({}, "R", "s2")["day"] == "Monday"  # by its name it is there
    assert mended.run({"day": "Tuesday"}, "R", "latest") == {"day": "Tuesday", "called": [1, 2]}
    assert mended.run({}, "R", "latest")["day"] == "Tuesday"


def test_the_latest_of_a_run_that_was_resumed_and_saved_nothing_is_what_it_was_resumed_from(
    stopped,
):
    for _ in range(2):
        with pytest.raises(LookupError, match="stage 5"):
            Pipeline("plan", stopped.store, numbered(9, fails_at=5)).run({}, "R", "latest")
    assert stopped.run({}, "R", "latest") == {"of": "R", "called": list(range(1, 10))}


@pytest.mark.parametrize("run", [("plan", "S"), ("other", "R")], ids=str)
def test_what_another_run_failed_at_says_nothing_of_this_one(stopped, run):
    workflow, run_id = run
    with pytest.raises((LookupError, InvalidInputError), match=r"stage 1|is of run 'R' of 'plan'"):
        Pipeline(workflow, stopped.store, numbered(1, fails_at=1)).run({}, run_id)
    assert stopped.run({}, "R", "latest")["of"] == "R"


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        (7, NotFoundError),
        ("s7", NotFoundError),
        ("nobody", NotFoundError),
        (0, NotFoundError),
        (True, InvalidInputError),
        ("by hand", InvalidInputError),
        ("other_stage_1", InvalidInputError),
    ],
)
def test_what_cannot_be_resumed_from_is_refused(stopped, where, kind):
    stopped.store.save({}, "by hand")
    Pipeline("another", stopped.store, numbered(1)).run({}, "other")
    with pytest.raises(kind):
        stopped.run({}, "R", where)


# --- changed stages


def loud(state):
    """Shout."""
    state["said"] = "HELLO"


def test_comments_docstrings_and_layout_are_no_change_and_code_is():
    names = {}
    for name, text in {
        "one": "def loud(state):\n    state['said'] = 'HELLO'\n",
        "two": "def loud( state ):\n    # a remark\n    state[ 'said' ] = 'HELLO'\n",
        "three": "def loud(state):\n    state['said'] = 'hello'\n",
    }.items():
        space = {}
        exec(compile(text, name, "exec"), space)
        names[name] = code_digest(space["loud"])
    assert names["one"] == names["two"] != names["three"]  # by bytecode: there is no source
    assert code_digest(loud) == code_digest(loud)


def first_shape():
    def count(state):
        state["n"] = 1

    return count


def second_shape():
    def count(state):
        state["n"] = 2

    return count


def with_stage(store, stage, *after):
    return Pipeline("plan", store, [*numbered(1), stage, *after])


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (Stage(first_shape(), version="1"), Stage(first_shape(), version="2"), "version '2'"),
        (Stage(first_shape()), Stage(second_shape()), "other code"),
        (
            Stage(lambda _, n: None, name="l", version="1", parameters={"n": 1}),
            Stage(lambda _, n: None, name="l", version="1", parameters={"n": 2}),
            "other parameters",
        ),
        (Stage(first_shape(), version="1"), Stage(first_shape(), "renamed", "1"), "was 'count'"),
    ],
    ids=["version", "code", "parameters", "name"],
)
def test_a_changed_stage_is_named_and_never_silently_reused(archive, then, now, said):
    with_stage(archive, then).run({}, "R")
    last = Stage(lambda state: state.update(last=True), name="last", version="1")
    with pytest.raises(StaleStageError, match=f"stage 2.*{said}") as caught:
        with_stage(archive, now, last).run({}, "R", "latest")
    assert (caught.value.stages, caught.value.checkpoint_id) == ((2,), "R_stage_2")
    with_stage(archive, then, last).run({}, "R", "latest")


def test_other_code_under_the_same_version_is_the_same_stage(archive):
    with_stage(archive, Stage(first_shape(), version="1")).run({}, "R")
    assert with_stage(archive, Stage(second_shape(), version="1")).run({}, "R", "latest")["n"] == 1


def test_a_changed_stage_can_be_reused(archive):
    with_stage(archive, Stage(first_shape())).run({}, "R")
    pipeline = with_stage(archive, Stage(second_shape()), *numbered(0))
    assert pipeline.run({}, "R", "latest", on_change="reuse") == {"called": [1], "n": 1}


def test_a_changed_stage_can_be_done_again_from_the_one_before(archive):
    with_stage(archive, Stage(first_shape())).run({"kept": True}, "R")
    pipeline = with_stage(archive, Stage(second_shape()))
    state = pipeline.run({}, "R", "latest", on_change="redo")
    assert state == {"kept": True, "called": [1], "n": 2}


def test_what_changed_is_done_again_from_the_beginning_if_nothing_before_it_is_left(archive):
    with_stage(archive, Stage(first_shape())).run({"kept": True}, "R")
    archive.delete_checkpoint("R_stage_1")
    pipeline = with_stage(archive, Stage(second_shape()))
    assert pipeline.run({}, "R", "latest", on_change="redo") == {"called": [1], "n": 2}
    archive.delete_checkpoint("R_stage_1")
    with pytest.raises(InvalidInputError, match="begins anew"):
        with_stage(archive, Stage(first_shape())).run(None, "R", "latest", on_change="redo")


def test_a_stage_that_has_another_number_by_now_is_found_by_its_name(archive):
    first, second, third = numbered(3)
    Pipeline("plan", archive, [first, second]).run({}, "R")
    new = Stage(lambda _: pytest.fail("it was not wanted"), "new", "1")
    longer = Pipeline("plan", archive, [first, new, second, third])
    with pytest.raises(StaleStageError, match="stage 2, 'new', was 's2' then"):
        longer.run({}, "R", "s2")
    assert longer.run({}, "R", "s2", on_change="reuse") == {"called": [1, 2, 3]}


def test_a_run_that_went_on_from_another_is_done_again_from_that_one(archive):
    def pipeline(version):
        changed = Stage(lambda state: state.update(version=version), "changed", version)
        return Pipeline("plan", archive, [*numbered(1), changed, *numbered(3)[2:]])

    pipeline("1").run({"of": "R"}, "R")
    pipeline("1").run({}, "S", "R_stage_2")
    assert pipeline("2").run({}, "S", "latest", on_change="redo") == {
        "of": "R",
        "called": [1, 3],
        "version": "2",
    }


def test_what_is_reused_may_have_had_stages_that_are_gone(archive):
    Pipeline("plan", archive, numbered(2)).run({}, "R")
    events = []
    fewer = Pipeline("plan", archive, numbered(1), progress=events.append)
    assert fewer.run({}, "R", "latest", on_change="reuse") == {"called": [1, 2]}
    assert [(each.kind, each.stage, each.name) for each in events] == [("resumed", 2, "")]


def test_a_stage_that_is_gone_is_named_and_one_that_is_new_comes_after(archive):
    Pipeline("plan", archive, numbered(2)).run({}, "R")
    with pytest.raises(StaleStageError, match="stage 2, 's2', is gone"):
        Pipeline("plan", archive, numbered(1)).run({}, "R", "latest")
    assert Pipeline("plan", archive, numbered(3)).run({}, "R", "latest") == {"called": [1, 2, 3]}
