from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from functools import partial
from queue import Empty, SimpleQueue

import pytest

from checkpointdb import StoreUnavailableError
from checkpointdb.local_payloads import LocalWriter
from checkpointdb.store import errand as errand_module
from checkpointdb.store.errand import Errand, Runner


@pytest.fixture
def runner():
    made = Runner()
    yield made
    made.close()


def test_an_errand_is_done_by_another_thread_while_its_sender_goes_on(runner):
    has_begun, may_end, done_by = threading.Event(), threading.Event(), []

    def work():
        has_begun.set()
        assert may_end.wait(20)
        done_by.append(threading.current_thread())

    sent = runner.send(work)
    assert has_begun.wait(20)
    assert done_by == []
    may_end.set()
    sent.result()
    assert done_by != [threading.current_thread()]


def test_an_errand_is_left_once_the_thread_that_is_at_it_is_done(runner):
    has_begun, may_end, done = threading.Event(), threading.Event(), []

    def work():
        has_begun.set()
        assert may_end.wait(20)
        done.append("work")

    sent = runner.send(work)
    assert has_begun.wait(20)
    leaving = threading.Thread(target=lambda: done.append(sent.leave() or "left"))
    leaving.start()
    leaving.join(0.1)
    assert done == []
    may_end.set()
    leaving.join(20)
    assert done == ["work", "left"]


def test_an_errand_that_is_left_before_it_is_begun_is_never_done(runner):
    may_end, done = threading.Event(), []
    runner.send(lambda: may_end.wait(20))
    left = runner.send(lambda: done.append("work"))
    left.leave()
    may_end.set()
    runner.close()
    assert done == []


def test_who_is_interrupted_within_an_errand_leaves_it_without_waiting_for_itself():
    def interrupted():
        raise KeyboardInterrupt

    mine = Errand(interrupted)
    with pytest.raises(KeyboardInterrupt):
        mine.result()
    mine.leave()


def test_an_errand_that_waits_behind_a_long_one_is_done_by_who_asks_for_it(runner):
    has_begun, may_end, done_by = threading.Event(), threading.Event(), []

    def wait():
        has_begun.set()
        assert may_end.wait(20)

    long = runner.send(wait)
    assert has_begun.wait(20)
    runner.send(lambda: done_by.append(threading.current_thread())).result()
    assert done_by == [threading.current_thread()]
    may_end.set()
    long.result()
    runner.close()
    assert len(done_by) == 1


def test_what_an_errand_raised_is_raised_where_its_result_is_asked_for(runner):
    def fail():
        raise StoreUnavailableError("the disk is gone")

    sent = runner.send(fail)
    with pytest.raises(StoreUnavailableError, match="the disk is gone"):
        sent.result()
    runner.send(lambda: None).result()  # the thread goes on


def test_many_threads_that_ask_for_one_errand_find_it_done_once(runner):
    done = []
    sent = Errand(lambda: done.append(1))
    threads = [threading.Thread(target=sent.result) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [1]


def test_closing_waits_for_everything_that_was_sent_and_a_later_errand_is_done_too(runner):
    done = []
    for number in range(50):
        runner.send(lambda number=number: done.append(number))
    runner.close()
    assert done == list(range(50))
    runner.send(lambda: done.append("later")).result()
    assert done[-1] == "later"


class Exhausted:
    def __init__(self):
        raise RuntimeError("can't start new thread")


def test_without_another_thread_an_errand_is_done_at_once(runner, monkeypatch):
    monkeypatch.setattr(errand_module, "_Worker", Exhausted)
    done = []
    runner.send(lambda: done.append(threading.current_thread()))
    assert done == [threading.current_thread()]


def test_a_runner_that_is_dropped_ends_its_thread():
    made = Runner()
    made.send(lambda: None).result()
    thread = made._worker.thread
    del made
    thread.join(20)
    assert not thread.is_alive()


def test_a_runner_that_its_own_errand_closes_does_not_wait_for_itself(runner):
    runner.send(runner.close).result()


def run(code, tmp_path):
    code = textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )


SAVE_THREE = """
    import sys
    from checkpointdb import PipelineCheckpoint
    store = PipelineCheckpoint(sys.argv[1], retention_count=1)
    for number in range(3):
        store.save({"a": number, "b": "x" * 2000}, str(number), force_full=True)
"""


def test_an_interpreter_that_exits_without_closing_has_unlinked_what_retention_freed(tmp_path):
    run(SAVE_THREE, tmp_path)
    assert [path.name[-10:] for path in (tmp_path / "store").rglob("*.ckpt.gz")] == ["-2.ckpt.gz"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_after_a_save_saves_by_a_thread_of_its_own(tmp_path, store):
    fork = """
    import os
    if (child := os.fork()) == 0:
        store.save({"a": "of the child"}, "child")
        store.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store.save({"a": "of the parent"}, "parent")
    """
    run(SAVE_THREE.replace("retention_count=1", "retention_count=9") + fork, tmp_path)
    found = store(retention_count=9)
    assert [found.load(each)["a"] for each in ("child", "parent")] == [
        "of the child",
        "of the parent",
    ]


def test_a_handle_that_is_dropped_does_not_wait_for_what_its_thread_unlinks(tmp_path):
    """The garbage collector may come while a lock is held that the thread needs, as logging's."""
    drop = """
    import gc, logging, threading
    from checkpointdb.local_payloads import LocalPayloads
    handler = logging.StreamHandler(sys.stdout)
    logging.getLogger("checkpointdb").addHandler(handler)
    fails, may_fail = threading.Event(), threading.Event()

    def fail(_payloads, names):
        fails.set()
        may_fail.wait(20)
        return dict.fromkeys(names, OSError("busy"))

    LocalPayloads.delete_all = fail
    store.save({"a": 4}, "4", force_full=True)
    assert fails.wait(20)
    store.itself = store  # garbage that only the collector finds
    del store
    with handler.lock:
        threading.Timer(0.2, may_fail.set).start()
        gc.collect()
        print("went on", flush=True)
    """
    done = run(SAVE_THREE + drop, tmp_path)
    assert done.stdout.splitlines()[0] == "went on"
    assert "could not be removed" in done.stdout  # the exit waited for it


def test_closing_a_handle_waits_for_what_is_unlinked(store):
    handle = store(retention_count=1)
    for number in range(4):
        handle.save({"a": number}, str(number), force_full=True)
    handle.close()
    assert len(list(handle.checkpoint_dir.rglob("*.ckpt.gz"))) == 1


def test_what_is_sent_while_another_thread_closes_is_done(runner):
    """It is put behind the end of the thread that is going, or is for the next one: never lost."""
    done = []

    def send():
        for number in range(2_000):
            runner.send(partial(done.append, number))

    sender = threading.Thread(target=send)
    sender.start()
    while sender.is_alive():
        runner.close()
    sender.join()
    runner.close()
    assert len(done) == 2_000


def test_closing_again_and_again_leaves_nothing_behind(runner):
    workers = []
    for _ in range(5):
        runner.send(lambda: None).result()
        workers.append(weakref.ref(runner._worker))
        runner.close()
    gc.collect()
    assert [each() for each in workers] == [None] * 5


def test_an_interrupt_while_the_thread_is_started_leaves_no_thread(runner, monkeypatch):
    start = threading.Thread.start
    started = []

    def start_and_interrupt(thread):
        start(thread)
        started.append(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            runner.send(lambda: None)
    started[0].join(20)
    assert not started[0].is_alive()
    runner.send(lambda: None).result()


def test_an_interrupt_of_what_is_done_at_once_is_not_lost(runner, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(errand_module, "_Worker", Exhausted)
    with pytest.raises(KeyboardInterrupt):
        runner.send(interrupted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_while_another_thread_starts_one_can_exit(tmp_path):
    """What the parent's threads held is held for ever in the child."""
    fork = """
    import os, threading
    has_begun, may_start = threading.Event(), threading.Event()
    start = threading.Thread.start

    def slow(thread):
        if thread.name == "checkpointdb-disk":
            has_begun.set()
            may_start.wait(20)
        start(thread)

    threading.Thread.start = slow
    store.close()
    saving = threading.Thread(target=store.save, args=({"a": 4}, "4"))
    saving.start()
    assert has_begun.wait(20)
    if (child := os.fork()) == 0:
        sys.exit()
    may_start.set()
    assert os.waitpid(child, 0)[1] == 0
    saving.join()
    """
    run(SAVE_THREE + fork, tmp_path)


def test_functions_that_save_while_the_interpreter_exits_leave_nothing_that_retention_freed(
    tmp_path,
):
    """Registered before the library was imported, so that it is called after its own."""
    at_exit = """
    import atexit
    atexit.register(lambda: [store.save({"a": n}, str(n), force_full=True) for n in range(4, 7)])
    """
    closing = "atexit.register(lambda: print(threading.active_count()))"
    run(at_exit + "import threading\n    " + closing + "\n" + SAVE_THREE, tmp_path)
    assert [path.name[-10:] for path in (tmp_path / "store").rglob("*.ckpt.gz")] == ["-6.ckpt.gz"]


def test_a_thread_that_has_nothing_to_do_ends_and_what_is_sent_later_is_done(runner, monkeypatch):
    monkeypatch.setattr(errand_module, "_IDLE_SECONDS", 0.01)
    done = []
    for number in range(30):
        runner.send(lambda number=number: done.append(number)).result()
        time.sleep(0.01)  # just when it may end
    runner._worker.thread.join(20)
    assert not runner._worker.thread.is_alive()
    runner.send(lambda: done.append("later"))
    runner.close()
    assert done == [*range(30), "later"]


def test_what_is_sent_while_the_thread_decides_to_end_is_done_by_it():
    """Nobody may ask for its result."""
    done = []

    class SentTooLate(SimpleQueue):
        def get(self, **_):
            self.put(Errand(lambda: done.append("late")))
            raise Empty

    worker = object.__new__(errand_module._Worker)
    worker.errands, worker.is_ended = SentTooLate(), False
    worker._run()
    assert done == ["late"]
    assert worker.is_ended


def test_a_handler_that_sends_while_the_thread_is_started_makes_no_second_one(runner, monkeypatch):
    started, workers, done = errand_module._started, [], []

    def interrupted():
        if not workers:
            workers.append(None)
            runner.send(lambda: done.append("of the handler"))
        workers.append(started())
        return workers[-1]

    monkeypatch.setattr(errand_module, "_started", interrupted)
    runner.send(lambda: done.append("of the interrupted"))
    used = runner._worker
    runner.close()
    assert sorted(done) == ["of the handler", "of the interrupted"]
    for worker in workers[1:]:
        worker.thread.join(20)
        assert not worker.thread.is_alive()
    assert used in workers


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_a_thread_forked_ends_with_its_function(tmp_path, store):
    fork = """
    import os, threading
    from checkpointdb.store import errand
    errand._IDLE_SECONDS = 0.1
    def fork():
        global child
        if (child := os.fork()) == 0:
            store.save({"a": "of the child"}, "child")
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    os.waitpid(child, 0)
    """
    run(SAVE_THREE.replace("retention_count=1", "retention_count=9") + fork, tmp_path)
    assert store(retention_count=9).load("child") == {"a": "of the child"}


def test_a_save_that_is_interrupted_just_after_its_flush_began_waits_for_that(store, monkeypatch):
    handle = store(durable=True)
    handle.save({"a": 1}, "before")
    has_begun, may_end, was_closed = threading.Event(), threading.Event(), []
    finish, begin = LocalWriter.finish, Runner.begin

    def slowly(writer):
        has_begun.set()
        assert may_end.wait(20)
        time.sleep(0.1)
        was_closed.append(writer._file.closed)
        finish(writer)

    def begin_and_be_interrupted(runner, errand):
        begin(runner, errand)
        assert has_begun.wait(20)
        may_end.set()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LocalWriter, "finish", slowly)
        patched.setattr(Runner, "begin", begin_and_be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            handle.save({"a": 2}, "interrupted")
    handle.close()
    assert was_closed == [False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_a_handler_forked_during_a_flush_exits_and_leaves_the_file_to_its_parent(
    tmp_path, store
):
    fork = """
    import os, signal, threading, time
    from checkpointdb.local_payloads import LocalWriter
    finish, parent, children = LocalWriter.finish, os.getpid(), []

    def fork_in_the_main_thread(writer):
        if not children:
            os.kill(parent, signal.SIGUSR1)
            time.sleep(0.5)
        finish(writer)

    def fork(*_):
        if (child := os.fork()) == 0:
            sys.exit(3)
        children.append(child)

    signal.signal(signal.SIGUSR1, fork)
    LocalWriter.finish = fork_in_the_main_thread
    store.save({"a": "of the parent"}, "parent")
    signal.alarm(20)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 3
    """
    run(SAVE_THREE.replace("retention_count=1", "retention_count=9") + fork, tmp_path)
    assert store(retention_count=9).load("parent") == {"a": "of the parent"}
