"""How values differ, in lines: numbers, texts, arrays, what is nested."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from labels import label

from checkpointdb.cli.differences import differences

ARRAY = np.arange(10.0)
OTHER = np.where(ARRAY == 3, 7.5, ARRAY)
NAN = np.array([1.0, np.nan])


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (1, 2, ["1 → 2"]),
        (1, 1.5, ["1 → 1.5"]),
        (True, None, ["True → None"]),
        ("a", "b", ["'a' → 'b'"]),
        ([1, 2, 3], [1, 4, 3], ["[1]: 2 → 4"]),
        ([1, 2], [1, 2, 3], ["[2]: added 3"]),
        ({"a": 1, "b": [{"c": 1}]}, {"a": 1, "b": [{"c": 2}]}, ["['b'][0]['c']: 1 → 2"]),
        ({"a": 1}, {"b": 1}, ["['a']: removed 1", "['b']: added 1"]),
        ("x\ny\nz", "x\nY\nz", ["text, from line 2 on:", "-y", "+Y"]),
        ("one two " * 20, "one two " * 19 + "one 2 ", ["text, from word 40 on:", "-two ", "+2 "]),
        (ARRAY, OTHER, ["1 of 10 items differ, by at most 4.5"]),
        (ARRAY, ARRAY[:4], ["float64[10] → float64[4]"]),
        (ARRAY, ARRAY.astype("f4"), ["float64[10] → float32[10]"]),
        ({"w": ARRAY}, {"w": OTHER}, ["['w']: 1 of 10 items differ, by at most 4.5"]),
        (NAN, np.array([2.0, np.nan]), ["1 of 2 items differ, by at most 1"]),
        (np.array(["a", "b"]), np.array(["a", "c"]), ["1 of 2 items differ"]),
        (np.array([True]), np.array([False]), ["1 of 1 items differ"]),
        (np.array([2**62]), np.array([2**62 - 4]), ["1 of 1 items differ, by at most 4"]),
        (np.array([1 + 1j]), np.array([4 - 3j]), ["1 of 1 items differ, by at most 5"]),
        (
            pd.DataFrame({"a": ARRAY, "b": 1}),
            pd.DataFrame({"a": OTHER, "c": 1}),
            [
                "column 'c' added",
                "column 'b' removed",
                "column 'a': 1 of 10 items differ, by at most 4.5",
            ],
        ),
        (NAN, NAN.copy(), ["the values are equal, and were saved as other bytes"]),
    ],
    ids=label,
)
def test_a_difference_is_told_in_lines(old, new, lines):
    assert differences(old, new) == lines


def test_long_lists_are_told_by_counts():
    old = [n / 7 for n in range(20_000)]
    new = [number**2 for number in old]
    assert differences({"a": old}, {"a": new}) == [
        "['a']: 19998 of 20000 items differ, first [1]: 0.14285714285714285 → 0.02040816326530612"
    ]
    assert differences(old, old[:5_000]) == ["20000 items → 5000 items"]


def test_arrays_in_a_long_list_are_compared_too():
    old, new = ([np.zeros(2) for _ in range(2_000)] for _ in range(2))
    new[7] = np.ones(2)
    [line] = differences(old, new)
    assert line.startswith("1 of 2000 items differ, first [7]: array([0., 0.]) → array([1., 1.])")


def test_items_of_sets_are_told():
    assert sorted(differences({1, 2}, {2, 3})) == ["added 3", "removed 1"]


def test_more_lines_than_people_read_are_counted():
    found = differences(list(range(300)), [n + 0.5 for n in range(300)])
    assert (len(found), found[-1]) == (201, "… and 100 lines more")


def test_texts_that_have_little_in_common_are_counted_by_lines():
    old, new = ("\n".join(f"{sign} {n}" for n in range(3_000)) for sign in "ab")
    assert differences(old, new) == ["3000 lines from line 1 on became 3000 others"]


def test_a_long_value_is_cut():
    [line] = differences(0, list(range(10_000)))
    assert len(line) < 300
