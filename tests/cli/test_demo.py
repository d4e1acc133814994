"""The command demo."""

from __future__ import annotations

import shlex

from checkpointdb import PipelineCheckpoint


def test_the_demo_leaves_a_store_and_commands_that_work_on_it(run, tmp_path):
    document = run("demo", tmp_path / "demo", "--json").document
    first, *others = document["checkpoints"]
    assert [each["is_incremental"] for each in (first, *others)] == [False, True, True, True]
    assert others[-1]["stored_bytes"] < first["stored_bytes"] / 10  # one module was edited
    for command in document["try_next"]:
        assert run(*shlex.split(command)[1:]).code == 0, command
    with PipelineCheckpoint(document["store"]) as store:
        assert store.check(read_data=True).problems == ()


def test_the_demo_touches_no_directory_that_holds_something(run, tmp_path, tree):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine").write_text("mine")
    result = run("demo", tmp_path / "work", "--json")
    assert (result.code, result.document["error"]["name"]) == (2, "usage")
    assert tree(tmp_path / "work") == {"mine": 4}
