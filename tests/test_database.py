"""The database file: how it is made, what it refuses, how it is brought up to date."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from alembic import command
from alembic.script import ScriptDirectory

from checkpointdb import (
    CorruptionError,
    NotFoundError,
    PipelineCheckpoint,
    SchemaVersionError,
    StoreBusyError,
    StoreUnavailableError,
)
from checkpointdb.database import HEAD_REVISION, VERSION_TABLE, Database
from checkpointdb.gate import Turns
from checkpointdb.revisions import _creations, migrations
from checkpointdb.sqlite_file import APPLICATION_ID


@pytest.fixture(scope="session")
def empty_database():
    """Nothing: here stores are made as users make them."""


def pragma(connection, name):
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def sql(path, *statements):
    with closing(sqlite3.connect(path)) as database, database:
        return [database.execute(statement).fetchall() for statement in statements]


# --- how it is made


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("application_id", APPLICATION_ID),
        ("auto_vacuum", 2),
        ("journal_mode", "wal"),
        ("foreign_keys", 1),
    ],
)
def test_a_new_database_has_its_pragmas(store, name, value):
    with store().query() as connection:
        assert pragma(connection, name) == value


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 3), (False, 1)])
def test_durable_means_that_every_commit_is_flushed(store, durable, synchronous):
    with store(durable=durable).query() as connection:
        assert pragma(connection, "synchronous") == synchronous


def test_file_says_what_the_database_is(store):
    path = store().checkpoint_dir / "checkpoints.db"
    assert path.read_bytes()[68:72] == APPLICATION_ID.to_bytes(4, "big") == b"CkpD"


def test_rows_that_lead_nowhere_are_refused(store, alter):
    handle = store()
    handle.save({"a": 1}, "x")
    with closing(sqlite3.connect(handle.checkpoint_dir / "checkpoints.db")) as database:
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_row_ids_are_never_used_again(store):
    handle = store()
    seen = []
    for _ in range(3):
        handle.save({"a": 1}, "x")
        with handle.query() as connection:
            seen.append(connection.exec_driver_sql("SELECT id FROM checkpoints").scalar_one())
        handle.delete_checkpoint("x")
    assert len(set(seen)) == 3


CREATE = """
import sys, time
from checkpointdb import PipelineCheckpoint
import alembic.command
print("ready", flush=True)
sys.stdin.readline()
with PipelineCheckpoint(sys.argv[1], pipeline=sys.argv[2]) as store:
    store.save({"who": sys.argv[2]}, "x")
"""


def test_processes_that_create_one_store_at_once_all_find_it(tmp_path, store):
    names = ["a", "b", "c", "d"]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, tmp_path / "store", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0] * 4, answers
    assert store().pipelines() == names
    assert [store(pipeline=name).load("x")["who"] for name in names] == names


# --- migrations


def test_the_head_is_the_newest_migration():
    assert ScriptDirectory.from_config(migrations()).get_heads() == [HEAD_REVISION]


def test_the_migrations_give_the_schema_of_the_code(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/checkpoints.db")
    database.prepare()
    with database.write() as connection:
        command.check(migrations(connection))
    database.close()


def test_a_process_makes_all_databases_as_the_migrations_made_its_first(tmp_path):
    program = """if True:
        import sys, sqlite3
        from contextlib import closing
        from checkpointdb import PipelineCheckpoint
        found = []
        for directory in sys.argv[1:]:
            with PipelineCheckpoint(directory) as handle:
                handle.save({"a": directory}, "x")
            with closing(sqlite3.connect(f"{directory}/checkpoints.db")) as connection:
                schema = "SELECT * FROM sqlite_schema ORDER BY rowid"
                found.append([connection.execute(schema).fetchall()])
                version = "SELECT * FROM checkpointdb_version"
                found[-1].append(connection.execute(version).fetchall())
            if not found[1:]:
                del sys.modules["alembic.command"]
                sys.modules["alembic"] = None  # imported no more
        print(found[0] == found[1], len(found[0][0]))
        """
    command = [sys.executable, "-c", program, tmp_path / "first", tmp_path / "second"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    same, count = done.stdout.split()
    assert (same, done.stderr) == ("True", "")
    assert int(count) > 50  # tables, indexes, views


def test_opening_again_changes_no_revision_and_makes_no_backup(store, tree):
    handle = store()
    handle.save({"a": 1}, "x")
    before = set(tree(handle.checkpoint_dir))
    store()
    assert set(tree(handle.checkpoint_dir)) == before


def test_another_alembic_users_version_is_left_alone(store):
    path = store().checkpoint_dir / "checkpoints.db"
    [names] = sql(path, "SELECT name FROM sqlite_schema WHERE name LIKE '%version%'")
    assert ("alembic_version",) not in names
    [[version]] = sql(path, "SELECT version_num FROM checkpointdb_version")
    assert version == (HEAD_REVISION,)


def test_opening_and_migrating_leave_the_loggers_of_others_alone(tmp_path, caplog):
    mine = logging.getLogger("mine")
    with PipelineCheckpoint(tmp_path / "store"):
        assert not mine.disabled
        assert logging.getLogger().handlers


def test_a_newer_schema_is_refused_with_both_versions_named(store, tree):
    handle = store()
    handle.save({"a": 1}, "x")
    handle.close()
    path = handle.checkpoint_dir / "checkpoints.db"
    sql(path, "UPDATE checkpointdb_version SET version_num = '9876'")
    with pytest.raises(SchemaVersionError, match="9876") as caught:
        PipelineCheckpoint(handle.checkpoint_dir)
    assert HEAD_REVISION in str(caught.value)
    assert (caught.value.found, caught.value.expected) == ("9876", HEAD_REVISION)
    assert not list(handle.checkpoint_dir.glob("*.backup"))
    sql(path, f"UPDATE checkpointdb_version SET version_num = '{HEAD_REVISION}'")


@pytest.fixture
def older(store):
    """A store with a checkpoint, as the first revision of the schema would have it."""
    handle = store()
    handle.save({"a": "x" * 5_000}, "x")
    handle.close()
    path = handle.checkpoint_dir / "checkpoints.db"
    [views] = sql(path, "SELECT name FROM sqlite_schema WHERE type = 'view'")
    drops = [f"DROP VIEW {name}" for (name,) in views]
    tables = ("leases", "backed_up", "backups", "remotes", "place", "failures", "keyring")
    drops += [f"DROP TABLE {name}" for name in tables]
    drops += ["ALTER TABLE payloads DROP COLUMN checked_at"]
    drops += ["ALTER TABLE checkpoints DROP COLUMN state_version"]
    sql(path, *drops, "UPDATE checkpointdb_version SET version_num = '0001'")
    return path


def test_an_older_store_is_backed_up_brought_up_to_date_and_read(older, store):
    handle = store()
    assert handle.load("x") == {"a": "x" * 5_000}
    with handle.query() as connection:
        assert connection.exec_driver_sql("SELECT * FROM checkpoint_overview").fetchall()
    [backup] = older.parent.glob("*.backup")
    assert "0001" in backup.name
    version, ids, integrity = sql(
        backup,
        "SELECT version_num FROM checkpointdb_version",
        "SELECT checkpoint_id FROM checkpoints",
        "PRAGMA integrity_check",
    )
    assert (version, ids, integrity) == ([("0001",)], [("x",)], [("ok",)])


def test_a_backup_is_for_its_owner_alone(older, store):
    store()
    [backup] = older.parent.glob("*.backup")
    assert backup.stat().st_mode & 0o077 == 0


def test_the_first_migration_alone_is_what_the_first_revision_was(older, tmp_path):
    database = Database(f"sqlite:///{tmp_path}/first.db")
    database.migrate("0001")
    database.close()
    tables = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name"
    assert sql(tmp_path / "first.db", tables) == sql(older, tables)
    with PipelineCheckpoint(older.parent):
        pass


def test_an_older_store_can_be_refused_instead(older, tree):
    before = tree(older.parent)
    with pytest.raises(SchemaVersionError, match="upgrade=True") as caught:
        PipelineCheckpoint(older.parent, upgrade=False)
    assert (caught.value.found, caught.value.expected) == ("0001", HEAD_REVISION)
    assert set(tree(older.parent)) == set(before)


# --- what is no store


def test_another_applications_database_is_refused_and_left_as_it_was(tmp_path):
    path = tmp_path / "checkpoints.db"
    sql(path, "CREATE TABLE theirs (x)", "INSERT INTO theirs VALUES (1)")
    before = path.read_bytes()
    with pytest.raises(StoreUnavailableError, match="another application"):
        PipelineCheckpoint(tmp_path)
    assert path.read_bytes() == before


def test_another_alembic_users_database_is_refused(tmp_path):
    sql(tmp_path / "checkpoints.db", "CREATE TABLE alembic_version (version_num TEXT)")
    with pytest.raises(StoreUnavailableError, match="another application"):
        PipelineCheckpoint(tmp_path)


@pytest.mark.parametrize(
    "content", [b"no database at all " * 100, b"SQLite format 3\0" + b"x" * 999]
)
def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path, content):
    path = tmp_path / "checkpoints.db"
    path.write_bytes(content)
    with pytest.raises(CorruptionError, match="damaged"):
        PipelineCheckpoint(tmp_path)
    assert path.read_bytes() == content


def test_a_database_that_lost_its_revision_is_refused_and_others_are_made_after_it(tmp_path):
    """What the migrations do in it is nothing to do again in an empty one, nor the other way."""
    _creations.clear()
    for name in "ab":
        (tmp_path / name).mkdir()
        path = tmp_path / name / "checkpoints.db"
        sql(path, f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL)")
        before = path.read_bytes()
        with pytest.raises(StoreUnavailableError, match="is empty"):
            PipelineCheckpoint(tmp_path / name)
        assert path.read_bytes() == before
        with PipelineCheckpoint(tmp_path / f"after {name}") as handle:
            handle.save({"a": 1}, "x")


def test_an_empty_file_becomes_a_store(tmp_path, store):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "checkpoints.db").touch()
    handle = store()
    handle.save({"a": 1}, "x")
    with handle.query() as connection:
        assert pragma(connection, "auto_vacuum") == 2


@pytest.mark.damages
def test_payloads_without_a_database_are_refused_with_the_way_out(store):
    handle = store()
    handle.save({"a": 1}, "x")
    handle.close()
    for path in handle.checkpoint_dir.glob("checkpoints.db*"):
        path.unlink()
    with pytest.raises(StoreUnavailableError, match="rebuild"):
        PipelineCheckpoint(handle.checkpoint_dir)
    assert not (handle.checkpoint_dir / "checkpoints.db").exists()


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreUnavailableError):
        PipelineCheckpoint(tmp_path / "file")
    with pytest.raises(StoreUnavailableError):
        PipelineCheckpoint(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


# --- connections


def test_a_closed_handle_opens_again_when_it_is_used(store):
    handle = store()
    handle.save({"a": 1}, "x")
    handle.close()
    assert handle.load("x") == {"a": 1}
    handle.save({"a": 2}, "y")
    handle.close()
    with pytest.raises(NotFoundError):
        handle.load("z")


def test_of_many_threads_that_read_few_have_a_connection_at_once(store):
    """A server takes a hundred, from all processes; a thread that has one may have another."""
    database = store()._engine.database
    inside, most = set(), []

    def read(number):
        with database.read(), database.read():
            inside.add(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)

    with ThreadPoolExecutor(60) as threads:
        list(threads.map(read, range(180)))
    assert len(most) == 180
    assert 1 < max(most) <= 15


def test_a_thread_that_waits_too_long_to_read_is_told_so():
    turns = Turns(1, 0.01)
    with turns.passing(), turns.passing(), ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(turns.passing().__enter__)
        assert isinstance(waiting.exception(), StoreBusyError)
    with turns.passing():
        pass


def test_a_store_that_was_moved_is_opened_where_it_is(store, tmp_path):
    handle = store("before")
    handle.save({"a": 1}, "x")
    handle.close()
    handle.checkpoint_dir.rename(tmp_path / "after")
    with PipelineCheckpoint(tmp_path / "after") as moved:
        assert moved.load("x") == {"a": 1}
        assert str(tmp_path / "after") in moved.get_checkpoint_info("x").file_path
    (tmp_path / "after").rename(handle.checkpoint_dir)


def test_deleted_space_is_used_again(store):
    handle = store(retention_count=2)
    sizes = []
    for number in range(40):
        handle.save({f"k{each}": number * 1_000 + each for each in range(200)}, f"s{number}")
        sizes.append((handle.checkpoint_dir / "checkpoints.db").stat().st_size)
    assert sizes[-1] <= 1.5 * sizes[20]


def test_a_damaged_file_can_be_made_anew_as_the_error_says(tmp_path):
    with PipelineCheckpoint(tmp_path) as handle:
        handle.save({"a": 1}, "a")
    (tmp_path / "checkpoints.db").write_bytes(b"no rows" * 999)
    with pytest.raises(CorruptionError, match=r"move it .* away and make it anew") as caught:
        PipelineCheckpoint(tmp_path)
    assert "PipelineCheckpoint.rebuild" in str(caught.value)
    for each in tmp_path.glob("checkpoints.db*"):
        each.unlink()
    PipelineCheckpoint.rebuild(tmp_path)
    with PipelineCheckpoint(tmp_path) as handle:
        assert handle.load("a") == {"a": 1}
