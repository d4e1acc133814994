"""How values differ, in lines: numbers, texts, arrays, what is nested."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from labels import label

from checkpointdb.cli.differences import differences

ARRAY = np.arange(10.0)
OTHER = np.where(ARRAY == 3, 7.5, ARRAY)
NAN = np.array([1.0, np.nan])
FRAME = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
INDEX = "Index([5, 6], dtype='int64')"
ZONED = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = ZONED.replace(tzinfo=None)
MASKED = np.ma.masked_array([1, 2, 3], [0, 1, 0])
EQUAL = "the values are equal, and were saved as other bytes"


def objects(*items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


class Unlike:
    """Is equal to nothing, and has no attribute to see why."""

    __hash__ = None

    def __eq__(self, other):
        return False


class Faulty:
    def __eq__(self, other):
        raise RuntimeError("never compared")

    __hash__ = __repr__ = None


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
        (FRAME, FRAME.set_axis([5, 6]), ["index: RangeIndex(start=0, stop=2, step=1) → " + INDEX]),
        (FRAME, FRAME[["b", "a"]], ["the columns are in another order"]),
        (FRAME, FRAME.astype({"a": "Int64"}), ["column 'a': dtype('int64') → Int64Dtype()"]),
        (DAY, ZONED, [f"{DAY!r} → {ZONED!r}"]),
        ([DAY.time()], [DAY.time(), 1], ["[1]: added 1"]),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1), ["the keys are in another order"]),
        (
            {"x": {1: 1, 2: 2}},
            {"x": {2: 3, 1: 1}},
            [
                "['x']: the keys are in another order",
                "['x'][2]: 2 → 3",
            ],
        ),
        (
            MASKED,
            np.ma.masked_array([1, 2, 4], [0, 1, 1]),
            ["1 of 3 items are masked in one of both"],
        ),
        (MASKED, np.ma.masked_array([1, 9, 5], [0, 1, 0]), ["1 of 2 items differ, by at most 2"]),
        (MASKED, np.ma.masked_array([1, 9, 3], [0, 1, 0]), [EQUAL]),
        (MASKED, np.array([1, 2, 3]), ["MaskedArray → ndarray"]),
        (objects(np.arange(3), 1), objects(np.arange(4), 1), ["1 of 2 items differ"]),
        (objects(np.arange(3), 1), objects(np.arange(3) + 1, 2), ["2 of 2 items differ"]),
        (objects(np.nan, None), objects(float("nan"), pd.NA), ["1 of 2 items differ"]),
        (deque([1, 2]), deque([1, 3]), ["1 of 2 items differ, first [1]: 2 → 3"]),
        (10**5_000, -(10**5_000), ["<an integer of 16610 bits> → <an integer of 16610 bits>"]),
        ([10**5_000], [1], ["[0]: <an integer of 16610 bits> → 1"]),
        (NAN, NAN.copy(), [EQUAL]),
        ({"w": [NAN, "x"]}, {"w": [NAN.copy(), "x"]}, [EQUAL]),
        (Unlike(), Unlike(), ["no difference was found, though they were saved as other bytes"]),
    ],
    ids=label,
)
def test_a_difference_is_told_in_lines(old, new, lines):
    assert differences(old, new) == lines


def test_values_that_cannot_be_compared_say_so():
    assert differences(Faulty(), Faulty()) == ["cannot be compared: RuntimeError: never compared"]


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
