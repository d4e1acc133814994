from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpointdb.database import Database
from checkpointdb.errors import InvalidInputError
from checkpointdb.records import RetentionPolicy
from checkpointdb.retention import KeepAll, KeepDaily, KeepNewest, KeepWithin, Scope, policy_of
from checkpointdb.retention.policy import as_retention
from checkpointdb.schema import chains, checkpoints, payloads, pipelines

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PIPELINE, OTHER = 1, 2


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path_factory.mktemp('retention') / 'checkpoints.db'}")
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture
def connection(database) -> Iterator[sa.Connection]:
    with database.write() as open_connection:
        yield open_connection
        open_connection.rollback()


def insert(connection, ages_and_pins, pipeline=PIPELINE) -> list[int]:
    """Save checkpoints of these ages in days, one after another; return their row ids."""
    name = f"p{pipeline}"
    connection.execute(sa.insert(pipelines).values(id=pipeline, name=name, next_sequence=1))
    chain = connection.execute(
        sa.insert(chains).values(uuid=name, pipeline_id=pipeline, next_depth=0)
    ).inserted_primary_key[0]
    payload = {"pipeline_id": pipeline, "name": name, "sha256": b"", "created_at": NOW}
    payload_id = connection.execute(
        sa.insert(payloads).values(**payload, stored_bytes=0, raw_bytes=0)
    ).inserted_primary_key[0]
    numbers = ("since_full", "state_bytes", "stored_bytes", "key_count", "format_version")
    fixed = dict.fromkeys(numbers, 0) | {"is_incremental": False, "is_encrypted": False}
    fixed |= {"pipeline_id": pipeline, "chain_id": chain, "payload_id": payload_id}
    return [
        connection.execute(
            sa.insert(checkpoints).values(
                **fixed,
                checkpoint_id=f"c{depth}",
                depth=depth,
                created_at=NOW - timedelta(days=age),
                pinned=pinned,
                state_digest=b"",
                custom_metadata={},
            )
        ).inserted_primary_key[0]
        for depth, (age, pinned) in enumerate(ages_and_pins)
    ]


def forgotten(connection, policy, pipeline=PIPELINE, now=NOW) -> list[int]:
    query = policy.forgettable(pipeline, now)
    return [] if query is None else [row_id for (row_id,) in query.run(connection)]


def plan(connection, query) -> str:
    compiled = query.prepared.statement.compile(connection)
    parameters = compiled.params | query.parameters
    values = tuple(str(parameters[name]) for name in compiled.positiontup)
    steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)
    return "\n".join(step[3] for step in steps)


def test_the_newest_are_the_last_saved_whatever_the_clock_said(connection):
    ids = insert(connection, [(0, False), (90, False), (-5, False), (400, False)])
    assert forgotten(connection, KeepNewest(2)) == [ids[0], ids[1]]


def test_pinned_checkpoints_are_kept_and_do_not_count(connection):
    ids = insert(connection, [(9, False), (8, True), (7, False), (6, True), (5, False)])
    assert forgotten(connection, KeepNewest(2)) == [ids[0]]
    assert forgotten(connection, KeepNewest(1)) == [ids[0], ids[2]]
    assert forgotten(connection, KeepWithin(1)) == [ids[0], ids[2], ids[4]]


def test_too_old_is_older_than_the_days_to_the_moment(connection):
    moment = timedelta(microseconds=1) / timedelta(days=1)
    ids = insert(connection, [(30, False), (30 + moment, False), (31, False)])
    assert forgotten(connection, KeepWithin(30)) == [ids[2], ids[1]]


def test_what_lies_in_the_future_is_never_forgotten(connection):
    ids = insert(connection, [(-1, False), (-1, False), (0, False), (1, False), (0, False)])
    assert forgotten(connection, KeepWithin(0)) == [ids[3]]
    assert forgotten(connection, KeepNewest(1)) == ids[2:4]


def test_days_before_the_calendar_begins_forget_nothing(connection):
    insert(connection, [(700_000, False)])
    assert KeepWithin(10**6).forgettable(PIPELINE, NOW) is None
    assert KeepWithin(10**30).forgettable(PIPELINE, NOW) is None


def test_keeping_all_forgets_nothing(connection):
    insert(connection, [(1000, False)])
    assert KeepAll().forgettable(PIPELINE, NOW) is None


def test_retention_stays_in_its_pipeline(connection):
    ours = insert(connection, [(5, False), (5, False)])
    theirs = insert(connection, [(5, False), (5, False)], OTHER)
    assert forgotten(connection, KeepNewest(1)) == [ours[0]]
    assert forgotten(connection, KeepWithin(1), OTHER) == theirs


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(st.integers(-2, 5), st.booleans()), max_size=12),
    number=st.integers(0, 6),
)
def test_what_is_forgotten_agrees_with_python(connection, rows, number):
    with connection.begin_nested() as savepoint:
        ids = insert(connection, rows)
        unpinned = [
            (age, row_id) for row_id, (age, pinned) in zip(ids, rows, strict=True) if not pinned
        ]
        old = [(-age, row_id) for age, row_id in unpinned if age > number]
        assert forgotten(connection, KeepWithin(number)) == [each for _, each in sorted(old)]
        if number:
            past = [row_id for age, row_id in unpinned[: -number or None] if age >= 0]
            assert forgotten(connection, KeepNewest(number)) == past
        savepoint.rollback()


def test_a_save_reads_off_an_index_what_to_forget(connection):
    assert plan(connection, KeepNewest(10).forgettable(PIPELINE, NOW)).splitlines() == [
        "SEARCH checkpoints USING INTEGER PRIMARY KEY (rowid=?)",
        "LIST SUBQUERY 1",
        "SEARCH checkpoints USING COVERING INDEX ix_checkpoints_pipeline_id_pinned_id "
        "(pipeline_id=? AND pinned=?)",
    ]
    assert plan(connection, KeepWithin(10).forgettable(PIPELINE, NOW)) == (
        "SEARCH checkpoints USING INDEX ix_checkpoints_pipeline_id_created_at "
        "(pipeline_id=? AND created_at<?)"
    )


@pytest.mark.parametrize("make", [KeepNewest, KeepWithin])
@pytest.mark.parametrize("number", [-1, True, 1.0, "3", None])
def test_a_number_that_makes_no_sense_is_refused(make, number):
    with pytest.raises(InvalidInputError, match="must be an integer of at least"):
        make(number)


def test_to_keep_none_is_refused():
    with pytest.raises(InvalidInputError, match=r"newest to keep must be .* at least 1, not 0"):
        KeepNewest(0)


@pytest.mark.parametrize("as_text", [False, True])
def test_the_public_names_give_policies(as_text):
    expected = {
        RetentionPolicy.KEEP_N_RECENT: KeepNewest(7),
        RetentionPolicy.DELETE_OLDER_THAN: KeepWithin(20),
        RetentionPolicy.KEEP_ALL: KeepAll(),
    }
    for name, policy in expected.items():
        assert policy_of(name.value if as_text else name, 7, 20) == policy


def test_a_number_that_the_policy_does_not_use_is_not_looked_at():
    assert policy_of("keep_all", 0, -1) == KeepAll()
    assert policy_of("keep_n_recent", 3, -1) == KeepNewest(3)


@pytest.mark.parametrize("name", ["keep_some", None, 3, [], KeepNewest])
def test_an_unknown_policy_is_refused_and_the_known_ones_are_named(name):
    with pytest.raises(InvalidInputError, match="'keep_n_recent', 'delete_older_than', 'keep_all'"):
        policy_of(name, 10, 30)


def test_a_policy_of_rules_is_taken_as_it_is():
    policy = KeepNewest(3) | KeepDaily(7)
    assert policy_of(policy, 0, -1) is policy
    assert policy_of(KeepDaily(2), 0, -1) == KeepDaily(2)


@pytest.mark.parametrize("policy", [KeepNewest(2), KeepWithin(3), KeepAll()], ids=str)
def test_the_statement_of_a_named_policy_forgets_what_its_rule_does_not_keep(connection, policy):
    ages = [(9, False), (1, False), (-2, False), (3, True), (4, False), (2, False), (0, False)]
    insert(connection, ages)
    kept = as_retention(policy).decide(Scope(PIPELINE, NOW), connection.execute).kept
    every = connection.scalars(Scope(PIPELINE, NOW).all())
    assert set(forgotten(connection, policy)) == set(every) - kept.keys()


def test_policies_are_frozen():
    with pytest.raises(FrozenInstanceError):
        KeepNewest(3).count = 4
