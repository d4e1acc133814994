"""A store of schema 0003, in the clear: opened, upgraded, and gone on with by this version."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from make_plain_0003 import METADATA, STATES

from checkpointdb import PipelineCheckpoint, RetentionPolicy, SchemaVersionError, meta
from checkpointdb.database import HEAD_REVISION, Database
from checkpointdb.sqlite_reads import is_only_unread

VECTOR = Path(__file__).parent / "plain_0003"


@pytest.fixture
def vector(tmp_path):
    """A copy of the store."""
    shutil.copytree(VECTOR, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def store(vector):
    with PipelineCheckpoint(vector, retention_policy=RetentionPolicy.KEEP_ALL) as handle:
        yield handle
        assert handle.check(read_data=True).problems == ()


def revision(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT version_num FROM checkpointdb_version").fetchall()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_it_is_upgraded_in_a_directory_whose_name_is_no_text(tmp_path):
    directory = tmp_path / os.fsdecode(b"store \xff")
    shutil.copytree(VECTOR, directory)
    with PipelineCheckpoint(directory) as store:
        assert store.load("reported") == STATES["reported"]
        store.push_backup(tmp_path / "nas")
    damage = sqlite3.DatabaseError("database disk image is malformed")
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    assert is_only_unread(damage, str(directory / "checkpoints.db"))
    directory.chmod(0o500)
    with closing(Database.open_read_only(directory / "checkpoints.db")) as database:
        assert database.revision() == HEAD_REVISION
    directory.chmod(0o700)


def test_where_nothing_can_be_written_the_advice_is_not_to_try_again(vector):
    with (
        closing(Database.open_read_only(vector / "checkpoints.db")) as database,
        pytest.raises(SchemaVersionError, match="directory cannot be written"),
    ):
        database.prepare(upgrade=False)


def test_it_is_upgraded_and_the_backup_is_what_it_was(vector):
    before = (vector / "checkpoints.db").read_bytes()
    PipelineCheckpoint(vector).close()
    assert revision(vector / "checkpoints.db") == [(HEAD_REVISION,)]
    [backup] = vector.glob("*.backup")
    assert revision(backup) == [("0003",)]
    with closing(sqlite3.connect(backup)) as one, closing(sqlite3.connect(":memory:")) as other:
        other.deserialize(before)
        assert list(one.iterdump()) == list(other.iterdump())


def test_every_state_is_loaded_and_every_question_answered(store):
    assert {each: store.load(each) for each in STATES} == STATES
    listed = store.list_checkpoints(reverse=False)
    assert [each.checkpoint_id for each in listed] == list(STATES)
    assert [each.custom_metadata for each in listed] == [METADATA.get(each, {}) for each in STATES]
    assert [each.pinned for each in listed] == [False, False, False, True]
    [found] = store.list_checkpoints(where=meta("accuracy") > 0.9)
    assert found.checkpoint_id == "reported"
    assert [each.checkpoint_id for each in store.history("scores")] == [
        "scored",
        "reported",
        "other line",
    ]
    assert store.pipelines() == ["Plan B", "default"]


def test_what_is_saved_next_is_a_delta(store):
    store.save({**STATES["other line"], "scores": 1}, "next")
    info = store.get_checkpoint_info("next")
    assert (info.is_incremental, info.base_checkpoint_id) == (True, "other line")
    assert info.size_bytes < 2_000


def test_without_leave_to_upgrade_it_is_refused_and_stays(vector):
    before = (vector / "checkpoints.db").read_bytes()
    with pytest.raises(SchemaVersionError, match="0003"):
        PipelineCheckpoint(vector, upgrade=False)
    assert (vector / "checkpoints.db").read_bytes() == before
    assert not list(vector.glob("*.backup"))


def test_the_printed_sql_upgrades_it_as_well(vector):
    with closing(sqlite3.connect(vector / "checkpoints.db")) as database:
        database.executescript(PipelineCheckpoint.upgrade_sql(vector))
    assert PipelineCheckpoint.upgrade_sql(vector) == ""
    with PipelineCheckpoint(vector, upgrade=False) as handle:
        assert {each: handle.load(each) for each in STATES} == STATES
        assert handle.check(read_data=True).problems == ()
    assert not list(vector.glob("*.backup"))


def test_the_sql_is_printed_and_nothing_is_run(vector):
    before = (vector / "checkpoints.db").read_bytes()
    assert "ADD COLUMN checked_at" in PipelineCheckpoint.upgrade_sql(vector)
    assert (vector / "checkpoints.db").read_bytes() == before


def test_its_database_can_be_made_anew(vector):
    (vector / "checkpoints.db").unlink()
    report = PipelineCheckpoint.rebuild(vector)
    assert set(report.checkpoints) == {*STATES, "extracted"}
    with PipelineCheckpoint(vector) as handle:
        assert {each: handle.load(each) for each in STATES} == STATES
