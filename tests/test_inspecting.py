"""Details of a checkpoint, the places of all, and SQL that can only read."""

from __future__ import annotations

import _thread
import random
import sqlite3
import threading

import pytest

from checkpointdb import InvalidInputError, NotFoundError

pytestmark = pytest.mark.databases

BALLAST = random.Random(81).randbytes(50_000)
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def handle(archive):
    archive.save({"ballast": BALLAST}, "one")
    archive.save({"ballast": BALLAST, "n": 2}, "two", custom_metadata={"stage": 2})
    archive.load("one")
    archive.save({"ballast": BALLAST, "n": 3}, "fork", pinned=True)
    return archive


# --- details and places


def test_details_are_the_metadata_the_place_and_the_keys(handle):
    found = handle.details("two")
    assert found.metadata == handle.get_checkpoint_info("two")
    assert (found.depth, found.parent_id) == (handle.details("one").depth + 1, "one")
    assert [(each.key, each.type_name) for each in found.keys] == [
        ("ballast", "bytes"),
        ("n", "int"),
    ]
    assert sum(each.raw_bytes for each in found.keys) == found.metadata.state_bytes


def test_a_fork_stands_in_a_chain_of_its_own_upon_what_it_was_saved_upon(handle):
    places = {each.checkpoint_id: each for each in handle.lineage()}
    assert list(places) == ["one", "two", "fork"]
    assert [each.parent_id for each in places.values()] == [None, "one", "one"]
    assert places["one"].chain == places["two"].chain != places["fork"].chain
    assert [each.pinned for each in places.values()] == [False, False, True]


def test_places_are_those_of_one_pipeline(handle, store):
    assert store(pipeline="other").lineage() == []


def test_there_are_no_details_of_what_is_not_there(handle):
    with pytest.raises(NotFoundError, match="nobody"):
        handle.details("nobody")


# --- SQL


def test_a_statement_is_answered_with_columns_and_rows(handle):
    answer = handle.sql("SELECT checkpoint_id, depth AS d FROM checkpoint_overview ORDER BY 1")
    assert answer.columns == ("checkpoint_id", "d")
    assert [row[0] for row in answer.rows] == ["fork", "one", "two"]
    assert not answer.is_cut


@pytest.mark.parametrize(("limit", "count", "is_cut"), [(0, 0, True), (2, 2, True), (3, 3, False)])
def test_an_answer_that_was_cut_says_so(handle, limit, count, is_cut):
    answer = handle.sql("SELECT 1 FROM checkpoints", limit=limit)
    assert (len(answer.rows), answer.is_cut) == (count, is_cut)


@pytest.mark.parametrize(
    "statement",
    ["PRAGMA table_info(checkpoints)", "EXPLAIN QUERY PLAN SELECT 1", "VALUES (1)", "select 1;"],
)
@pytest.mark.sqlite
def test_what_only_asks_is_allowed(handle, statement):
    assert handle.sql(statement).rows


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM checkpoints",
        "UPDATE checkpoints SET pinned = 1 RETURNING id",
        "INSERT INTO removals VALUES (1, 'x', 'y')",
        "CREATE TABLE more (x)",
        "CREATE TEMP TABLE more (x)",
        "DROP VIEW checkpoint_keys",
        "ATTACH 'new.db' AS other",
        "VACUUM INTO 'new.db'",
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA user_version = 3",
        "COMMIT",
        "SELECT load_extension('x')",
        "SELECT 1; DELETE FROM checkpoints",
        "nonsense",
        "SELECT nothing FROM checkpoints",
        "",
        "-- a comment",
    ],
)
def test_everything_else_is_refused_and_changes_nothing(handle, statement, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError):
        handle.sql(statement)
    assert not (tmp_path / "new.db").exists()
    assert len(handle.list_checkpoints()) == 3


def test_a_statement_that_takes_too_long_is_given_up(handle):
    with pytest.raises(InvalidInputError, match=r"0\.05 seconds"):
        handle.sql(ENDLESS, seconds=0.05)


def test_an_interrupt_ends_a_statement_as_an_interrupt(handle):
    # Datasette, which a page of the documentation imports, has them shown.
    sqlite3.enable_callback_tracebacks(False)
    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        handle.sql(ENDLESS, seconds=60)
    timer.join()


def test_the_store_is_used_as_before_after_a_refused_statement(handle):
    with pytest.raises(InvalidInputError):
        handle.sql("DELETE FROM checkpoints")
    handle.save({"n": 4}, "after")
    assert handle.load("after") == {"n": 4}
