"""Schemas made by hand: SQL that would run in a process that only opens a store."""

from __future__ import annotations

import sqlite3
import sys

import pytest
from attacked import OPTIONS, alter, attack
from breaking import open_files

from checkpointdb import CorruptionError, PipelineCheckpoint, StoreUnavailableError

WRITES = "BEGIN DELETE FROM checkpoints; END"
FOREVER = """BEGIN INSERT INTO removals (name, created_at)
    WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x, x FROM n; END"""


@pytest.mark.parametrize("does", [WRITES, FOREVER], ids=["writes", "goes on forever"])
@pytest.mark.parametrize("event", ["AFTER INSERT ON entries", "BEFORE UPDATE ON pipelines"])
def test_a_trigger_is_told_with_the_file_and_does_not_run(copy, does, event):
    directory = copy()
    assert alter(directory, f"CREATE TRIGGER forged {event} {does}")
    with pytest.raises(CorruptionError, match=r"checkpoints\.db.*trigger 'forged'"):
        PipelineCheckpoint(directory, **OPTIONS)


def test_a_view_in_the_place_of_a_table_is_told_with_the_file(copy):
    directory = copy()
    assert alter(
        directory,
        "ALTER TABLE removals RENAME TO hidden",
        """CREATE VIEW removals AS WITH RECURSIVE n(x) AS
           (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS id, x AS name FROM n""",
    )
    with pytest.raises(CorruptionError, match=r"checkpoints\.db.*view 'removals'"):
        PipelineCheckpoint(directory, **OPTIONS)


@pytest.mark.parametrize("name", ["key_history", "Key_History"])
def test_a_view_that_goes_on_forever_in_the_place_of_ours_is_told_with_the_file(copy, name):
    directory = copy()
    assert alter(
        directory,
        "DROP VIEW key_history",
        f"""CREATE VIEW {name} AS WITH RECURSIVE n(x) AS
           (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS key, x AS pipeline FROM n""",
    )
    with pytest.raises(CorruptionError, match=rf"checkpoints\.db.*view '{name}'"):
        PipelineCheckpoint(directory, **OPTIONS)


def test_a_view_of_the_users_own_is_no_concern(copy):
    directory = copy()
    assert alter(directory, "CREATE VIEW mine AS SELECT checkpoint_id FROM checkpoints")
    with PipelineCheckpoint(directory, **OPTIONS) as handle, handle.query() as connection:
        assert len(connection.exec_driver_sql("SELECT * FROM mine").all()) == 3


def test_a_schema_cannot_call_functions_that_have_effects(copy):
    """`fts3_tokenizer` and `load_extension` are such: allowed to the user's own SQL at most."""
    directory = copy()
    assert alter(
        directory,
        "CREATE VIEW mine AS SELECT load_extension('outside') AS x",
    )
    with (
        PipelineCheckpoint(directory, **OPTIONS) as handle,
        handle.query() as connection,
        pytest.raises(Exception, match="unsafe use of load_extension"),
    ):
        connection.exec_driver_sql("SELECT * FROM mine").all()


@pytest.mark.parametrize("expression", ["load_extension(name)", "sqlite_compileoption_get(id)"])
def test_a_generated_column_that_calls_a_function_does_no_harm(copy, expression):
    directory = copy()
    made = alter(
        directory,
        "PRAGMA writable_schema = ON",
        f"""UPDATE sqlite_master SET sql = replace(sql, 'created_at DATETIME',
            'forged TEXT GENERATED ALWAYS AS ({expression}), created_at DATETIME')
            WHERE name = 'removals'""",
    )
    assert made
    attack(directory)


@pytest.mark.skipif(sys.platform != "linux", reason="no list of open files")
def test_a_store_that_is_refused_when_it_is_nearly_open_is_closed(copy):
    directory = copy()
    assert alter(directory, "DROP TABLE payloads")
    with pytest.raises(StoreUnavailableError, match="no such table: payloads") as refused:
        PipelineCheckpoint(directory, **OPTIONS)
    assert open_files(directory) == []
    del refused  # which has kept alive what was begun


@pytest.mark.parametrize("table", ["entries", "members", "payloads", "checkpointdb_version"])
@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE {0}",
        "ALTER TABLE {0} RENAME TO hidden",
        "CREATE TABLE other AS SELECT * FROM {0}; DROP TABLE {0}; "
        "CREATE VIRTUAL TABLE {0} USING fts5(x)",
    ],
    ids=["gone", "renamed", "virtual"],
)
def test_a_table_that_is_none_of_ours_is_told_with_the_file(copy, table, change):
    directory = copy()
    if not alter(directory, *change.format(table).split("; ")):
        pytest.skip(f"SQLite {sqlite3.sqlite_version} cannot make it")
    attack(directory)
