"""Many processes in one store whose rows are on a server."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest
from breaking import KEEP_ALL, end_well, start, tags_of
from effort import some

from checkpointdb import PipelineCheckpoint

SECONDS = some(2, long=8)


@pytest.fixture
def opened(tmp_path, server_url, monkeypatch):
    """Open handles of the store that the other processes use."""
    monkeypatch.setenv("TEST_DATABASE_URL", server_url)
    return partial(PipelineCheckpoint, tmp_path / "store", database_url=server_url)


def test_processes_that_fight_over_one_pipeline_lose_nothing_and_see_nothing_half(tmp_path, opened):
    directory = tmp_path / "store"
    crowd = [start("crowd", directory, f"p{each}", 2, SECONDS) for each in range(4)]
    lines = [line.split(maxsplit=2) for line in end_well(*crowd)]
    kept = {line[1]: line[2] for line in lines if line[0] == "kept"}
    with opened(pipeline="kept", **KEEP_ALL) as handle:
        assert tags_of(handle) == kept
        assert handle.check(read_data=True).problems == ()
    with opened(pipeline="pruned") as handle:
        assert 0 < len(tags_of(handle)) <= 6
    print("operations:", sum(int(line[1]) for line in lines if line[0] == "operations"))


def test_processes_that_save_one_id_at_the_same_moment_leave_one_of_them_whole(tmp_path, opened):
    directory = tmp_path / "store"
    end_well(*(start("replace", directory, "same", 10, name) for name in ("a", "b", "c")))
    with opened(**KEEP_ALL) as handle:
        assert tags_of(handle)["same"].split()[0] == "9"
        assert len(list(directory.rglob("*.ckpt.gz"))) <= 3
        assert handle.check(read_data=True).problems == ()


def test_a_saver_that_is_killed_loses_nothing_it_acknowledged(tmp_path, opened):
    with start("save_for_ever", tmp_path / "store", 0) as victim:
        said = [victim.stdout.readline().strip() for _ in range(20)]
        victim.send_signal(signal.SIGKILL)
        said += victim.stdout.read().split()
    with opened(**KEEP_ALL) as handle:
        assert set(said) <= tags_of(handle).keys()
        strays = {each.kind for each in handle.check(read_data=True).problems}
        assert strays <= {"orphan", "unfinished"}


def test_a_forked_child_has_connections_of_its_own(opened):
    with opened(**KEEP_ALL) as handle:
        handle.save({"n": 1}, "parent")
        child = os.fork()
        if not child:
            code = 1
            try:
                handle.save({"n": 2}, "child")
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert status == 0
        handle.save({"n": 3}, "again")
        assert sorted(tags_of_ids(handle)) == ["again", "child", "parent"]


def tags_of_ids(handle):
    return [each.checkpoint_id for each in handle.list_checkpoints()]
