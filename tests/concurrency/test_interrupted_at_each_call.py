"""A save that an interrupt ends right where a function of Python begins: the next one works.

Signals are handled between steps of the interpreter, the first of a function among them. A trace
function that raises there does the same, always at the same place.
"""

from __future__ import annotations

import inspect
import itertools
import os
import sys
import threading
import traceback
from contextlib import _GeneratorContextManager, contextmanager, suppress

import pytest
import sqlalchemy as sa
from breaking import KEEP_ALL, assert_sound, state_of, tag_of
from effort import some
from victims import Interrupted

from checkpointdb import PipelineCheckpoint, StoreBusyError, gate
from checkpointdb.contexts import Context
from checkpointdb.gate import Gate
from checkpointdb.rows import typed

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
    pytest.mark.usefixtures("lost_connections"),
]

ENDS = (
    _GeneratorContextManager.__enter__.__code__,
    _GeneratorContextManager.__exit__.__code__,
    Context.__exit__.__code__,
)


class Interrupt:
    """Raises in the call of that number, of those with one of `codes`, or of all."""

    def __init__(self, at, codes=()):
        self.at, self.codes, self.count = at, codes, 0

    def __call__(self, frame, _event, _argument):
        self.count += not self.codes or frame.f_code in self.codes
        return self.come if self.count == self.at else None

    def come(self, _frame, _event, _argument):
        raise Interrupted  # at the first line: of what is raised at the call, no frame is kept

    def __enter__(self):
        sys.settrace(self)

    def __exit__(self, *_):
        sys.settrace(None)


@pytest.fixture
def handle(tmp_path):
    with PipelineCheckpoint(tmp_path, durable=False, **KEEP_ALL) as handle:
        for each in ("before", "again"):
            handle.save(state_of(each), each)
        yield handle
    assert_sound(tmp_path)  # a file may be left, that no row names


@pytest.mark.parametrize(
    ("codes", "step"), [(ENDS, 1), ((), some(31, long=1))], ids=["ends of blocks", "calls"]
)
def test_a_save_while_an_interrupt_is_handled_works_wherever_it_came(handle, codes, step):
    for point in itertools.count(1, step):
        try:
            with Interrupt(point, codes):
                handle.save(state_of(f"s{point}"), f"s{point}")
            break  # it has no more calls
        except Interrupted:
            handle.save(state_of(f"then {point}"), f"then {point}")
            assert tag_of(handle.load(f"then {point}")) == f"then {point}"
    assert point > 10 * step


def test_what_others_saved_is_seen_by_who_keeps_an_interrupt_of_what_was_read(handle, tmp_path):
    """As IPython keeps the last: the cursors of its frames would go on reading."""
    kept = []
    with PipelineCheckpoint(tmp_path, durable=False, **KEEP_ALL) as other:
        for point in itertools.count(1):
            try:
                with Interrupt(point, [typed.__code__]):  # called for each row, and more
                    handle.check()
                break  # it has no more calls
            except Interrupted as interrupted:
                kept.append(interrupted)
            other.save(state_of(f"of {point}"), "other")  # the same: or `check` had ever more calls
            assert tag_of(handle.load("other")) == f"of {point}"
            handle.save(state_of(f"then {point}"), "mine")
    assert len(kept) > 2


class InterruptOfFunctions(Interrupt):
    """Leaves generators out: they would go on at a line, where no handler of a signal runs."""

    def __call__(self, frame, event, argument):
        is_generator = frame.f_code.co_flags & inspect.CO_GENERATOR
        return None if is_generator else super().__call__(frame, event, argument)


def test_a_query_whose_end_is_interrupted_raises_the_interrupt(handle, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # some come in a finalizer
    for point in itertools.count(1):
        interrupt, query = InterruptOfFunctions(point), handle.query()
        query.__enter__().exec_driver_sql("SELECT 1").all()
        with suppress(Interrupted), interrupt:  # and nothing that is raised in its wake
            query.__exit__(None, None, None)
        if interrupt.count < point:
            break  # it has no more calls
    assert point > 10


def test_on_a_server_a_save_while_an_interrupt_is_handled_works_and_so_does_the_next(
    tmp_path, server_url
):
    """psycopg's blocks are among those that are left: its `executemany` is one."""
    with PipelineCheckpoint(tmp_path, database_url=server_url, **KEEP_ALL) as handle:
        for point in itertools.count(1):
            try:
                with Interrupt(point, ENDS):
                    handle.save(state_of(f"s{point}"), f"s{point}")
                break
            except Interrupted:
                handle.save(state_of(f"then {point}"), f"then {point}")
            handle.save(state_of(f"next {point}"), f"next {point}")
        assert point > 10


@contextmanager
def of_a_user(said):
    try:
        yield
    finally:
        said.append("ended")


def test_what_a_user_has_left_open_and_a_cleared_traceback_are_left_alone(handle):
    said = []
    try:
        with Interrupt(2, ENDS), of_a_user(said):
            pass
    except Interrupted:
        handle.save(state_of("first"), "first")
        assert said == []
    assert said == ["ended"]  # with the traceback
    try:
        with Interrupt(10, ENDS):
            handle.save(state_of("second"), "second")
    except Interrupted as interrupted:
        traceback.clear_frames(interrupted.__traceback__)
        handle.save(state_of("third"), "third")
    assert tag_of(handle.load("third")) == "third"


def test_a_transaction_of_a_users_own_engine_is_left_to_the_user(handle):
    engine = sa.create_engine("sqlite://")
    try:
        with Interrupt(2, ENDS), engine.begin() as connection:
            pass
    except Interrupted:
        handle.save(state_of("meanwhile"), "meanwhile")
        assert connection.in_transaction()


@contextmanager
def of_no_generator():
    return iter([None])


def test_a_save_in_the_wake_of_a_users_block_that_is_no_generator_works(handle):
    try:
        with of_no_generator():
            raise ValueError
    except AttributeError:  # an iterator has no `throw`
        handle.save(state_of("then"), "then")
    assert tag_of(handle.load("then")) == "then"


def test_a_save_in_the_wake_of_a_block_of_no_module_works(handle):
    of_no_module = {"contextmanager": contextmanager}
    exec("@contextmanager\ndef block():\n    yield", of_no_module)
    try:
        with Interrupt(2, ENDS), of_no_module["block"]():
            pass
    except Interrupted:
        handle.save(state_of("then"), "then")
    assert tag_of(handle.load("then")) == "then"


def within_a_group(interrupted):
    return BaseExceptionGroup("of tasks", [ValueError(), interrupted])


def behind_a_cause(interrupted):
    stopped = RuntimeError("stopped")
    stopped.__cause__ = interrupted
    return stopped


@pytest.mark.parametrize("wrapped", [within_a_group, behind_a_cause])
def test_a_save_while_what_wraps_an_interrupt_is_handled_works(handle, wrapped):
    interrupted = None
    for point in itertools.count(1):
        try:
            with Interrupt(point, ENDS):
                handle.save(state_of(f"s{point}"), f"s{point}")
            break
        except Interrupted as error:
            interrupted = error
        try:
            raise wrapped(interrupted)
        except (RuntimeError, BaseExceptionGroup):
            handle.save(state_of(f"then {point}"), f"then {point}")
    assert point > 10


def test_another_thread_that_is_handed_an_interrupt_leaves_its_end_to_the_thread_it_came_to(handle):
    """What holds the lock alone can release it: for others it would be held for ever."""
    handle._engine.database.busy_seconds = 0.1  # for this lock alone: SQLite's waits longer

    def handle_it(handed):
        try:
            raise handed.pop()  # kept by no frame of its own traceback
        except Interrupted:
            with suppress(StoreBusyError):
                handle.save(state_of("elsewhere"), "elsewhere")

    for point in itertools.count(1):
        try:
            with Interrupt(point, ENDS):
                handle.save(state_of(f"s{point}"), f"s{point}")
            break
        except Interrupted as interrupted:
            in_thread(handle_it, [interrupted])
        in_thread(handle.save, state_of(f"then {point}"), f"then {point}")
        assert tag_of(handle.load(f"then {point}")) == f"then {point}"


class InterruptAfter:
    """Raises in the call of that number; a function in C has then returned."""

    def __init__(self, at):
        self.at, self.count = at, 0

    def __call__(self, _frame, event, _argument):
        self.count += event in {"call", "c_return"}
        if self.count == self.at:
            raise Interrupted

    def __enter__(self):
        sys.setprofile(self)

    def __exit__(self, *_):
        sys.setprofile(None)


def test_an_interrupt_in_the_gate_keeps_no_other_thread_out_and_is_no_open_transaction():
    def pass_through(gate):
        with gate.passing():
            pass

    for point in itertools.count(1):
        made = Gate()
        try:
            with InterruptAfter(point):
                pass_through(made)
            break
        except Interrupted:
            pass  # what it left open ends with its traceback
        in_thread(pass_through, made)
        assert made.shut()
    assert point > 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("hook", [gate._before_fork, gate._after_fork_in_parent])
def test_an_interrupt_of_a_fork_keeps_no_thread_out_and_the_child_knows_what_it_inherited(
    tmp_path, monkeypatch, hook
):
    """Python tells of what is raised at a fork, and forks all the same."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    monkeypatch.setattr(gate._Fork, "gate", Gate())  # interrupts of other tests left it alone
    with PipelineCheckpoint(tmp_path, durable=False, **KEEP_ALL) as handle:
        for number in range(2):
            with Interrupt(1, (hook.__code__,)):
                process = os.fork()
                if process == 0:
                    os._exit(gate.is_unsafe_child())
            is_unsafe = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            assert is_unsafe == (hook is gate._before_fork)  # connections stayed open
            in_thread(handle.save, state_of(f"s{number}"), f"s{number}")


def test_an_interrupt_in_a_condition_of_the_standard_library_keeps_no_other_thread_out(handle):
    """Its `__exit__`, written in Python, would leave it locked; none that threads share is used."""
    for point in itertools.count(1):
        try:
            with Interrupt(point, (threading.Condition.__exit__.__code__,)):
                handle.save(state_of(f"s{point}"), f"s{point}")
            break
        except Interrupted:
            pass
        in_thread(handle.save, state_of(f"then {point}"), f"then {point}")


def in_thread(work, *args):
    thread = threading.Thread(target=work, args=args)
    thread.daemon = True
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
