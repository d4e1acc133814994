from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from checkpointdb import StoreUnavailableError
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


def test_without_another_thread_an_errand_is_done_at_once(runner, monkeypatch):
    class Exhausted:
        def __init__(self):
            raise RuntimeError("can't start new thread")

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
        timeout=100,
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
