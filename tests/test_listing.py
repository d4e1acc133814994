from __future__ import annotations

from datetime import date

import pytest
from labels import label
from sqlalchemy import column, or_

from checkpointdb import InvalidInputError, KeepWhere, checkpoints, has_key, meta

pytestmark = pytest.mark.databases


@pytest.mark.parametrize(
    "arguments",
    [
        {"where": "accuracy > 0.9"},
        {"where": lambda checkpoint: True},
        {"where": meta("accuracy")},
        {"where": True},
        {"where": checkpoints.c.checkpoint_id},
        {"where": column("colour") == 1},
        {"sort_by": "colour"},
        {"sort_by": None},
        {"sort_by": checkpoints.c.id.desc()},
        {"filter_fn": "accuracy > 0.9"},
        {"limit": -1},
        {"limit": 2.5},
        {"limit": True},
        {"offset": "2"},
        {"limit": 2**63},
        {"offset": 2**63},
    ],
    ids=label,
)
def test_a_list_that_makes_no_sense_is_refused_before_there_is_a_checkpoint_too(store, arguments):
    handle = store()
    for _ in range(2):
        with pytest.raises(InvalidInputError):
            handle.list_checkpoints(**arguments)
        handle.save({"a": 1})


def test_a_condition_with_more_values_than_a_database_takes_is_refused(store):
    where = checkpoints.c.checkpoint_id.in_([str(number) for number in range(300_000)])
    with pytest.raises(InvalidInputError, match="ask for less at once"):
        store().list_checkpoints(where=where)


def test_an_empty_store_answers_every_question(store):
    handle = store()
    where = (meta("accuracy") > 0.9) & ~has_key("a") & (checkpoints.c.state_bytes > 1)
    assert handle.list_checkpoints(where=where, sort_by=meta("accuracy"), limit=3) == []


def test_filters_and_orders_are_of_the_handles_own_pipeline(store):
    for name in ("one", "two"):
        handle = store(pipeline=name)
        for number in range(3):
            handle.save({"a": number}, f"{name}-{number}", custom_metadata={"n": number})
    where = (meta("n") > 0) & has_key("a")
    for name in ("one", "two"):
        found = store(pipeline=name).list_checkpoints(meta("n"), where=where, limit=2)
        assert [each.checkpoint_id for each in found] == [f"{name}-2", f"{name}-1"]
        assert [each.state_keys for each in found] == [["a"], ["a"]]
        assert [each.custom_metadata for each in found] == [{"n": 2}, {"n": 1}]


def test_a_number_that_no_double_equals_is_kept_and_not_found(store):
    handle = store()
    handle.save({}, "x", custom_metadata={"n": 10**400, "m": 2**53 + 1, "k": 2**53})
    [found] = handle.list_checkpoints(where=~meta("n").exists() & ~meta("m").exists())
    assert found.custom_metadata == {"n": 10**400, "m": 2**53 + 1, "k": 2**53}
    assert handle.list_checkpoints(where=meta("k") == 2**53) == [found]


@pytest.mark.sqlite
@pytest.mark.parametrize("pinned", [2, -1, 0.5, "true", b"1"], ids=label)
def test_what_is_neither_pinned_nor_not_is_the_newest_all_the_same(store, alter, pinned):
    handle = store()
    handle.save({"a": 1}, "one", pinned=True)
    handle.save({"a": 2}, "two")
    alter(handle, "UPDATE checkpoints SET pinned = ? WHERE checkpoint_id = 'two'", pinned)
    assert handle.load_latest()[1] == {"a": 2}


NOT_TO_BE_HELD = [
    checkpoints.c.checkpoint_id == "\ud800",
    checkpoints.c.created_at > "2026-01-31",
    checkpoints.c.created_at > date(2026, 1, 31),
    checkpoints.c.state_bytes > 2**70,
    checkpoints.c.state_bytes == object(),
]


def is_refused_wherever_it_is_asked(store, tmp_path, where, words):
    handle = store()
    handle.save({"n": 1}, "one")
    for ask in (
        lambda: handle.list_checkpoints(where=where),
        lambda: handle.copy_into(tmp_path / "copy", where=where),
        lambda: handle.plan_retention(KeepWhere(where)),
        lambda: store(retention_policy=KeepWhere(where)).save({"n": 2}, "two"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            ask()
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["one"]


@pytest.mark.parametrize("where", NOT_TO_BE_HELD, ids=str)
def test_a_value_that_a_column_cannot_hold_is_the_expressions_fault(store, tmp_path, where):
    is_refused_wherever_it_is_asked(store, tmp_path, where, "correct the expression")


def test_a_condition_nested_too_deep_is_the_expressions_fault(store, tmp_path):
    where = meta("n") == 0
    for number in range(1_000):
        where = (where | (meta("n") == number)) & (meta("n") != -number)
    is_refused_wherever_it_is_asked(store, tmp_path, where, "nested too deep")


@pytest.mark.sqlite
def test_a_condition_larger_than_sqlite_takes_is_the_expressions_fault(store, tmp_path):
    where = or_(*(meta("n") == number for number in range(1_200)))
    is_refused_wherever_it_is_asked(store, tmp_path, where, r"in_\(\) compares one field")
