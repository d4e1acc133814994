"""The plans that SQLite makes for hot statements: searches in indexes, never a walk of a table."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select
from sqlalchemy.dialects import sqlite

from checkpointdb import KeepDaily, forgetting, queries
from checkpointdb.retention import Scope

SMALL = {"removals"}  # as many rows as files wait to be unlinked


@pytest.fixture
def full_store(store):
    handle = store(retention_policy="keep_all")
    for number in range(8):
        handle.save({"a": number, "b": "x" * 40_000, "c": number // 3}, f"c{number}")
    handle.load("c5")
    handle.save({"a": 0}, "fork", custom_metadata={"n": 1})
    return handle


def plan(handle, statement, **values):
    compiled = statement.compile(dialect=sqlite.dialect())
    given = {name: [1, 2] if bind.expanding else 1 for name, bind in compiled.binds.items()}
    expanded = compiled.construct_expanded_state({**given, **values})
    asked = f"EXPLAIN QUERY PLAN {expanded.statement}"
    with handle.query() as connection:
        rows = connection.exec_driver_sql(asked, tuple(expanded.positional_parameters))
        return [row[3] for row in rows]


SIZED = {
    queries: (
        "chunks_of",
        "members_by_id",
        "members_of_values",
        "values_by_digest",
        "chunks_by_digest",
    ),
    forgetting: (
        "_places",
        "_unlink_forks",
        "_delete_metadata",
        "_delete_checkpoints",
        "_delete_placed_values",
        "_dead_spread_values",
        "_delete_value_chunks",
        "_delete_values",
        "_delete_chunks",
        "_delete_members",
        "_delete_payloads",
    ),
}
HOT = {
    "state_at": queries.state_at(),
    "values_at": queries.values_at(),
    "head_values": queries.head_values(),
    "place_of_save": queries.place_of_save(),
    "place_by_checkpoint_id": queries.place_by_checkpoint_id(),
    "place_by_row": queries.place_by_row(),
    "newest_place": queries.newest_place(),
    "freed_payloads": queries.freed_payloads(1, queries.listed([1, 2])),
    **{
        f"{name} {size}": getattr(module, name)(size)
        for size in (1, 16)
        for module, names in SIZED.items()
        for name in names
    },
    **{
        name: getattr(forgetting, name).statement
        for name in ("_SURVIVORS", "_DELETE_ENTRIES", "_DELETE_LAST_ENTRIES", "_DELETE_CHAIN")
    },
}


@pytest.mark.parametrize("name", HOT)
def test_a_hot_statement_searches_indexes_and_scans_no_table(full_store, name):
    steps = plan(full_store, HOT[name])
    # What is named anon_… is no table: a subquery, or a list that it was given. Of leases there is
    # a row for each push under way.
    scans = [step for step in steps if step.startswith("SCAN") and "CONSTANT ROW" not in step]
    # Nor one of the payloads that are out of service: it is walked in an index of its own.
    small = ("SCAN anon_", "SCAN leases", "SCAN payloads USING INDEX ix_payloads_damaged")
    assert [step for step in scans if not step.startswith(small)] == []


@pytest.mark.parametrize("are_analyzed", [False, True])
@pytest.mark.parametrize(
    "statement", [queries.place_of_save(), select(queries.damaged_payloads()), queries.marked_in(1)]
)
def test_payloads_out_of_service_are_found_by_the_index_of_these_alone(
    full_store, statement, are_analyzed
):
    if are_analyzed:
        with full_store._engine.database.write() as connection:
            connection.exec_driver_sql("ANALYZE")
    looks = [step for step in plan(full_store, statement) if "payloads" in step]
    assert looks == ["SCAN payloads USING INDEX ix_payloads_damaged"]


@pytest.mark.parametrize("are_analyzed", [False, True])
def test_the_newest_is_found_without_sorting_the_others_or_walking_past_them(
    full_store, are_analyzed
):
    if are_analyzed:  # as if there were many
        with full_store._engine.database.write() as connection:
            connection.exec_driver_sql("ANALYZE")
            connection.exec_driver_sql("DELETE FROM sqlite_stat1 WHERE tbl = 'checkpoints'")
            connection.exec_driver_sql(
                "INSERT INTO sqlite_stat1 VALUES "
                "('checkpoints', 'ix_checkpoints_pipeline_id_pinned_id', '300000 300000 150000 1')"
            )
    steps = plan(full_store, queries.newest_place())
    assert not any("TEMP B-TREE" in step for step in steps)
    assert sum("(pipeline_id=? AND pinned=?)" in step for step in steps) == 2
    assert sum("(pipeline_id=? AND pinned" in step for step in steps) == 5


def test_a_state_is_found_in_its_chain_alone(full_store):
    assert any("chain_id=?" in step for step in plan(full_store, queries.state_at()))


def test_the_history_of_a_key_goes_by_chains_and_not_through_all_entries(full_store):
    steps = plan(full_store, queries.history("default", "a"))
    looked_up = [step for step in steps if "entries" in step]
    assert all("(chain_id=? AND key=?" in step for step in looked_up)
    assert not any(step.startswith("SCAN") for step in steps)


def test_a_calendar_rule_goes_from_bucket_to_bucket_by_the_index_of_times(full_store):
    steps = plan(full_store, KeepDaily(3).kept(Scope(1, datetime.now(UTC))))
    searches = [step for step in steps if "checkpoints USING COVERING INDEX" in step]
    assert any("(pipeline_id=? AND created_at>? AND created_at<?)" in step for step in searches)
    # For the newest bucket, for each one before, and to see that it is before.
    assert sum("(pipeline_id=? AND created_at<?)" in step for step in searches) == 3
    assert not any("SCAN checkpoints" in step for step in steps)


def test_a_list_of_rows_may_be_of_any_length(full_store):
    with full_store.query() as connection:
        rows = queries.listed(range(200_000))
        assert connection.scalar(select(func.count()).select_from(rows)) == 200_000
        assert list(connection.scalars(select(queries.listed([3, 1, 2]).c.id))) == [3, 1, 2]


def test_payloads_are_needed_by_the_newest_that_needs_them(archive):
    archive.save({"a": "x" * 50_000}, "c1")
    archive.save({"a": "x" * 50_000, "b": 1}, "c2")
    archive.save({"a": 0, "b": 1}, "c3")
    with archive.query() as connection:
        needs = connection.execute(queries.payload_needs(queries.listed([1, 2, 3]))).all()
    assert [tuple(each) for each in needs] == [(1, 2), (2, 3), (3, 3)]
