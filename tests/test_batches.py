from __future__ import annotations

import pytest
import sqlalchemy as sa

from checkpointdb.batches import BATCH, among, batches, run_among
from checkpointdb.database import Database
from checkpointdb.recording import record_pipeline
from checkpointdb.schema import pipelines

NAMES = [f"pipeline {number}" for number in range(1_200)]


@pytest.fixture
def connection(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'checkpoints.db'}")
    database.prepare()
    with database.write() as connection:
        for name in NAMES:
            record_pipeline(connection, name)
        yield connection
    database.close()


def found(size):
    sequence = pipelines.c.next_sequence == sa.bindparam("sequence")
    query = sa.select(pipelines.c.name).where(among(pipelines.c.name, size)).where(sequence)
    return query.order_by(pipelines.c.id)


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 16, 17, 64, 65, 192, 193, 500, 501, 1_000, 1_193])
def test_a_statement_about_so_many_values_finds_each_once(connection, count):
    rows = run_among(connection, found, NAMES[:count], sequence=1)
    assert rows == [(name,) for name in NAMES[:count]]
    assert run_among(connection, found, NAMES[:count], sequence=2) == []


def test_values_that_are_not_there_are_not_found(connection):
    given = ["nowhere", NAMES[7], "nor there", NAMES[7], ""]
    assert run_among(connection, found, given, sequence=1) == [(NAMES[7],)]


def test_batches_have_all_items_in_their_order():
    items = list(range(BATCH * 2 + 1))
    cut = list(batches(items))
    assert [len(batch) for batch in cut] == [BATCH, BATCH, 1]
    assert [item for batch in cut for item in batch] == items
