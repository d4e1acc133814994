"""Whatever ends a run, its own error comes out, and the store says where the run stands."""

from __future__ import annotations

import asyncio
import logging
import signal
import sqlite3
import sys

import numpy as np
import pytest

from checkpointdb import InvalidInputError, NotFoundError, StoreBusyError
from checkpointdb.pipeline import Pipeline, Terminated


def extract(state):
    state["pages"] = ["a", "b"]


def fail(_state):
    raise LookupError("no such word")


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Numb(Exception):
    def __str__(self):
        return 7


@pytest.mark.parametrize("kind", [Mute, Numb])
def test_an_error_that_cannot_say_what_it_is_comes_out_and_is_recorded(archive, kind):
    def raise_it(_state):
        raise kind

    with pytest.raises(kind):
        Pipeline("plan", archive, [raise_it]).run({}, "R")
    [failure] = archive.failures()
    assert failure.error_type.endswith(kind.__qualname__)
    assert "without text" in failure.message


def test_errors_of_tasks_say_why(archive):
    async def gather(_state):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail_later())

    async def fail_later():
        raise LookupError("no such page")

    with pytest.raises(ExceptionGroup):
        Pipeline("plan", archive, [gather]).run({}, "R")
    [failure] = archive.failures()
    assert failure.error_type == "ExceptionGroup"
    assert failure.message.endswith("; LookupError: no such page")


class Occupied(logging.Handler):
    """Lets nobody write into a store until a save in the background is given up."""

    def __init__(self, handle):
        super().__init__()
        path = handle.checkpoint_dir / "checkpoints.db"
        self._other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._other.execute("BEGIN IMMEDIATE")
        logging.getLogger("checkpointdb").addHandler(self)

    def emit(self, record):
        if "was not saved" in record.getMessage():
            logging.getLogger("checkpointdb").removeHandler(self)
            self._other.execute("ROLLBACK")
            self._other.close()


def test_a_last_save_in_the_background_that_fails_leaves_a_row(store):
    handle, events = store(busy_seconds=0.2), []

    def hold(_state):
        handle.load("R_stage_1")  # which waits for it
        Occupied(handle)

    pipeline = Pipeline("plan", handle, [extract, hold], background=True, progress=events.append)
    with pytest.raises(StoreBusyError, match="other writers"):
        pipeline.run({}, "R")
    [failure] = pipeline.failures()
    assert (failure.stage, failure.name, failure.checkpoint_id) == (2, "hold", "R_stage_1")
    assert (pipeline.runs()[0].status, events[-1].kind) == ("failed", "failed")


def test_a_save_in_the_background_that_fails_is_named_by_the_error_that_came_first(store):
    handle = store(busy_seconds=0.2)

    def hold(_state):
        Occupied(handle)

    def wait_and_fail(_state):
        with pytest.raises(NotFoundError):
            handle.load("R_stage_1")  # which waits until it is given up
        raise LookupError("mine")

    pipeline = Pipeline("plan", handle, [hold, wait_and_fail], background=True)
    with pytest.raises(LookupError, match="mine") as caught:
        pipeline.run({}, "R")
    assert "'R_stage_1' was not saved" in caught.value.__notes__[0]
    assert pipeline.failures()[0].checkpoint_id is None
    handle.close()  # the error was told


# --- the progress callback


def raising_at(kind):
    def progress(event):
        if event.kind == kind:
            raise ZeroDivisionError(kind)

    return progress


def test_a_progress_callback_never_hides_why_a_stage_failed(archive):
    with pytest.raises(LookupError, match="no such word") as caught:
        Pipeline("plan", archive, [fail], progress=raising_at("failed")).run({}, "R")
    assert "ZeroDivisionError" in caught.value.__notes__[0]
    assert archive.failures()[0].message == "no such word"


@pytest.mark.parametrize(
    ("kind", "status"), [("began", "failed"), ("step", "failed"), ("completed", "completed")]
)
def test_what_a_progress_callback_raises_ends_the_run(archive, kind, status):
    pipeline = Pipeline("plan", archive, progress=raising_at(kind))

    @pipeline.stage
    def loop(state):
        for state["n"] in pipeline.steps("epoch", range(3)):
            pass

    with pytest.raises(ZeroDivisionError, match=kind):
        pipeline.run({}, "R")
    assert [each.status for each in pipeline.runs()] == [status]  # its only stage may be done
    assert len(pipeline.failures()) == (status == "failed")


# --- what is only found out when something is saved


def test_metrics_are_numbers_of_any_kind_and_what_is_no_number_is_null(archive):
    def measure(_state):
        return {
            "half": np.float32(0.5),
            "count": np.int64(3),
            "loss": float("nan"),
            "nested": {"list": [np.float64("inf"), (np.bool_(True),)]},
        }

    Pipeline("plan", archive, [measure]).run({}, "R")
    assert archive.get_checkpoint_info("R_stage_1").custom_metadata["metrics"] == {
        "half": 0.5,
        "count": 3,
        "loss": None,
        "nested": {"list": [None, [True]]},
    }


def test_what_could_not_be_saved_is_refused_before_a_stage_has_worked(archive):
    worked = []
    pipeline = Pipeline("plan", archive, [worked.append])
    with pytest.raises(InvalidInputError, match="JSON"):
        pipeline.run({}, "R", metadata={"at": object()})
    assert worked == []


# --- signals


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to this process")
def test_a_handler_that_a_stage_installed_stays(archive):
    def mine(_number, _frame):
        """Do nothing."""

    Pipeline("plan", archive, [lambda _: signal.signal(signal.SIGTERM, mine) and None]).run({})
    try:
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to this process")
def test_a_stage_that_handles_the_error_of_a_step_is_ended_by_a_signal_that_came_in_it(archive):
    pipeline = Pipeline("plan", archive)

    @pipeline.stage
    def go_on(state):
        try:
            with pipeline.step("epoch", 0):
                signal.raise_signal(signal.SIGTERM)
                raise LookupError
        except LookupError:
            state["went on"] = True

    state = {}
    with pytest.raises(Terminated) as caught:
        pipeline.run(state, "R")
    assert (state, type(caught.value.__cause__)) == ({}, LookupError)
    assert pipeline.runs()[0].status == "interrupted"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to this process")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_second_signal_does_not_wait_for_the_end_of_the_step(archive, is_async):
    pipeline = Pipeline("plan", archive)

    def twice(state):
        with pipeline.step("epoch", 0):
            signal.raise_signal(signal.SIGTERM)
            state["after the first"] = True
            signal.raise_signal(signal.SIGTERM)
            state["after the second"] = True

    async def asynchronous(state):
        twice(state)

    pipeline.stage(asynchronous if is_async else twice)
    state = {}
    with pytest.raises(Terminated):
        pipeline.run(state, "R")
    assert state == {"after the first": True}
    assert pipeline.runs()[0].status == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
