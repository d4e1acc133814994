"""Closing, exiting, signals and garbage in the middle of saves."""

from __future__ import annotations

import gc
import shutil
import signal
import sys
import threading

import pytest
from breaking import KEEP_ALL, assert_sound, run_well, state_of, tags_of
from effort import some

from checkpointdb import CheckpointError, PipelineCheckpoint
from checkpointdb.database import Database

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
    pytest.mark.usefixtures("lost_connections"),
]


def test_closing_a_handle_while_its_threads_save_loses_nothing(tmp_path):
    lines = run_well("close_while_saving", tmp_path)
    assert not [line for line in lines if line.startswith("failed")]
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        found = tags_of(handle)
    assert {line.split()[1] for line in lines} == found.keys()
    assert_sound(tmp_path, allowed=set())


def test_a_save_that_is_committed_when_the_handle_is_closed_is_acknowledged(tmp_path, monkeypatch):
    """Closing the last connection removes the log: that is no sign of a store that was removed."""
    handle = PipelineCheckpoint(tmp_path, **KEEP_ALL)
    handle.save(state_of("a"), "a")
    look, looks = Database._check_files, []

    def close_and_look(*arguments, **options):
        looks.append(arguments)
        if len(looks) == 2:  # after the commit
            handle.close()
        look(*arguments, **options)

    monkeypatch.setattr(Database, "_check_files", close_and_look)
    assert handle.save(state_of("b"), "b") == "b"
    monkeypatch.undo()
    handle.close()
    assert_sound(tmp_path, allowed=set())


def test_threads_that_outlive_the_main_thread_save_and_load(tmp_path):
    lines = run_well("outlive_the_main_thread", tmp_path)
    assert lines == ["saved small", "saved large", "loaded large"]
    assert_sound(tmp_path, allowed=set())


def test_a_handle_collected_as_garbage_by_its_own_thread_ends_quietly(tmp_path):
    handle = PipelineCheckpoint(tmp_path, **KEEP_ALL)
    handle.save(state_of("a"), "a")
    pool = handle._engine.pool
    pool.submit(int).result()
    handle.itself = handle  # a cycle: only the collector finds it
    del handle
    pool.submit(gc.collect).result()
    assert_sound(tmp_path, allowed=set())


def test_saves_interrupted_at_any_moment_lose_nothing_and_the_handle_goes_on(tmp_path):
    if not hasattr(signal, "setitimer"):
        pytest.skip("there is no such timer here")
    times = some(50, long=150)
    lines = run_well("be_interrupted", tmp_path, times)
    interrupted = [line for line in lines if line.startswith("interrupted")]
    assert len(interrupted) > times // 5
    assert lines[-1] == "saved after"
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        found = tags_of(handle)
    saved = {line.removeprefix("saved ") for line in lines if line.startswith("saved")}
    assert saved <= found.keys()
    assert_sound(tmp_path)


class Interrupted(BaseException):
    """What a signal's handler raises, as Ctrl-C does."""


def interrupt_at(line):
    """Raise at the line of that number within SQLAlchemy; return whether it was reached."""
    reached = []

    def trace(frame, event, _):
        if "sqlalchemy" not in frame.f_code.co_filename:
            return None
        if event == "line":
            reached.append(frame.f_lineno)
            if len(reached) == line:
                raise Interrupted
        return trace

    sys.settrace(trace)
    return lambda: len(reached) >= line


@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger or coverage traces already")
def test_an_interrupt_within_sqlalchemy_is_what_the_caller_sees_and_locks_nothing(tmp_path):
    with PipelineCheckpoint(tmp_path, busy_seconds=1, **KEEP_ALL) as handle:
        handle.save(state_of("before"), "before")
        line, was_reached = 1, True
        while was_reached:
            reached = interrupt_at(line)
            try:
                handle.save(state_of(f"s{line}"), f"s{line}")
            except Interrupted:
                pass
            finally:
                sys.settrace(None)
            was_reached = reached()
            handle.save(state_of("after"), "after")
            line += 7
        assert line > 200
        tags_of(handle)
    assert_sound(tmp_path)


def test_what_fails_while_an_interrupt_is_dealt_with_says_what_failed(tmp_path):
    with PipelineCheckpoint(tmp_path / "store", **KEEP_ALL) as handle:
        handle.save(state_of("a"), "a")
        shutil.rmtree(tmp_path / "store")
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            with pytest.raises(CheckpointError):
                handle.save(state_of("b"), "b")


def test_a_signal_handler_that_saves_during_a_save_does_not_hang(tmp_path):
    """As programs do on SIGTERM: it may be refused, at once, and neither save is lost."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("there is no such timer here")
    lines = run_well("save_in_a_signal_handler", tmp_path, 15)
    assert max(float(line.split()[1]) for line in lines if line.startswith("took")) < 30  # of 60
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        assert {line.split()[1] for line in lines if line.startswith("saved")} <= tags_of(
            handle
        ).keys()
    assert_sound(tmp_path)


def test_two_threads_that_open_a_new_directory_at_once_get_one_store(tmp_path):
    handles, barrier = [], threading.Barrier(6)

    def open_it():
        barrier.wait()
        handles.append(PipelineCheckpoint(tmp_path / "new", **KEEP_ALL))

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(handles) == 6
    run_well("look", tmp_path / "new")  # opens and closes: not the last, for SQLite
    for number, handle in enumerate(handles):
        handle.save(state_of(f"t{number}"), f"t{number}")
    assert len(run_well("look", tmp_path / "new")) == 6
    for handle in handles:
        handle.close()
    assert_sound(tmp_path / "new", allowed=set())


def test_a_handle_in_use_survives_others_that_open_and_close_in_its_process(tmp_path):
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        for number in range(5):
            with PipelineCheckpoint(tmp_path, **KEEP_ALL) as other:
                other.save(state_of(f"o{number}"), f"o{number}")
            run_well("look", tmp_path)
            handle.save(state_of(f"h{number}"), f"h{number}")
        assert len(run_well("look", tmp_path)) == 10


def test_a_busy_store_is_said_to_be_busy_and_works_again(tmp_path):
    with (
        PipelineCheckpoint(tmp_path, **KEEP_ALL) as holder,
        PipelineCheckpoint(tmp_path, busy_seconds=0.2, **KEEP_ALL) as handle,
    ):
        handle.save(state_of("a"), "a")
        with (
            holder._engine.database.write(),
            pytest.raises(CheckpointError, match="other writers") as caught,
        ):
            handle.save(state_of("b"), "b")
        assert isinstance(caught.value, TimeoutError)
        handle.save(state_of("c"), "c")
        assert list(tags_of(handle)) == ["a", "c"]
    assert_sound(tmp_path, allowed=set())
