"""Deltas: what a save stores of what it is given, and when it is a full."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from checkpointdb import register_serializer
from checkpointdb.chunking import cut_buffer
from checkpointdb.store.staging import Staged

pytestmark = pytest.mark.databases

NOISE = random.Random(7)


def info(handle, checkpoint_id):
    return handle.get_checkpoint_info(checkpoint_id)


def stored_raw_bytes(handle, checkpoint_id):
    """The plain bytes of chunks that a checkpoint's own payload stores."""
    with handle.query() as connection:
        statement = (
            "SELECT payloads.raw_bytes FROM checkpoints "
            "JOIN payloads ON payloads.id = checkpoints.payload_id WHERE checkpoint_id = :id"
        )
        return connection.execute(text(statement), {"id": checkpoint_id}).scalar_one()


def words(count, seed):
    chosen = random.Random(seed)
    vocabulary = sorted(set(Path(__file__).read_text().split()))
    return " ".join(chosen.choice(vocabulary) for _ in range(count))


# --- by key


def test_one_changed_key_of_three_gives_a_smaller_incremental_upon_the_first(archive):
    state = {name: NOISE.randbytes(50_000) for name in "abc"}
    archive.save(state, "first")
    archive.save(state | {"b": NOISE.randbytes(50_000)}, "second")
    first, second = info(archive, "first"), info(archive, "second")
    assert (first.is_incremental, first.base_checkpoint_id) == (False, None)
    assert (second.is_incremental, second.base_checkpoint_id) == (True, "first")
    assert second.size_bytes < first.size_bytes / 2
    assert archive.load("first") == state


def test_a_deleted_key_is_gone_and_comes_back_with_its_value(archive):
    state = {"a": NOISE.randbytes(50_000), "b": NOISE.randbytes(50_000)}
    archive.save(state, "both")
    archive.save({"a": state["a"]}, "one")
    archive.save(state, "both again")
    assert [list(archive.load(each)) for each in ("both", "one", "both again")] == [
        ["a", "b"],
        ["a"],
        ["a", "b"],
    ]
    assert info(archive, "one").is_incremental
    assert stored_raw_bytes(archive, "both again") == 0


def test_a_new_key_stores_that_key(archive):
    state = {"a": NOISE.randbytes(100_000)}
    archive.save(state, "one")
    archive.save(state | {"b": NOISE.randbytes(10_000)}, "two")
    assert 10_000 <= stored_raw_bytes(archive, "two") < 11_000


def test_only_the_order_of_keys_changed(archive):
    archive.save({"a": "x" * 5_000, "b": 2, "c": 3}, "one")
    archive.save({"c": 3, "a": "x" * 5_000, "b": 2}, "two")
    assert list(archive.load("two")) == ["c", "a", "b"]
    assert list(archive.load("one")) == ["a", "b", "c"]
    assert stored_raw_bytes(archive, "two") == 0


def test_a_value_that_moves_to_another_key_is_not_stored_again(archive):
    value = NOISE.randbytes(200_000)
    archive.save({"draft": value}, "one")
    archive.save({"final": value}, "two")
    assert stored_raw_bytes(archive, "two") == 0
    assert archive.load("two") == {"final": value}


def test_a_value_of_long_ago_is_not_stored_again(archive):
    values = [NOISE.randbytes(20_000) for _ in range(3)]
    ballast = NOISE.randbytes(100_000)
    for number in (0, 1, 2, 0):
        archive.save({"v": values[number], "ballast": ballast}, f"s{number}")
    assert stored_raw_bytes(archive, "s0") == 0 or not info(archive, "s0").is_incremental
    assert archive.load("s0")["v"] == values[0]


# --- fulls


def test_force_full_stores_everything_again(archive):
    state = {"a": NOISE.randbytes(50_000)}
    archive.save(state, "one")
    archive.save(state, "two", force_full=True)
    archive.save(state, "three")
    assert [info(archive, each).is_incremental for each in ("one", "two", "three")] == [
        False,
        False,
        True,
    ]
    assert info(archive, "two").base_checkpoint_id is None
    assert info(archive, "three").base_checkpoint_id == "two"
    assert stored_raw_bytes(archive, "two") >= 50_000


@pytest.mark.damages
def test_a_full_is_loaded_from_its_own_file_alone(archive):
    state = {"a": NOISE.randbytes(3_000_000), "b": "x" * 50_000, "c": 1}
    archive.save(state, "one")
    archive.save(state, "two", force_full=True)
    Path(info(archive, "one").file_path).unlink()
    assert archive.load("two") == state


@pytest.mark.parametrize(("changed", "is_incremental"), [(6, True), (8, False), (10, False)])
def test_over_seventy_percent_changed_gives_a_full(archive, changed, is_incremental):
    state = {f"k{number}": NOISE.randbytes(10_000) for number in range(10)}
    archive.save(state, "one")
    state |= {f"k{number}": NOISE.randbytes(10_000) for number in range(changed)}
    archive.save(state, "two")
    assert info(archive, "two").is_incremental is is_incremental
    assert archive.load("two") == state


def test_the_seventy_percent_are_of_bytes_that_the_pipeline_lacks_not_of_keys(archive):
    state = {"large": NOISE.randbytes(100_000)} | {f"k{number}": number for number in range(50)}
    archive.save(state, "one")
    archive.save(state | {f"k{number}": -number for number in range(50)}, "two")
    assert info(archive, "two").is_incremental


class Counted:
    """A value that counts how often it is pickled."""

    def __init__(self, text):
        self.text, self.pickled = text, 0

    def __getstate__(self):
        self.pickled += 1
        return {"text": self.text, "pickled": 0}


def test_a_value_that_shares_a_little_with_a_full_that_was_due_is_pickled_once(archive):
    shared = NOISE.randbytes(100_000)
    archive.save({"a": Counted(shared + NOISE.randbytes(500_000))}, "one")
    value = Counted(shared + NOISE.randbytes(500_000))
    archive.save({"a": value}, "two")
    assert not info(archive, "two").is_incremental
    assert value.pickled == 1
    assert archive.load("two")["a"].text == value.text


def test_only_what_a_full_would_lack_is_kept_for_it(archive, monkeypatch):
    kept = []
    monkeypatch.setattr(Staged, "_keep", lambda _, each: kept.append(each.key))
    text = NOISE.randbytes(300_000)
    archive.save({"text": text, **{f"k{number}": number for number in range(3_000)}}, "one")
    new = {f"k{number}": f"another {number}" for number in range(3_000)}
    archive.save({"text": b"more" + text, **new}, "two")
    assert info(archive, "two").is_incremental
    assert kept == ["text"]


@pytest.mark.damages
def test_a_full_that_was_due_by_its_delta_stands_alone(archive):
    state = {f"k{number}": NOISE.randbytes(50_000) for number in range(10)}
    archive.save(state, "one")
    state |= {f"k{number}": NOISE.randbytes(50_000) for number in range(9)}
    archive.save(state, "two")
    Path(info(archive, "one").file_path).unlink()
    assert archive.load("two") == state


def test_a_full_is_due_when_a_load_would_read_more_than_twice_its_state(archive):
    state = {f"k{number}": NOISE.randbytes(2_000) for number in range(400)}
    archive.save(state, "large")
    few = {name: state[name] for name in list(state)[::10]}
    archive.save(few, "few")  # all of its bytes are there, in a member twenty times as large
    assert not info(archive, "few").is_incremental
    assert archive.load("few") == few


def test_a_full_is_due_at_full_every(store):
    handle = store(full_every=4, retention_count=100)
    ballast = NOISE.randbytes(200_000)
    for number in range(10):
        handle.save({"ballast": ballast, "n": number}, f"s{number}")
    kinds = [each.is_incremental for each in handle.list_checkpoints(reverse=False)]
    assert [number for number, kind in enumerate(kinds) if not kind] == [0, 4, 8]


def test_full_every_counts_across_handles(store):
    ballast = NOISE.randbytes(200_000)
    for number in range(7):
        store(full_every=3).save({"ballast": ballast, "n": number}, f"s{number}")
    kinds = [each.is_incremental for each in store().list_checkpoints(reverse=False)]
    assert [number for number, kind in enumerate(kinds) if not kind] == [0, 3, 6]


def test_without_incrementals_every_checkpoint_is_a_full(store):
    handle = store(enable_incremental=False)
    for number in range(3):
        handle.save({"a": "x" * 1_000, "n": number}, f"s{number}")
    assert not any(each.is_incremental for each in handle.list_checkpoints())


def test_a_load_after_many_saves_reads_at_most_twice_the_state(archive):
    chosen = random.Random(8)
    state = {f"k{number}": chosen.randbytes(3_000) for number in range(40)}
    for number in range(80):
        for key in chosen.sample(sorted(state), 3):
            state[key] = chosen.randbytes(3_000)
        archive.save(state, f"s{number}")
        with archive.query() as connection:
            read = connection.execute(text(READ_BYTES), {"id": f"s{number}"}).scalar_one()
        assert read <= 2 * info(archive, f"s{number}").state_bytes + 65_536
    assert archive.load("s79") == state


READ_BYTES = """
SELECT sum(raw_bytes) FROM members WHERE id IN (
    SELECT state_values.member_id FROM checkpoints
      JOIN entries ON entries.chain_id = checkpoints.chain_id
       AND from_depth <= depth AND (to_depth IS NULL OR to_depth > depth)
      JOIN state_values ON state_values.id = value_id
     WHERE checkpoint_id = :id)
"""


# --- within a value


def test_a_list_that_grows_is_stored_linearly(archive):
    messages, totals = [], []
    for number in range(300):
        messages += [
            {"role": "user", "text": words(30, 5 * number + each), "at": 5 * number + each}
            for each in range(5)
        ]
        archive.save({"messages": messages, "turn": number}, f"s{number}")
        if number in (149, 299):
            totals.append(archive.get_statistics()["total_size_bytes"])
    first_half, second_half = totals[0], totals[1] - totals[0]
    assert second_half < 1.6 * first_half
    assert archive.load("s150")["messages"] == messages[: 151 * 5]
    assert archive.load("s299")["messages"] == messages


def test_one_percent_of_an_arrays_blocks_changed_stores_about_one_percent(archive):
    array = np.random.default_rng(9).random(3_500_000)
    archive.save({"array": array}, "one")
    blocks = cut_buffer(array.nbytes)
    for number in range(blocks_changed := len(blocks) // 100):
        array[(number * len(array)) // blocks_changed] += 1
    archive.save({"array": array}, "two")
    assert blocks_changed > 1
    assert info(archive, "two").size_bytes < 0.015 * info(archive, "one").size_bytes
    np.testing.assert_array_equal(archive.load("two")["array"], array)


def test_random_floats_are_stored_as_they_are(archive):
    array = np.random.default_rng(10).random(1_000_000)
    archive.save({"array": array}, "x")
    data = Path(info(archive, "x").file_path).read_bytes()
    assert array.nbytes <= len(data) < 1.01 * array.nbytes
    assert array[500:600].tobytes() in data


def test_a_paragraph_inserted_at_the_front_stores_its_surroundings(archive):
    text = words(250_000, 11)
    archive.save({"text": text}, "one")
    archive.save({"text": "A new first paragraph.\n\n" + text}, "two")
    assert info(archive, "two").is_incremental
    assert stored_raw_bytes(archive, "two") < 0.05 * len(text)
    assert archive.load("two")["text"] == "A new first paragraph.\n\n" + text


def test_a_text_changed_in_the_middle_stores_its_surroundings(archive):
    text = words(250_000, 12)
    archive.save({"text": text}, "one")
    half = len(text) // 2
    archive.save({"text": text[:half] + " changed " + text[half:]}, "two")
    assert stored_raw_bytes(archive, "two") < 0.05 * len(text)


def change_values(frame):
    frame.loc[100:110, "c3"] = 0.5


def add_a_column(frame):
    frame["new"] = np.random.default_rng(1).random(len(frame))


@pytest.mark.parametrize("change", [change_values, add_a_column])
def test_a_changed_frame_stores_what_changed(archive, change):
    generator = np.random.default_rng(13)
    frame = pd.DataFrame({f"c{number}": generator.random(50_000) for number in range(10)})
    archive.save({"frame": frame}, "one")
    changed = frame.copy()
    change(changed)
    archive.save({"frame": changed}, "two")
    assert stored_raw_bytes(archive, "two") < 0.12 * stored_raw_bytes(archive, "one")
    pd.testing.assert_frame_equal(archive.load("one")["frame"], frame)
    pd.testing.assert_frame_equal(archive.load("two")["frame"], changed)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(20_000),
        np.array([np.nan] * 5_000),
        np.array([None, [1]], dtype=object),
        pd.DataFrame({"a": np.arange(5_000), "b": ["x", None] * 2_500}),
        pd.Series([1.5, None] * 3_000),
        [np.arange(3), {"deep": np.arange(20_000)}],
    ],
    ids=lambda value: type(value).__name__,
)
def test_equal_arrays_and_frames_are_the_same_although_they_cannot_be_compared(archive, value):
    archive.save({"value": value}, "one")
    archive.save({"value": value}, "two")
    assert info(archive, "two").is_incremental
    assert stored_raw_bytes(archive, "two") == 0


def test_an_array_loaded_and_saved_again_is_the_same(archive):
    archive.save({"array": np.arange(100_000), "frame": pd.DataFrame({"a": range(9_000)})}, "one")
    archive.save(archive.load("one"), "two")
    assert stored_raw_bytes(archive, "two") == 0


def test_repeated_parts_are_stored_once_within_a_checkpoint(archive):
    block = np.random.default_rng(14).random(200_000)
    archive.save({"both": [block.copy(), block.copy()]}, "x")
    assert stored_raw_bytes(archive, "x") < 1.05 * block.nbytes
    found = archive.load("x")["both"]
    np.testing.assert_array_equal(found[0], found[1])


class Counting:
    """Text in UTF-8; counts what it was given."""

    name = "counting"

    def __init__(self):
        self.given = []

    def dump(self, value):
        self.given.append(value)
        return [value.encode()]

    def load(self, parts):
        return bytes(parts[0]).decode()


def test_a_text_that_is_the_very_same_object_is_not_serialized_again(store):
    counting = Counting()
    register_serializer(counting)
    handle = store(serializer="counting")
    state = {f"k{number}": f"text {number}" for number in range(50)}
    handle.save(state, "one")
    counting.given.clear()
    state["k7"] = "another"
    state["k8"], state["k9"] = state["k9"], state["k8"]
    handle.save(state, "two")
    assert sorted(counting.given) == ["another", "text 8", "text 9"]
    assert handle.load("two") == state
    handle.save(state, "three", force_full=True)
    assert len(counting.given) == 3 + 50
    assert handle.load("three") == handle.load("two")


class Text(str):
    """A text that is no `str`."""


def test_an_equal_text_of_another_type_is_serialized_again(archive):
    archive.save({"a": "same", "b": 1}, "one")
    archive.save({"a": Text("same"), "b": True}, "two")
    assert type(archive.load("one")["a"]) is str
    assert archive.load("two")["b"] is True


def test_a_writer_does_not_hold_on_to_more_than_a_few_large_texts(archive):
    large, small = "x" * (40 << 20), "y" * (1 << 20)
    before = sys.getrefcount(large), sys.getrefcount(small)
    archive.save({"small": small, "large": large}, "one")
    assert (sys.getrefcount(large), sys.getrefcount(small)) == (before[0], before[1] + 1)
    archive.save({}, "two")
    assert sys.getrefcount(small) == before[1]
