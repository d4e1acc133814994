from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from checkpointdb.database import Database
from checkpointdb.database_errors import LostRace
from checkpointdb.errors import StoreUnavailableError
from checkpointdb.schema import pipelines, removals
from checkpointdb.statements import Bound, Prepared

NOW = datetime(2026, 6, 1, 12, 30, 0, 5, tzinfo=UTC)
INSERT = Prepared(sa.insert(pipelines).returning(pipelines.c.id), ["name", "next_sequence"])
INSERT_MANY = Prepared(sa.insert(pipelines), ["name", "next_sequence"])
NAMES = Prepared(sa.select(pipelines.c.name).order_by(pipelines.c.id))


@pytest.fixture
def database(tmp_path):
    opened = Database(f"sqlite:///{tmp_path / 'checkpoints.db'}")
    opened.prepare()
    yield opened
    opened.close()


def test_what_is_returned_is_all_of_the_rows(database):
    with database.write() as connection:
        [(first,)] = INSERT.run(connection, {"name": "a", "next_sequence": 1})
        rows = [{"name": name, "next_sequence": 1} for name in "bcd"]
        INSERT_MANY.run_each(connection, rows)
        assert NAMES.run(connection, {}) == [("a",), ("b",), ("c",), ("d",)]
    with database.read() as connection:
        found = sa.select(pipelines.c.name).where(pipelines.c.id == first)
        assert connection.scalars(found).all() == ["a"]


def test_no_rows_are_no_execution(database):
    with database.write() as connection:
        INSERT_MANY.run_each(connection, [])
        assert NAMES.run(connection, {}) == []


def test_constants_of_the_statement_are_bound_a_null_among_them(database):
    raise_ = sa.update(pipelines).values(next_sequence=pipelines.c.next_sequence + 41)
    null = sa.select(sa.func.coalesce(sa.bindparam("given"), sa.bindparam("none", None), "rest"))
    with database.write() as connection:
        INSERT.run(connection, {"name": "a", "next_sequence": 1})
        assert Prepared(raise_).run(connection, {}) == []
        assert connection.scalar(sa.select(pipelines.c.next_sequence)) == 42
        assert Bound(Prepared(null), {"given": None}).run(connection) == [("rest",)]


def test_parameters_are_converted_as_their_columns_want(database):
    note = Prepared(sa.insert(removals), ["name", "created_at"])
    with database.write() as connection:
        note.run(connection, {"name": "a", "created_at": NOW})
        assert connection.scalar(sa.select(removals.c.created_at)) == NOW


def test_a_missing_parameter_is_an_error_and_not_a_null(database):
    with database.write() as connection, pytest.raises(KeyError, match="next_sequence"):
        INSERT.run(connection, {"name": "a"})


def test_a_broken_constraint_is_a_lost_race_and_leaves_no_row(database):
    twice = [{"name": "a", "next_sequence": 1}] * 2
    with (
        pytest.raises(LostRace, match=r"pipelines\.name"),
        database.write(retried=True) as connection,
    ):
        INSERT_MANY.run_each(connection, twice)
    with database.read() as connection:
        assert NAMES.run(connection, {}) == []


def test_what_the_driver_raises_becomes_an_error_of_ours(database):
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE removals")
    with pytest.raises(StoreUnavailableError, match="no such table"), database.read() as connection:
        Prepared(sa.select(removals.c.name)).run(connection, {})
