"""Four processes of eight threads, and others, in one store at once."""

from __future__ import annotations

import os

import pytest
from breaking import KEEP_ALL, end_well, run_well, start, tag_of, tags_of
from effort import some

from checkpointdb import NotFoundError, PipelineCheckpoint

SECONDS = float(os.environ.get("CHECKPOINTDB_CROWD_SECONDS", some(3, long=8)))
REPLACED = some(150, long=500)


def test_four_processes_of_eight_threads_lose_nothing_and_see_nothing_half(tmp_path):
    directory = tmp_path / "store"
    crowd = [start("crowd", directory, f"p{each}", 8, SECONDS) for each in range(4)]
    lines = [line.split(maxsplit=2) for line in end_well(*crowd)]
    kept = {line[1]: line[2] for line in lines if line[0] == "kept"}
    with PipelineCheckpoint(directory, pipeline="kept", **KEEP_ALL) as handle:
        assert tags_of(handle) == kept
        assert handle.check(read_data=True).problems == ()
    with PipelineCheckpoint(directory, pipeline="pruned") as handle:
        assert 0 < len(tags_of(handle)) <= 6
    print("operations:", sum(int(line[1]) for line in lines if line[0] == "operations"))


def test_readers_of_one_id_see_one_whole_version_while_it_is_replaced(tmp_path):
    seen = []
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        handle.save({"tag": "none yet"}, "latest")
        with start("replace", tmp_path, "latest", REPLACED) as writer:
            while writer.poll() is None:
                state = handle.load("latest")
                if len(state) > 1:
                    seen.append(int(tag_of(state).split()[0]))
            assert writer.returncode == 0, writer.stderr.read()
        assert handle.check(read_data=True).problems == ()
        assert tag_of(handle.load("latest")) == f"{REPLACED - 1} "
    assert seen == sorted(seen)
    assert len(set(seen)) > 1, "it was read before it was replaced, or after"


def test_a_lazy_state_of_a_replaced_id_is_whole_or_gone(tmp_path):
    whole = gone = 0
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        handle.save({"tag": "none yet"}, "latest")
        with start("replace", tmp_path, "latest", 5_000) as writer:
            while not (whole and gone):  # how often it is replaced meanwhile, machines differ in
                assert writer.poll() is None, writer.stderr.read()
                try:
                    state = dict(handle.lazy("latest"))
                except NotFoundError:
                    gone += 1
                    continue
                whole += len(state) == 1 or bool(tag_of(state))
            writer.kill()


def test_two_processes_that_save_one_id_at_the_same_moment_leave_one_of_them_whole(tmp_path):
    end_well(*(start("replace", tmp_path, "same", 20, name) for name in ("a", "b", "c")))
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        assert tags_of(handle)["same"].split()[0] == "19"
        assert len(list(tmp_path.rglob("*.ckpt.gz"))) <= 3
        assert handle.check(read_data=True).problems == ()


def test_processes_that_open_and_close_all_the_time_lose_nothing(tmp_path):
    lines = end_well(*(start("open_and_close", tmp_path / "new", 12) for _ in range(5)))
    with PipelineCheckpoint(tmp_path / "new", **KEEP_ALL) as handle:
        assert tags_of(handle).keys() == {line.split()[1] for line in lines}
        assert len(lines) == 60
        assert handle.check(read_data=True).problems == ()


@pytest.mark.parametrize("pipelines", [("one", "one"), ("one", "two")])
def test_two_handles_of_one_process_and_one_more_process_lose_nothing(tmp_path, pipelines):
    first, second = (PipelineCheckpoint(tmp_path, pipeline=each, **KEEP_ALL) for each in pipelines)
    first.save(array := {"tag": "x"}, "first")
    second.save(array, "second")
    second.close()
    run_well("look", tmp_path)  # opens and closes: is it the last to close, for SQLite?
    first.save(array, "third")
    assert run_well("ids", tmp_path, pipelines[0])[-1] == "third"
    first.close()
