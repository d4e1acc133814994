from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpointdb.custom_metadata import (
    MAX_DEPTH,
    MAX_INDEXED_TEXT,
    as_double,
    checked,
    flatten,
    value_at,
)
from checkpointdb.errors import InvalidInputError

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NAMES = TEXTS | st.text(r"ab.\ ", max_size=4)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
)
METADATAS = st.dictionaries(NAMES, VALUES, max_size=4)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


# --- what is metadata


@given(METADATAS)
def test_metadata_comes_back_as_json_gives_it_back(metadata):
    copy = checked(metadata)
    assert copy == metadata
    assert copy is not metadata
    assert json.loads(json.dumps(copy)) == copy


def test_no_metadata_is_empty_metadata():
    assert checked(None) == {}


def test_tuples_come_back_as_lists():
    assert checked({"a": (1, ("b",))}) == {"a": [1, ["b"]]}


def test_scalars_of_numpy_are_the_numbers_that_they_are_at_any_depth():
    metadata = {
        "loss": np.float32(0.5),
        "run": {"steps": [np.int64(3), (np.uint8(4),)], "done": np.bool_(True)},
        "best": np.array(2.5),
        "name": np.str_("n17"),
    }
    copy = checked(metadata)
    assert copy == {
        "loss": 0.5,
        "run": {"steps": [3, [4]], "done": True},
        "best": 2.5,
        "name": "n17",
    }
    assert copy["run"]["done"] is True


CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = [CIRCLE]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([("a", 1)], "a dictionary, not list"),
        ("a", "a dictionary, not str"),
        ({"a": math.nan}, "JSON"),
        ({"a": [math.inf]}, "JSON"),
        ({"a": datetime(2026, 1, 1, tzinfo=UTC)}, "datetime"),
        ({"a": b"x"}, "bytes"),
        ({"a": {1, 2}}, "set"),
        ({"a": 10**5_000}, "JSON"),
        (CIRCLE, "JSON"),
        ({1: "a"}, "no text: 1"),
        ({"a": [{None: 1}]}, "no text: None"),
        ({"a": {True: 1}}, "no text: True"),
        ({("a", "b"): 1}, "JSON"),
        ({"a": "b\0"}, "NUL"),
        ({"a": [{"b\0": 1}]}, "NUL"),
        ({"a": "\ud800"}, "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        (nested(MAX_DEPTH), "nested deeper"),
        (nested(100_000), "JSON"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_no_database_can_hold_is_refused_with_the_reason(metadata, message):
    with pytest.raises(InvalidInputError) as caught:
        checked(metadata)
    assert message in str(caught.value)
    assert "metadata" in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"a": 1, "run": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}, "['run']['when']"),
        ({"a": [0, {"b": math.nan}]}, "['a'][1]['b']"),
        ({"a": (np.float32("inf"),)}, "['a'][0]"),
        ({"a": {"b": np.arange(3)}}, "['a']['b']"),
        ({"a": {"b": np.datetime64("2026-01-01")}}, "['a']['b']"),
        ({"a": np.array("b\0c")}, "['a']"),
        ({"a": ["b\0"]}, "['a'][0]"),
        ({"a": [{1: "b"}]}, "['a'][0]"),
        ({"a": {("b", "c"): 1}}, "['a']"),
        ({"a": [CIRCLE], "b": {1}}, "['b']"),
    ],
    ids=str,
)
def test_the_field_that_cannot_be_stored_is_named(metadata, place):
    with pytest.raises(InvalidInputError) as caught:
        checked(metadata)
    assert str(caught.value).startswith(f"custom_metadata{place} cannot be stored")


@pytest.mark.parametrize("text", [r"\u0000", r"\ud800", "\N{GRINNING FACE}", "\\", "\x01"])
def test_text_that_only_looks_like_an_escape_is_kept(text):
    assert checked({text: [text]}) == {text: [text]}


def test_metadata_may_be_nested_as_deep_as_is_said():
    metadata = nested(MAX_DEPTH // 2)
    assert checked(metadata) == metadata


# --- its rows


def test_nested_names_are_joined_by_dots_and_dots_in_names_are_escaped():
    rows = flatten({"a": {"b": {"c": 1}}, "a.b": 2, "a\\": {"b": 3}, "a\\.b": 4, "": {"": 5}})
    assert list(rows) == [
        ("a.b.c", 1.0, None),
        (r"a\.b", 2.0, None),
        (r"a\\.b", 3.0, None),
        (r"a\\\.b", 4.0, None),
        (".", 5.0, None),
    ]


def test_scalars_have_rows_and_lists_and_long_texts_have_none():
    longest = "x" * MAX_INDEXED_TEXT
    metadata = {
        **{"true": True, "false": False, "null": None, "number": 1.5, "text": "é"},
        **{"list": [1], "empty": {}, "long": longest, "longer": longest + "x"},
    }
    assert list(flatten(metadata)) == [
        ("true", 1.0, None),
        ("false", 0.0, None),
        ("null", None, None),
        ("number", 1.5, None),
        ("text", None, "é"),
        ("long", None, longest),
    ]


@pytest.mark.parametrize("number", [2**53, 2**53 + 2, -(2**80), 10**22, 1e300, -0.0, True])
def test_a_number_that_a_double_equals_has_that_row(number):
    assert list(flatten({"a": number})) == [("a", float(number), None)]


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**23, 10**400, -(10**400)])
def test_a_number_that_no_double_equals_has_no_row(number):
    assert list(flatten({"a": number, "b": 1})) == [("b", 1.0, None)]
    assert as_double(number) is None


def paths(metadata: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the names on the way to each scalar that has a row."""
    found = []
    for name, value in metadata.items():
        if isinstance(value, dict):
            found += paths(value, (*above, name))
        elif has_row(value):
            found.append((*above, name))
    return found


def has_row(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_INDEXED_TEXT
    if isinstance(value, int):
        return int(float(value)) == value
    return not isinstance(value, list)


def split(key: str) -> tuple[str, ...]:
    """Undo the joining of names."""
    names, escaped = [""], False
    for character in key:
        if character == "." and not escaped:
            names.append("")
        elif character != "\\" or escaped:
            names[-1] += character
        escaped = character == "\\" and not escaped
    return tuple(names)


@given(METADATAS)
def test_every_scalar_has_one_row_under_a_name_of_its_own(metadata):
    rows = list(flatten(checked(metadata)))
    keys = [key for key, _, _ in rows]
    assert len(set(keys)) == len(keys)
    assert sorted(map(split, keys)) == sorted(paths(metadata))
    for key, number, text in rows:
        value: Any = metadata
        for name in split(key):
            value = value[name]
        assert value == (text if number is None else number)
        assert value_at(metadata, key) is value
