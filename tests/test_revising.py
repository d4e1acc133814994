"""What the database of a store is, and bringing it up to date."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from checkpointdb import NotFoundError, PipelineCheckpoint, SchemaVersionError
from checkpointdb.database import HEAD_REVISION, Database
from checkpointdb.schema import metadata
from checkpointdb.sqlite_backup import back_up
from checkpointdb.store.revising import first_versions, sql_of_upgrade


def revise(directory, revision):
    with closing(sqlite3.connect(directory / "checkpoints.db")) as database, database:
        database.execute("UPDATE checkpointdb_version SET version_num = ?", [revision])


@pytest.fixture
def older(tmp_path):
    """A store whose database the first migration made."""
    database = Database(f"sqlite:///{tmp_path}/checkpoints.db")
    database.migrate("0001")
    database.close()
    return tmp_path


def test_a_current_database_says_so_and_how_large_it_is(archive):
    archive.save({"a": 1}, "a")
    found = PipelineCheckpoint.database_info(archive.checkpoint_dir)
    assert (found.state, found.schema, found.library_schema) == ("current", *[HEAD_REVISION] * 2)
    assert found.database_bytes == (archive.checkpoint_dir / "checkpoints.db").stat().st_size
    assert found.log_bytes > 0


def test_an_older_database_is_told_and_not_changed(older, tree):
    before = tree(older)
    found = PipelineCheckpoint.database_info(older)
    assert (found.state, found.schema) == ("older", "0001")
    assert tree(older) == before


def test_every_schema_says_which_version_was_the_first_to_read_it():
    versions = first_versions()
    assert sorted(versions) == [f"{number:04}" for number in range(1, len(versions) + 1)]
    assert HEAD_REVISION in versions
    for first in versions.values():
        assert all(part.isdecimal() for part in first.split(".")), versions


def test_a_store_says_which_versions_read_it(older):
    assert PipelineCheckpoint.database_info(older).readable_since == first_versions()["0001"]


def test_the_sql_for_a_server_makes_every_table_and_view():
    written = sql_of_upgrade(None, "postgresql")
    for table in metadata.tables:
        assert f"CREATE TABLE {table} " in written
    assert written.count("CREATE VIEW") - written.count("DROP VIEW") == 5
    assert "fk_chains_forked_from_checkpoints" in written
    assert written.startswith("BEGIN;")
    assert written.rstrip().endswith("COMMIT;")


@pytest.mark.damages
def test_a_newer_database_is_told_and_not_upgraded(archive):
    archive.close()
    revise(archive.checkpoint_dir, "9999")
    assert PipelineCheckpoint.database_info(archive.checkpoint_dir).state == "newer"
    with pytest.raises(SchemaVersionError, match="newer"):
        PipelineCheckpoint.upgrade_database(archive.checkpoint_dir)
    with pytest.raises(SchemaVersionError, match="newer"):
        PipelineCheckpoint.upgrade_sql(archive.checkpoint_dir)
    assert PipelineCheckpoint.database_info(archive.checkpoint_dir).readable_since is None


def test_an_upgrade_says_what_it_did_and_where_the_backup_is(older):
    report = PipelineCheckpoint.upgrade_database(older)
    assert (report.before, report.after) == ("0001", HEAD_REVISION)
    assert [str(path) for path in older.glob("*.backup")] == [report.backup]
    assert PipelineCheckpoint.database_info(older).state == "current"


def test_a_second_upgrade_does_nothing(older):
    PipelineCheckpoint.upgrade_database(older)
    report = PipelineCheckpoint.upgrade_database(older)
    assert (report.before, report.backup) == (HEAD_REVISION, None)


def test_of_two_upgrades_at_once_one_alone_has_a_backup(older, monkeypatch):
    reports = []

    def other_first(path, revision, busy_seconds):
        monkeypatch.undo()
        reports.append(PipelineCheckpoint.upgrade_database(older))
        return back_up(path, revision, busy_seconds)

    monkeypatch.setattr("checkpointdb.database.back_up", other_first)
    reports.append(PipelineCheckpoint.upgrade_database(older))
    [backup] = older.glob("*.backup")
    assert [each.backup for each in reports] == [str(backup), None]
    with closing(sqlite3.connect(backup)) as copy:
        assert copy.execute("SELECT version_num FROM checkpointdb_version").fetchall() == [
            ("0001",)
        ]


@pytest.mark.parametrize(
    "ask",
    [
        PipelineCheckpoint.database_info,
        PipelineCheckpoint.upgrade_database,
        PipelineCheckpoint.upgrade_sql,
        lambda path: PipelineCheckpoint(path, enable_encryption=None),
    ],
)
@pytest.mark.parametrize("is_there", [False, True])
def test_where_there_is_no_store_none_is_made(tmp_path, ask, is_there):
    directory = tmp_path / "new"
    if is_there:
        directory.mkdir()
        (directory / "checkpoints.db").touch()
    with pytest.raises(NotFoundError, match="no store"):
        ask(directory)
    assert directory.exists() == is_there
