"""os.fork with an open handle: parent and child go on, each in chains of its own."""

from __future__ import annotations

import os
import threading
from operator import attrgetter

import pytest
from breaking import KEEP_ALL, run_well, tags_of
from effort import some

from checkpointdb import PipelineCheckpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def assert_nothing_lost(directory, lines):
    """What every process acknowledged is there, and no chain had two writers."""
    saved = {line.split()[1] for line in lines if line.startswith("saved ")}
    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        assert tags_of(handle) == {each: each for each in saved}
        assert handle.check(read_data=True).problems == ()
        with handle.query() as connection:
            shared = connection.exec_driver_sql(
                "SELECT chain_id FROM checkpoints JOIN checkpoint_metadata m "
                "ON m.checkpoint_id = checkpoints.id AND m.key = 'writer' "
                "GROUP BY chain_id HAVING count(DISTINCT m.text) > 1"
            ).all()
    assert shared == []
    assert "child 0" in lines
    return saved


def test_a_child_goes_on_after_its_parent_closed(tmp_path):
    lines = run_well("fork_with_a_used_handle", tmp_path)
    saved = assert_nothing_lost(tmp_path, lines)
    assert len(saved) == 13
    [others] = [line.split()[1:] for line in lines if line.startswith("others")]
    assert set(others) == saved


def test_a_child_with_a_handle_of_its_own_goes_on_after_its_parent_closed(tmp_path):
    lines = run_well("fork_and_open_anew", tmp_path)
    assert assert_nothing_lost(tmp_path, lines) == {"p0", "c0", "c1", "c2"}


def test_a_parent_goes_on_after_its_child_closed(tmp_path):
    lines = run_well("fork_and_outlive_the_child", tmp_path)
    assert assert_nothing_lost(tmp_path, lines) == {"p0", "c0", "c1", "p1", "p2"}


@pytest.mark.parametrize("forking", [1, 2, 4])
def test_threads_may_fork_while_others_save(tmp_path, forking):
    lines = run_well("fork_among_threads", tmp_path, forking, 6)
    assert len(assert_nothing_lost(tmp_path, lines)) > forking * 18


def test_a_child_forked_within_a_query_refuses_or_keeps_what_it_saves(tmp_path):
    assert_nothing_lost(tmp_path, run_well("fork_within_a_query", tmp_path))


def test_a_child_opens_a_store_though_other_threads_opened_theirs_as_it_was_forked(tmp_path):
    lines = run_well("fork_while_others_open", tmp_path, some(2, long=10))
    children = [line for line in lines if line.startswith("child")]
    assert children
    assert set(children) == {"child 0"}
    for directory in tmp_path.iterdir():
        with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
            assert tags_of(handle) == {directory.name: directory.name}


@pytest.mark.parametrize(
    ("forked", "held"), [("_engine", "_background"), ("_engine.database", "_engine")]
)
def test_no_thread_of_a_child_goes_on_with_what_was_its_parents(
    tmp_path, monkeypatch, forked, held
):
    with PipelineCheckpoint(tmp_path, durable=False, **KEEP_ALL) as handle:
        copied = attrgetter(forked)(handle)
        begin, has_begun, may_go_on = copied._start, threading.Event(), threading.Event()

        def begin_slowly():
            has_begun.set()
            may_go_on.wait(20)
            begin()

        follow = getattr(copied, "follow_fork", None) or copied._follow_fork
        seen = []

        def use():
            follow()
            seen.append(getattr(copied, held))

        monkeypatch.setattr(copied, "_start", begin_slowly)
        of_parent, copied._pid = getattr(copied, held), 0  # as in a child
        first, second = threading.Thread(target=use), threading.Thread(target=use)
        first.start()
        has_begun.wait(20)
        second.start()
        second.join(0.1)  # goes on here, if nothing holds it
        may_go_on.set()
        first.join(20)
        second.join(20)
        assert seen == [getattr(copied, held)] * 2
        assert of_parent not in seen
        handle.save({"a": 1}, "after")


def test_a_fork_waits_for_a_thread_that_uses_two_stores_at_once(tmp_path):
    lines = run_well("fork_while_others_save_within_a_query", tmp_path, some(10, long=50))
    assert {line for line in lines if line.startswith("child")} == {"child 0"}
    assert max(float(line.split()[1]) for line in lines if line.startswith("took")) < 10
    for name in "ab":
        with PipelineCheckpoint(tmp_path / name, **KEEP_ALL) as handle:
            tags_of(handle)
            assert handle.check(read_data=True).problems == ()
