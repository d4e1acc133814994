from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from effort import some
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labels import label
from sqlalchemy import schema
from sqlalchemy.dialects import postgresql

from checkpointdb.custom_metadata import MAX_INDEXED_TEXT, flatten
from checkpointdb.database import Database
from checkpointdb.errors import InvalidInputError
from checkpointdb.filters import (
    Condition,
    has_key,
    meta,
    select_checkpoints,
)
from checkpointdb.filters.planning import planned
from checkpointdb.schema import (
    chains,
    checkpoint_metadata,
    checkpoints,
    entries,
    payloads,
    pipelines,
    state_values,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
PIPELINE, OTHER = "main", "other"
IDS = {PIPELINE: 1, OTHER: 2}


# --- a store's rows, without its files


@dataclass
class Row:
    metadata: dict[str, Any]
    keys: frozenset[str] = frozenset()
    state_bytes: int = 0
    minutes: int = 0


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path_factory.mktemp('filters') / 'checkpoints.db'}")
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture
def connection(database) -> Iterator[sa.Connection]:
    with database.write() as open_connection:
        yield open_connection
        open_connection.rollback()


def insert(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Save `rows` one after another in one chain, with row ids from 1."""
    _insert_around(connection, len(rows))
    for depth, row in enumerate(rows):
        connection.execute(sa.insert(checkpoints), _checkpoint(depth, row))
        fields = [
            {"checkpoint_id": depth + 1, "key": key, "number": number, "text": text}
            for key, number, text in flatten(row.metadata)
        ]
        if fields:
            connection.execute(sa.insert(checkpoint_metadata), fields)
    for key in {"x", "y"}.union(*(row.keys for row in rows)):
        _insert_key(connection, key, [key in row.keys for row in rows])


def _insert_around(connection: sa.Connection, depth: int) -> None:
    names = [{"id": row_id, "name": name} for name, row_id in IDS.items()]
    connection.execute(sa.insert(pipelines).values(next_sequence=1), names)
    connection.execute(
        sa.insert(chains).values(id=1, uuid="c", pipeline_id=IDS[PIPELINE], next_depth=depth)
    )
    payload = {"id": 1, "pipeline_id": IDS[PIPELINE], "name": "p", "sha256": b""}
    sizes = {"stored_bytes": 0, "raw_bytes": 0}
    connection.execute(sa.insert(payloads).values(**payload, **sizes, created_at=START))
    value = {"id": 1, "pipeline_id": IDS[PIPELINE], "digest": b"", "payload_id": 1, "raw_bytes": 0}
    connection.execute(
        sa.insert(state_values).values(**value, type_name="int", serializer="p", layout="")
    )


def _checkpoint(depth: int, row: Row) -> dict[str, Any]:
    fixed = dict.fromkeys(("is_incremental", "is_encrypted", "pinned"), False)
    return fixed | {
        "id": depth + 1,
        "pipeline_id": IDS[PIPELINE],
        "checkpoint_id": f"c{depth:03d}",
        "chain_id": 1,
        "depth": depth,
        "created_at": START + timedelta(minutes=row.minutes),
        "format_version": 2,
        "payload_id": 1,
        "since_full": 0,
        "state_digest": b"",
        "state_bytes": row.state_bytes,
        "stored_bytes": -depth,
        "key_count": len(row.keys),
        "custom_metadata": row.metadata,
    }


def _insert_key(connection: sa.Connection, key: str, present: list[bool]) -> None:
    starts = [at for at, here in enumerate(present) if at == 0 or here != present[at - 1]]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        if present[start] or start > 0:
            connection.execute(
                sa.insert(entries).values(
                    chain_id=1,
                    key=key,
                    from_depth=start,
                    to_depth=end,
                    value_id=1 if present[start] else None,
                    position=0,
                    payload_id=1,
                )
            )


def as_if_large(connection: sa.Connection) -> Callable[[sa.Select[int]], int]:
    """Count what matches, and all as a million, so that it is worth counting."""

    def count(statement: sa.Select[int]) -> int:
        counted: int = connection.execute(statement).scalar_one()
        return counted if statement.get_final_froms() else 1_000_000

    return count


def found(connection: sa.Connection, where: Any = None, **options: Any) -> list[int]:
    """Return the indexes of the rows that match, oldest first unless told otherwise."""
    options = {"sort_by": checkpoints.c.id, "reverse": False} | options
    statement = select_checkpoints(PIPELINE, where, **options)
    return [row_id - 1 for row_id in connection.execute(statement).scalars()]


def asked(where: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return `where` as it is asked of each checkpoint of a store too small for counting."""
    return planned(where, lambda _: 1_000)


FORMS = pytest.mark.parametrize("form", [lambda where: where, asked], ids=["listed", "asked"])


def plan(connection: sa.Connection, statement: sa.Select[Any]) -> str:
    text = statement.compile(connection, compile_kwargs={"literal_binds": True})
    steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")
    return "\n".join(step[3] for step in steps)


# --- what a condition means

METADATA = [
    {"v": 3},
    {"v": 3.5},
    {"v": True},
    {"v": "x"},
    {"v": "xy_z"},
    {"v": None},
    {"w": 3},
    {"v": "é"},
    {"v": [3]},
    {"v": "X"},
]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (meta("v") == 3, [0]),
        (meta("v") == True, [2]),  # noqa: E712
        (meta("v") == 1.0, [2]),
        (meta("v") == np.int64(3), [0]),
        (meta("v") == np.bool_(True), [2]),
        (meta("v") > np.float32(3.25), [1]),
        (meta("v").in_([np.uint8(3), np.str_("x")]), [0, 3]),
        (meta("v").between(np.int32(1), np.float16(3)), [0, 2]),
        (meta("v") == "x", [3]),
        (meta("v") == None, [5]),  # noqa: E711
        (meta("v").is_(None), [5]),
        (meta("v").is_(True), [2]),
        (meta("v").is_not(None), [0, 1, 2, 3, 4, 7, 9]),
        (meta("v") != 3, [1, 2, 3, 4, 5, 7, 9]),
        (meta("v") != "x", [0, 1, 2, 4, 5, 7, 9]),
        (meta("v") != None, [0, 1, 2, 3, 4, 7, 9]),  # noqa: E711
        (~(meta("v") == 3), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (~~(meta("v") == 3), [0]),
        (meta("v") > 1, [0, 1]),
        (meta("v") >= 1, [0, 1, 2]),
        (meta("v") < 3.5, [0, 2]),
        (meta("v") <= 3.5, [0, 1, 2]),
        (3 <= meta("v"), [0, 1]),  # noqa: SIM300  # either side
        (meta("v") < math.inf, [0, 1, 2]),
        (meta("v") > "x", [4, 7]),
        (meta("v") <= "x", [3, 9]),
        (meta("v").between(1, 3), [0, 2]),
        (meta("v").between("x", "y"), [3, 4]),
        (meta("v").in_([3, "x", None]), [0, 3, 5]),
        (meta("v").in_([3]), [0]),
        (meta("v").in_([]), []),
        (meta("v").startswith("x"), [3, 4]),
        (meta("v").startswith("xy_"), [4]),
        (meta("v").startswith("x%"), []),
        (meta("v").startswith(""), [3, 4, 7, 9]),
        (meta("v").exists(), [0, 1, 2, 3, 4, 5, 7, 9]),
        (~meta("v").exists(), [6, 8]),
        (meta("absent") == 3, []),
    ],
    ids=label,
)
@FORMS
def test_a_comparison_matches_numbers_with_numbers_and_texts_with_texts(
    connection, condition, expected, form
):
    insert(connection, [Row(each) for each in METADATA])
    assert found(connection, form(condition)) == expected


def test_a_path_joins_nested_names_and_escapes_dots_in_names(connection):
    insert(connection, [Row({"a": {"b": 1}}), Row({"a.b": 1}), Row({"a\\": {"b": 1}})])
    assert found(connection, meta("a.b") == 1) == [0]
    assert found(connection, meta(r"a\.b") == 1) == [1]
    assert found(connection, meta(r"a\\.b") == 1) == [2]


@pytest.mark.parametrize("last", ["a", "\ud7ff", "\U0010ffff", "a\U0010ffff"])
def test_a_prefix_may_end_in_any_character(connection, last):
    insert(connection, [Row({"v": last}), Row({"v": last + "\U0010ffff"}), Row({"v": "\ue000"})])
    assert found(connection, meta("v").startswith(last)) == [0, 1]


def test_conditions_combine_with_columns_on_either_side(connection):
    insert(connection, [Row({"v": at % 3}, state_bytes=at) for at in range(9)])
    large = checkpoints.c.state_bytes > 3
    assert found(connection, large & (meta("v") == 1)) == [4, 7]
    assert found(connection, (meta("v") == 1) & large) == [4, 7]
    assert found(connection, sa.and_(meta("v") == 1, ~large)) == [1]
    assert found(connection, sa.or_(meta("v") == 1, large, sa.false())) == [1, 4, 5, 6, 7, 8]
    assert found(connection, sa.not_((meta("v") == 1) | large)) == [0, 2, 3]


@pytest.mark.parametrize("count", [None, lambda _: 1_000_000], ids=["unplanned", "planned"])
def test_raw_sql_is_an_expression_too(connection, count):
    insert(connection, [Row({}, state_bytes=at) for at in range(3)])
    where = sa.text("state_bytes = 0 OR state_bytes = 2")
    assert found(connection, where, count=count) == [0, 2]
    assert connection.scalars(select_checkpoints(OTHER, where, count=count)).all() == []


def test_a_condition_stands_in_any_select_of_checkpoints(connection):
    insert(connection, [Row({"v": at}) for at in range(4)])
    joined = (
        sa.select(checkpoint_metadata.c.number)
        .join(checkpoints, checkpoints.c.id == checkpoint_metadata.c.checkpoint_id)
        .where(meta("v") > 1)
        .order_by(checkpoint_metadata.c.number)
    )
    assert connection.scalars(joined).all() == [2, 3]
    assert connection.scalar(sa.select(sa.func.count()).where(meta("v") > 1)) == 2
    assert connection.scalars(joined.where(asked(meta("v") > 1))).all() == [2, 3]


@FORMS
def test_a_cached_statement_never_answers_for_another_condition(connection, form):
    insert(connection, [Row({"v": at, "w": -at, "t": "x"}) for at in range(4)])
    for _ in range(2):
        assert found(connection, form(meta("v") > 1)) == [2, 3]
        assert found(connection, form(meta("v") > 2)) == [3]
        assert found(connection, form(meta("w") > -1)) == [0]
        assert found(connection, form(meta("v") <= 1)) == [0, 1]
        assert found(connection, form(meta("t") == "x")) == [0, 1, 2, 3]
        assert found(connection, form(has_key("x"))) == []


@FORMS
def test_a_key_is_had_from_its_opening_until_it_is_closed_or_absent(connection, form):
    present = [{"x"}, {"x", "y"}, {"y"}, {"y"}, {"x"}, set()]
    insert(connection, [Row({}, frozenset(keys)) for keys in present])
    for key, expected in {"x": [0, 1, 4], "y": [1, 2, 3], "z": []}.items():
        condition = has_key(key)
        assert found(connection, form(condition)) == expected
        assert connection.scalar(condition.counting(100)) == len(expected)


# --- mistakes


def test_a_condition_has_no_truth_value_in_python():
    condition = meta("v") > 1
    for use in (
        lambda: bool(condition),
        lambda: condition and has_key("x"),
        lambda: not condition,
        lambda: 0.5 < meta("v") < 0.9,
        lambda: meta("v") in [1, 2],
    ):
        with pytest.raises(TypeError, match=r"by & \| ~"):
            use()
    with pytest.raises(TypeError, match="exists"):
        bool(meta("v"))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: meta("v") == datetime.now(UTC), "ISO 8601"),
        (lambda: meta("v") == np.datetime64("2026-01-01"), "not with datetime64"),
        (lambda: meta("v") == np.arange(2), "not with ndarray"),
        (lambda: meta("v") == np.float32("nan"), "NaN"),
        (lambda: meta("v") == 2**53 + 1, "as text"),
        (lambda: meta("v").in_([2**70, 2**70 - 1]), "as text"),
        (lambda: meta("v") > -(10**400), "as text"),
        (lambda: meta("v") == math.nan, "NaN"),
        (lambda: meta("v") == b"x", "not with bytes"),
        (lambda: meta("v") == [1], "not with list"),
        (lambda: meta("v") > None, "null has no order"),
        (lambda: meta("v") == "x" * (MAX_INDEXED_TEXT + 1), "not indexed"),
        (lambda: meta("v") == "a\0b", "NUL"),
        (lambda: meta("v").startswith("\ud800"), "surrogate"),
        (lambda: meta("v").startswith(1), "takes a text"),
        (lambda: meta("v").between(1, "x"), "mixes"),
        (lambda: meta("v").in_("abc"), "list of values"),
        (lambda: meta("v").in_(range(10_001)), "up to 10000"),
        (lambda: meta("v").in_([math.nan]), "NaN"),
        (lambda: meta("v") == meta("w"), "parentheses"),
        (lambda: meta("v") == checkpoints.c.id, "parentheses"),
        (lambda: meta("a\0b"), "NUL"),
        (lambda: meta("\udfff"), "surrogate"),
        (lambda: meta(3), "is text"),
        (lambda: meta("a\\b"), "backslash"),
        (lambda: has_key(3), "is text"),
        (lambda: has_key("\0"), "NUL"),
        (lambda: select_checkpoints(PIPELINE, meta("v")), "exists()"),
        (lambda: select_checkpoints(PIPELINE, lambda checkpoint: True), "filter_fn"),
        (lambda: select_checkpoints(PIPELINE, "v > 3"), "expression, not str"),
        (lambda: select_checkpoints(PIPELINE, True, count=len), "expression, not bool"),
        (lambda: select_checkpoints(PIPELINE, sort_by="colour"), "'timestamp', 'size'"),
        (lambda: select_checkpoints(PIPELINE, sort_by=checkpoints.c.id.desc()), "use reverse"),
        (lambda: select_checkpoints(PIPELINE, limit=-1), "limit"),
        (lambda: select_checkpoints(PIPELINE, limit=True), "limit"),
        (lambda: select_checkpoints(PIPELINE, offset=1.5), "offset"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(use, message):
    with pytest.raises(InvalidInputError) as caught:
        use()
    assert message in str(caught.value)


def test_a_missing_parenthesis_does_not_go_unnoticed():
    with pytest.raises(TypeError, match="Condition"):
        assert meta("v") == 3 & has_key("x")
    with pytest.raises(InvalidInputError, match="parentheses"):
        assert meta("v") == has_key("x") & has_key("y")


def test_a_field_is_compared_by_the_database_and_hashed_by_identity():
    field = meta("v")
    assert {field: 1}[field] == 1
    assert isinstance(field == 3, Condition)
    assert repr(field == 3) == "<Condition meta('v') == 3>"


# --- orders


@pytest.mark.parametrize("reverse", [False, True])
def test_a_field_sorts_numbers_then_texts_then_the_rest(connection, reverse):
    values: list[Any] = [2, "b", None, 10, "a", 2, "é", [1]]
    insert(connection, [*(Row({"v": value}) for value in values), Row({})])
    numbers, texts, rest = [0, 5, 3], [4, 1, 6], [2, 7, 8]
    turned = [part[::-1] if reverse else part for part in (numbers, texts, rest)]
    assert found(connection, sort_by=meta("v"), reverse=reverse) == [*chain(*turned)]


@FORMS
def test_a_field_sorts_what_a_condition_on_it_leaves(connection, form):
    insert(connection, [Row({"v": at * 7 % 5, "w": at % 2}) for at in range(5)])
    where = form((meta("w") == 0) & (meta("v") > 0))
    assert found(connection, where, sort_by=meta("v"), reverse=True) == [2, 4]


@pytest.mark.parametrize(
    ("sort_by", "expected"),
    [
        ("timestamp", [2, 0, 1]),
        ("size", [2, 1, 0]),
        ("size_bytes", [2, 1, 0]),
        ("id", [0, 1, 2]),
        ("checkpoint_id", [0, 1, 2]),
        ("name", [0, 1, 2]),
        (checkpoints.c.state_bytes, [1, 0, 2]),
        (checkpoints.c.state_bytes % 2, [0, 2, 1]),
        (sa.func.nullif(checkpoints.c.state_bytes, 1), [0, 2, 1]),
    ],
    ids=label,
)
def test_every_order_is_total_and_turns(connection, sort_by, expected):
    times_and_sizes = [(5, 4), (5, 1), (3, 6)]
    insert(connection, [Row({}, minutes=time, state_bytes=size) for time, size in times_and_sizes])
    assert found(connection, sort_by=sort_by, reverse=False) == expected
    if isinstance(sort_by, (str, sa.Column)):
        assert found(connection, sort_by=sort_by, reverse=True) == expected[::-1]


def test_what_an_expression_leaves_null_comes_last_whichever_direction(connection):
    insert(connection, [Row({}, state_bytes=at) for at in range(3)])
    term = sa.func.nullif(checkpoints.c.state_bytes, 1)
    assert found(connection, sort_by=term, reverse=True) == [2, 0, 1]


def test_pages_join_to_the_whole_list(connection):
    insert(connection, [Row({"v": 1}, minutes=at // 3) for at in range(10)])
    whole = found(connection, meta("v") == 1, sort_by="timestamp", reverse=True)
    pages = [
        found(connection, meta("v") == 1, sort_by="timestamp", reverse=True, limit=3, offset=at)
        for at in range(0, 12, 3)
    ]
    assert [*chain(*pages)] == whole == list(range(9, -1, -1))
    assert found(connection, offset=8) == [8, 9]
    assert found(connection, limit=0) == []


@FORMS
@pytest.mark.parametrize("pipeline", [OTHER, "unknown"])
def test_another_pipeline_is_not_listed(connection, pipeline, form):
    insert(connection, [Row({"v": 1})])
    assert connection.scalars(select_checkpoints(pipeline, form(meta("v") == 1))).all() == []


# --- planning


def test_counting_stops_at_the_bound(connection):
    insert(connection, [Row({"v": at}) for at in range(9)])
    for condition, matches in ((meta("v") > 2, 6), (meta("v") != 2, 8), (has_key("x"), 0)):
        assert connection.scalar(condition.counting(100)) == matches
        assert connection.scalar(condition.counting(4)) == min(matches, 4)


@pytest.mark.parametrize("total", [0, 1_000])
def test_a_small_store_is_not_counted(total):
    answers = iter([total])
    planned((meta("v") > 1) & has_key("x"), lambda _: next(answers), 50)


def test_the_total_is_estimated_from_both_ends(connection):
    def total() -> int:
        asked = []
        planned(meta("v") > 1, lambda counted: asked.append(connection.scalar(counted)) or 0)
        return asked[0]

    assert total() == 0
    insert(connection, [Row({}) for _ in range(5)])
    connection.execute(sa.delete(checkpoints).where(checkpoints.c.id.in_([1, 3])))
    assert total() == 4


FEW, SOME, MANY = 100, 10_000, 500_000


def million(matches: Iterable[int]) -> Callable[[sa.Select[int]], int]:
    """Count as if there were a million checkpoints, of which so many match each condition."""
    left = iter(matches)

    def count(statement: sa.Select[int]) -> int:
        [source] = statement.get_final_froms() or [None]
        return 1_000_000 if source is None else min(next(left), source.element._limit_clause.value)

    return count


def begins_with(
    where: sa.ColumnElement[bool], counts: list[int], wanted: int | None = 50
) -> list[str]:
    """Return the conditions whose matches are listed, when a million checkpoints are asked."""
    return listed_in(planned(where, million(counts), wanted))


def listed_in(chosen: sa.ColumnElement[bool]) -> list[str]:
    return [
        each.question for each in sa.sql.visitors.iterate(chosen) if isinstance(each, Condition)
    ]


A, B = meta("a") == 1, meta("b") == 1
IS_LARGE = checkpoints.c.state_bytes > 1
ON_A, ON_B = "meta('a') == 1", "meta('b') == 1"


@pytest.mark.parametrize(
    ("where", "counts", "expected"),
    [
        (A, [FEW], [ON_A]),
        (A, [SOME], []),
        (A, [MANY], []),
        (A & B, [FEW, MANY], [ON_A]),
        (A & B, [MANY, FEW], [ON_B]),
        (A & B, [MANY, MANY], []),
        (A & B, [SOME, SOME - 1], [ON_B]),
        (sa.and_(B, IS_LARGE & A), [MANY, FEW], [ON_A]),
        (A & IS_LARGE, [FEW], [ON_A]),
        (A & IS_LARGE, [SOME], []),
        (A | B, [FEW, FEW], [ON_A, ON_B]),
        (A | B, [FEW, MANY], []),
        (IS_LARGE & (A | B), [FEW, FEW], [ON_A, ON_B]),
        (A | IS_LARGE, [], []),
        (~A, [], []),
        (~A & B, [FEW], [ON_B]),
        (A & (B | IS_LARGE), [FEW], [ON_A]),
    ],
)
def test_what_few_match_is_visited_and_what_many_match_is_asked(where, counts, expected):
    assert sorted(begins_with(where, counts)) == expected


def test_without_a_limit_even_many_matches_are_visited():
    assert begins_with(A, [100_000], wanted=None) == [ON_A]
    assert begins_with(A, [900_000], wanted=None) == []


def test_of_a_million_no_more_are_counted_than_needed_where_few_match_one_condition():
    bounds = []

    def count(statement: sa.Select[int]) -> int:
        [source] = statement.get_final_froms() or [None]
        if source is None:
            return 1_000_000
        bounds.append(source.element._limit_clause.value)
        return min(MANY if len(bounds) % 2 else FEW, bounds[-1])

    chosen = planned(A & B, count, None)  # as a run is looked for that is resumed
    assert bounds == [1_000, 1_000]
    assert listed_in(chosen) == [ON_B]


def test_a_condition_within_a_subselect_is_asked_too(connection):
    insert(connection, [Row({"v": at}) for at in range(4)])
    inner = sa.select(checkpoints.c.id).where(meta("v") > 1).correlate(None)
    where = checkpoints.c.id.in_(inner)
    assert found(connection, planned(where, million([]), 50)) == [2, 3]


# --- plans of SQLite, which knows no statistics of a store

BY_TIME = "USING COVERING INDEX ix_checkpoints_pipeline_id_created_at (pipeline_id=?)"


@pytest.mark.parametrize(
    ("form", "first", "searched", "sorts"),
    [
        (
            lambda where: where,
            "SEARCH checkpoints USING INTEGER PRIMARY KEY (rowid=?)",
            "COVERING INDEX ix_checkpoint_metadata_key_",
            True,
        ),
        (
            asked,
            f"SEARCH checkpoints {BY_TIME}",
            "PRIMARY KEY (checkpoint_id=? AND key=?)",
            False,
        ),
    ],
    ids=["listed", "asked"],
)
@pytest.mark.parametrize(
    "condition",
    [
        meta("v") > 1,
        meta("v") != 1,
        meta("v") == "x",
        meta("v").in_([1, 2, "x"]),
        meta("v").startswith("x"),
        meta("v") != None,  # noqa: E711
        meta("v").exists(),
    ],
    ids=label,
)
def test_matches_are_visited_or_the_newest_asked(
    connection, condition, form, first, searched, sorts
):
    steps = plan(connection, select_checkpoints(PIPELINE, form(condition), limit=50))
    assert steps.startswith(first)
    assert f"SEARCH checkpoint_metadata USING {searched}" in steps
    assert ("TEMP B-TREE FOR ORDER BY" in steps) is sorts
    assert "SCAN" not in steps


def test_a_comparison_searches_the_index_for_its_value(connection):
    for condition, bounds in {
        meta("v") > 1: ["number>?"],
        meta("v") == "x": ["text=?"],
        meta("v") != 1: ["number<?", "number>?", "number=?"],
        meta("v").startswith("x"): ["text>? AND text<?"],
        meta("v").between(1, 2): ["number>? AND number<?"],
        meta("v").is_not(None): ["number>?", "text>?"],
    }.items():
        steps = plan(connection, condition.counting(10))
        for bound in bounds:
            assert f"(key=? AND {bound})" in steps


def test_a_key_is_sought_chain_by_chain(connection):
    steps = plan(connection, has_key("x").counting(10))
    assert "SCAN chains USING COVERING INDEX" in steps
    assert "SEARCH entries USING PRIMARY KEY (chain_id=? AND key=?)" in steps
    assert "(chain_id=? AND depth>? AND depth<?)" in steps
    steps = plan(connection, select_checkpoints(PIPELINE, asked(has_key("x"))))
    assert "SEARCH entries USING PRIMARY KEY (chain_id=? AND key=? AND from_depth<?)" in steps


def test_the_newest_are_read_off_an_index(connection):
    steps = plan(connection, select_checkpoints(PIPELINE, limit=50))
    assert steps.startswith(f"SEARCH checkpoints {BY_TIME}")
    assert "SCAN" not in steps
    assert "TEMP B-TREE" not in steps


# --- PostgreSQL


def test_postgresql_compares_texts_by_code_point_too():
    dialect = postgresql.dialect()
    assert 'COLLATE "C"' in str(schema.CreateTable(checkpoint_metadata).compile(dialect=dialect))
    for form in (lambda where: where, asked):
        where = form((meta("v") > "x") & (meta("w") > 1) & has_key("z"))
        select_checkpoints(PIPELINE, where, sort_by=meta("v")).compile(dialect=dialect)


# --- against Python

NAMES = st.sampled_from(["a", "b", "n.a", "a\\"])
NUMBERS = st.one_of(st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, -0.0, 1e300, 2.0**53]))
TEXTS = st.text("aAbé%_\ud7ff\ue000\U0010ffff", max_size=3)
SCALARS = st.one_of(NUMBERS, TEXTS)
VALUES = st.one_of(SCALARS, st.none(), st.lists(NUMBERS, max_size=1))
METADATAS = st.dictionaries(
    st.sampled_from(["a", "b", "n", "n.a", "a\\"]),
    VALUES | st.dictionaries(st.sampled_from(["a", "b"]), VALUES, max_size=2),
    max_size=4,
)
ROWS = st.lists(
    st.builds(
        Row,
        METADATAS,
        st.frozensets(st.sampled_from(["x", "y"])),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=7,
)
Test = Callable[[Row], bool]

MISSING = object()


def value_at(metadata: dict[str, Any], names: list[str]) -> Any:
    """Return the scalar or null that is at a path; MISSING for all else."""
    at: Any = metadata
    for name in names:
        at = at.get(name, MISSING) if isinstance(at, dict) else MISSING
    return MISSING if isinstance(at, (dict, list)) else at


def comparable(one: Any, other: Any) -> bool:
    texts = isinstance(one, str), isinstance(other, str)
    return one is not None and texts[0] == texts[1]


@st.composite
def comparisons(draw) -> tuple[sa.ColumnElement[bool], Test]:
    name, nested = draw(NAMES), draw(st.booleans())
    names = name.split(".") if nested else [name]
    escaped = [part.replace("\\", "\\\\").replace(".", "\\.") for part in names]
    field = meta(".".join(escaped))
    value = draw(SCALARS)
    condition, test = draw(st.sampled_from(_comparisons(field, value, draw)))

    def holds(row: Row) -> bool:
        got = value_at(row.metadata, names)
        return got is not MISSING and test(got)

    return condition, holds


def _comparisons(field, value, draw) -> list[tuple[Condition, Callable[[Any], bool]]]:
    other = draw(NUMBERS if not isinstance(value, str) else TEXTS)
    several = draw(st.lists(SCALARS | st.none(), max_size=3))
    prefix = value if isinstance(value, str) else "a"
    return [
        (field == value, lambda got: comparable(got, value) and got == value),
        (field != value, lambda got: not (comparable(got, value) and got == value)),
        (field < value, lambda got: comparable(got, value) and got < value),
        (field <= value, lambda got: comparable(got, value) and got <= value),
        (field > value, lambda got: comparable(got, value) and got > value),
        (field >= value, lambda got: comparable(got, value) and got >= value),
        (field.between(value, other), lambda got: comparable(got, value) and value <= got <= other),
        (field.in_(several), lambda got: got in several),
        (field.startswith(prefix), lambda got: isinstance(got, str) and got.startswith(prefix)),
        (field.exists(), lambda got: True),
        (field.is_(None), lambda got: got is None),
        (field.is_not(None), lambda got: got is not None),
    ]


LEAVES = st.one_of(
    comparisons(),
    st.sampled_from("xyz").map(lambda key: (has_key(key), lambda row: key in row.keys)),
    st.integers(0, 3).map(
        lambda size: (checkpoints.c.state_bytes > size, lambda row: row.state_bytes > size)
    ),
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(
            lambda two: (two[0][0] & two[1][0], lambda row: two[0][1](row) and two[1][1](row))
        ),
        st.tuples(inner, inner).map(
            lambda two: (two[0][0] | two[1][0], lambda row: two[0][1](row) or two[1][1](row))
        ),
        inner.map(lambda one: (~one[0], lambda row: not one[1](row))),
    ),
    max_leaves=5,
)
MANY_TIMES = settings(
    max_examples=some(60, long=150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@MANY_TIMES
@given(rows=ROWS, expression=EXPRESSIONS, data=st.data())
def test_every_form_finds_what_python_finds(connection, rows, expression, data):
    where, holds = expression
    expected = [at for at, row in enumerate(rows) if holds(row)]
    numbers = st.sampled_from([FEW, SOME, MANY])
    with connection.begin_nested() as savepoint:
        insert(connection, rows)
        for each in (
            where,
            asked(where),
            planned(where, as_if_large(connection), 1),
            planned(where, million(iter(lambda: data.draw(numbers), None)), 50),
        ):
            assert found(connection, each) == expected
        savepoint.rollback()


@MANY_TIMES
@given(rows=ROWS, reverse=st.booleans())
def test_sorting_by_a_field_agrees_with_python(connection, rows, reverse):
    def key(at: int) -> tuple[Any, ...]:
        value = value_at(rows[at].metadata, ["a"])
        kind = 2 if value is None or value is MISSING else int(isinstance(value, str))
        return kind, (value if kind < 2 else 0)

    indexes = sorted(range(len(rows)), reverse=reverse)
    expected = [
        at
        for kind in (0, 1, 2)
        for at in sorted((at for at in indexes if key(at)[0] == kind), key=key, reverse=reverse)
    ]
    with connection.begin_nested() as savepoint:
        insert(connection, rows)
        assert found(connection, sort_by=meta("a"), reverse=reverse) == expected
        savepoint.rollback()


@MANY_TIMES
@given(
    rows=ROWS,
    expression=EXPRESSIONS,
    matches=st.sampled_from([FEW, MANY]),
    limit=st.integers(0, 4),
    offset=st.integers(0, 3),
)
def test_a_planned_list_is_a_page_of_the_newest(
    connection, rows, expression, matches, limit, offset
):
    where, holds = expression
    matching = [at for at, row in enumerate(rows) if holds(row)]
    newest = sorted(matching, key=lambda at: (rows[at].minutes, at), reverse=True)
    with connection.begin_nested() as savepoint:
        insert(connection, rows)
        statement = select_checkpoints(
            PIPELINE, where, limit=limit, offset=offset, count=million(repeat(matches))
        )
        ids = connection.execute(statement).scalars().all()
        assert [row_id - 1 for row_id in ids] == newest[offset : offset + limit]
        savepoint.rollback()
