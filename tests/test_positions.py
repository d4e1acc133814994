"""Positions: in the order of the keys, and as few of them changed as can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpointdb.store.positions import GAP, place_keys

pytestmark = pytest.mark.databases

orders = st.lists(st.sampled_from("abcdefghij"), unique=True)


def changed(before, after):
    return {key for key in after if before.get(key) != after[key]}


@given(st.lists(orders, min_size=1, max_size=12))
def test_whatever_the_history_positions_give_the_order_of_keys(history):
    positions: dict[str, int] = {}
    for keys in history:
        positions = place_keys(keys, positions)
        assert list(positions) == keys
        assert sorted(keys, key=positions.__getitem__) == keys
        assert len(set(positions.values())) == len(keys)


@given(orders)
def test_the_same_keys_keep_their_positions(keys):
    positions = place_keys(keys, {})
    assert place_keys(keys, positions) == positions


@given(orders, st.data())
def test_removing_keys_changes_no_position(keys, data):
    positions = place_keys(keys, {})
    kept = [key for key in keys if data.draw(st.booleans())]
    assert place_keys(kept, positions) == {key: positions[key] for key in kept}


@given(orders, st.data())
def test_moving_one_key_changes_one_position(keys, data):
    positions = place_keys(keys, {})
    if not keys:
        return
    moved = data.draw(st.sampled_from(keys))
    rest = [key for key in keys if key != moved]
    rest.insert(data.draw(st.integers(0, len(rest))), moved)
    assert changed(positions, place_keys(rest, positions)) <= {moved, *_neighbour(keys, rest)}


def _neighbour(before, after):
    """Of two neighbours that changed places either may be the one that moved."""
    different = [key for key, other in zip(before, after, strict=True) if key != other]
    return different if len(different) == 2 else []


@given(orders, orders)
def test_only_new_and_moved_keys_change(before, after):
    positions = place_keys(before, {})
    found = changed(positions, place_keys(after, positions))
    common = [key for key in after if key in before]
    assert set(after) - set(before) <= found
    assert len(found & set(common)) == len(common) - longest_increasing(
        [positions[key] for key in common]
    )


def longest_increasing(numbers):
    """The plain quadratic way."""
    best: list[int] = []
    for index, number in enumerate(numbers):
        ends = [best[other] for other in range(index) if numbers[other] < number]
        best.append(1 + max(ends, default=0))
    return max(best, default=0)


def test_where_there_is_no_room_left_all_are_numbered_anew():
    positions = place_keys(["first", "last"], {})
    renumbered = 0
    for number in range(60):
        keys = ["first", f"k{number}", *list(positions)[1:]]
        after = place_keys(keys, positions)
        assert sorted(after.values()) == list(after.values())
        renumbered += after["last"] != positions["last"]
        positions = after
    assert 1 <= renumbered <= 4


def test_appended_keys_have_room_between_them():
    positions = place_keys(["a", "b", "c"], {})
    assert [
        b - a for a, b in ((positions["a"], positions["b"]), (positions["b"], positions["c"]))
    ] == [
        GAP,
        GAP,
    ]
