"""query(): the tables and views, for statements of one's own, which cannot write."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.exc import DBAPIError

from checkpointdb import checkpoints, schema

pytestmark = pytest.mark.databases

VIEWS = {
    "checkpoint_overview": {
        "pipeline",
        "checkpoint_id",
        "created_at",
        "kind",
        "parent_checkpoint_id",
        "chain",
        "depth",
        "key_count",
        "state_bytes",
        "stored_bytes",
        "pinned",
        "payload",
        "metadata",
        "state_version",
    },
    "checkpoint_keys": {
        "pipeline",
        "checkpoint_id",
        "key",
        "position",
        "type",
        "raw_bytes",
        "opened_here",
        "digest",
    },
    "key_history": {
        "pipeline",
        "key",
        "chain",
        "checkpoint_id",
        "created_at",
        "change",
        "type",
        "raw_bytes",
        "digest",
        "checkpoint_row",
    },
    "payload_usage": {
        "pipeline",
        "payload",
        "stored_bytes",
        "raw_bytes",
        "alive_raw_bytes",
        "checkpoints",
        "created_at",
        "damaged_at",
    },
}


@pytest.fixture
def handle(archive):
    archive.save({"a": "x" * 50_000, "b": 1}, "one", custom_metadata={"stage": 1})
    archive.save({"a": "x" * 50_000, "b": 2}, "two", custom_metadata={"stage": 2})
    return archive


def ask(handle, statement):
    with handle.query() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


# --- tables and views


def test_tables_can_be_asked_by_sqlalchemy(handle):
    with handle.query() as connection:
        found = connection.execute(
            select(checkpoints.c.checkpoint_id, checkpoints.c.custom_metadata).order_by(
                checkpoints.c.id
            )
        ).all()
    assert [tuple(row) for row in found] == [("one", {"stage": 1}), ("two", {"stage": 2})]


def test_every_table_of_the_schema_is_there(handle):
    with handle.query() as connection:
        for table in schema.metadata.tables.values():
            assert connection.scalar(select(func.count()).select_from(table)) >= 0


def test_a_handle_hands_out_the_tables_to_ask_with(handle):
    checkpoints = handle.tables.checkpoints
    with handle.query() as connection:
        query = select(checkpoints.c.checkpoint_id).order_by(checkpoints.c.id)
        assert connection.scalars(query).all() == ["one", "two"]


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_its_name_and_its_columns(handle, view):
    with handle.query() as connection:
        result = connection.exec_driver_sql(f"SELECT * FROM {view}")
        assert set(result.keys()) == VIEWS[view]
        assert result.fetchall()


def test_the_overview_shows_kind_and_parent(handle):
    statement = (
        "SELECT checkpoint_id, kind, parent_checkpoint_id, key_count FROM checkpoint_overview"
    )
    assert sorted(ask(handle, statement)) == [
        ("one", "full", None, 2),
        ("two", "incremental", "one", 2),
    ]


def test_the_overview_agrees_with_the_metadata(handle):
    handle.load("one")
    handle.save({"a": 1}, "fork")
    handle.delete_checkpoint("one")
    statement = "SELECT checkpoint_id, parent_checkpoint_id, state_bytes FROM checkpoint_overview"
    listed = handle.list_checkpoints()
    assert sorted(ask(handle, statement)) == sorted(
        (each.checkpoint_id, each.base_checkpoint_id, each.state_bytes) for each in listed
    )


def test_the_keys_of_each_checkpoint_are_shown_with_type_and_where_they_opened(handle):
    statement = """SELECT key, type, opened_here FROM checkpoint_keys
                   WHERE checkpoint_id = 'two' ORDER BY position"""
    assert ask(handle, statement) == [("a", "str", 0), ("b", "int", 1)]


def test_the_history_of_a_key_is_shown(handle):
    handle.save({"a": "x" * 50_000}, "three")
    statement = "SELECT checkpoint_id, change FROM key_history WHERE key = 'b' ORDER BY created_at"
    assert ask(handle, statement) == [("one", "set"), ("two", "set"), ("three", "removed")]


def test_the_usage_of_payloads_tells_what_is_still_alive(handle):
    statement = "SELECT payload, raw_bytes, alive_raw_bytes, checkpoints FROM payload_usage"
    assert all(raw == alive for _, raw, alive, _ in ask(handle, statement))
    handle.delete_checkpoint("one")
    usage = {
        name.split("-")[2].partition(".")[0]: (alive, count)
        for name, _, alive, count in ask(handle, statement)
    }
    assert usage["one"][1] == 0
    assert 50_000 <= usage["one"][0] < 50_100


@pytest.mark.sqlite
def test_sqlite3_alone_answers_while_the_store_is_open(handle):
    path = handle.checkpoint_dir / "checkpoints.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        found = database.execute(
            "SELECT checkpoint_id, json_extract(metadata, '$.stage') FROM checkpoint_overview "
            "ORDER BY created_at"
        ).fetchall()
    assert found == [("one", 1), ("two", 2)]


@pytest.mark.sqlite
def test_metadata_of_an_overview_is_json(handle):
    [(text,), _] = ask(handle, "SELECT metadata FROM checkpoint_overview ORDER BY created_at")
    assert json.loads(text) == {"stage": 1}


# --- one state, read-only


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM checkpoints",
        "UPDATE checkpoints SET pinned = 1",
        "CREATE TABLE mine (x)",
        "DROP VIEW checkpoint_keys",
        "INSERT INTO pipelines (name, next_sequence) VALUES ('x', 1)",
    ],
)
@pytest.mark.sqlite
def test_a_statement_that_writes_is_refused(handle, statement):
    with pytest.raises(Exception, match=r"readonly|read-only"):
        ask(handle, statement)
    assert len(handle.list_checkpoints()) == 2
    assert not handle.get_checkpoint_info("one").pinned


def test_the_store_can_be_written_after_a_query_even_one_that_failed(handle):
    ask(handle, "SELECT 1")
    with pytest.raises(KeyError):
        raise_within(handle)
    handle.save({"a": 3}, "three")
    handle.pin("three")
    assert handle.load("three") == {"a": 3}


def raise_within(handle):
    with handle.query() as connection:
        connection.exec_driver_sql("SELECT 1")
        raise KeyError("mine")


def test_a_query_sees_one_state_of_the_store_while_others_write(handle):
    statement = "SELECT count(*) FROM checkpoints"
    with handle.query() as connection:
        before = connection.exec_driver_sql(statement).scalar_one()
        handle.save({"a": 3}, "three")
        assert connection.exec_driver_sql(statement).scalar_one() == before == 2
    assert ask(handle, statement) == [(3,)]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_query_cannot_write_after_its_transaction_either(handle, end):
    with handle.query() as connection:
        connection.execute(select(checkpoints.c.id))
        getattr(connection, end)()
        with pytest.raises(DBAPIError, match=r"read.?only"):
            connection.execute(delete(checkpoints))
    assert len(handle.list_checkpoints()) == 2


def test_a_query_cannot_write_after_a_commit_of_its_own_words(handle):
    with handle.query() as connection:
        connection.exec_driver_sql("COMMIT")
        with pytest.raises(DBAPIError, match=r"read.?only"):
            connection.execute(delete(checkpoints))


def test_a_query_sees_the_next_state_after_its_transaction(handle):
    count = select(func.count()).select_from(checkpoints)
    with handle.query() as connection:
        assert connection.scalar(count) == 2
        handle.save({"a": 3}, "three")
        assert connection.scalar(count) == 2
        connection.commit()
        assert connection.scalar(count) == 3


@pytest.mark.sqlite
def test_a_mistake_in_ones_own_sql_is_not_blamed_on_the_disk(handle):
    with pytest.raises(Exception, match="no such table: missing") as caught:
        ask(handle, "SELECT * FROM missing")
    assert "replaced or emptied" not in str(caught.value)


def test_refusing_a_write_does_not_blame_the_file_system(handle):
    with pytest.raises(Exception, match=r"readonly|read-only") as caught:
        ask(handle, "DELETE FROM checkpoints")
    assert "file system" not in str(caught.value)
