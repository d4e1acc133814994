"""What is known of stages that failed goes with a copy of the store."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing

import pytest

from checkpointdb import CorruptionError, KeepAll, PipelineCheckpoint, generate_encryption_key, meta
from checkpointdb.pipeline import Pipeline, Stage


def good(state):
    state["n"] = 1


def stages(*, broken):
    def work(_state):
        if broken:
            raise LookupError("secret of the state")

    return [good, Stage(work, version="1")]


@pytest.fixture
def source(archive):
    """A run that failed and was resumed, one that failed, and one that never had a checkpoint."""
    for run in "AB":
        with pytest.raises(LookupError):
            Pipeline("plan", archive, stages(broken=True)).run({}, run)
    Pipeline("plan", archive, stages(broken=False)).run({}, "A", "latest")
    with pytest.raises(LookupError):
        Pipeline("plan", archive, stages(broken=True)[1:]).run({}, "C")
    return archive


def standing(handle):
    return [(each.run_id, each.status, each.checkpoint_id) for each in handle.runs("plan")]


def test_a_copy_knows_what_failed_and_where_each_run_stands(source, store, tmp_path):
    # Its rows have other numbers, and so a failure has to be placed anew.
    store("copy", retention_policy=KeepAll()).save({}, "theirs")
    source.copy_into(tmp_path / "copy")
    copy = store("copy", retention_policy=KeepAll())
    assert copy.failures() == source.failures()
    assert standing(copy) == standing(source)
    assert {each[1] for each in standing(copy)} == {"completed", "failed"}
    Pipeline("plan", copy, stages(broken=False)).run({}, "B", "latest")
    assert dict(each[:2] for each in standing(copy))["B"] == "completed"


def test_a_second_copy_brings_the_failures_since_and_none_twice(source, store, tmp_path):
    source.copy_into(tmp_path / "copy")
    with pytest.raises(LookupError):
        Pipeline("plan", source, stages(broken=True)).run({}, "D")
    for _ in range(2):
        source.copy_into(tmp_path / "copy")
    assert store("copy").failures() == source.failures()


def test_a_renamed_checkpoint_is_named_by_the_failure_that_came_after_it(source, store, tmp_path):
    store("copy", retention_policy=KeepAll()).save({}, "B_stage_1")
    source.copy_into(tmp_path / "copy", on_conflict="rename")
    [failure] = store("copy").failures("plan", "B")
    assert failure.checkpoint_id == "B_stage_1-copied"


def test_into_an_encrypted_store_they_go_without_messages(source, tmp_path):
    pytest.importorskip("cryptography")
    key = generate_encryption_key()
    source.encrypt_into(tmp_path / "sealed", key)
    with PipelineCheckpoint(tmp_path / "sealed", key, enable_encryption=True) as sealed:
        assert sealed.failures() == [
            dataclasses.replace(each, message=None) for each in source.failures()
        ]


def test_with_the_result_of_a_query_there_are_none(source, store, tmp_path):
    source.copy_into(tmp_path / "copy", where=meta("run") == "B")
    assert store("copy").failures() == []


def test_failures_that_cannot_be_read_are_told_as_damage_of_their_database(source, tmp_path):
    with closing(sqlite3.connect(source.checkpoint_dir / "checkpoints.db")) as database, database:
        database.execute("UPDATE failures SET failed_at = 'no time'")
    with pytest.raises(CorruptionError, match=r"checkpoints\.db.*cannot be read"):
        source.copy_into(tmp_path / "copy")
