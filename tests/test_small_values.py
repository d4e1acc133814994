"""Many small values, of which most are seen to be what they were by their bytes."""

from __future__ import annotations

import numpy as np
import pytest

from checkpointdb import InvalidStateError, StreamedValue

MANY = {f"key {number}": {"number": number} for number in range(50)}


class Unsavable:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error("not this one")


def is_same(one, other):
    if isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return one == other


@pytest.mark.parametrize(
    "value",
    [
        {"number": 8},
        {"number": True},
        7,
        None,
        np.arange(10.0),
        np.arange(100_000.0),
        [np.arange(600.0)],
        np.arange(100_000.0)[::2],
        "x" * 100_000,
        b"x" * 16_384,
        {"nested": {"deeply": ["x"] * 30_000}},
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:10]}",
)
def test_one_small_value_of_many_that_became_another_is_saved_and_so_are_those_beside_it(
    archive, value
):
    archive.save(MANY, "before")
    archive.save({**MANY, "key 7": value, "key 9": 9}, "after")
    archive.save({**MANY, "key 7": value}, "last")
    archive.save(MANY, "as before")
    loaded = archive.load("after")
    found = loaded.pop("key 7")
    found, value = (found[0], value[0]) if type(value) is list else (found, value)
    assert is_same(found, value)
    assert loaded == {key: value for key, value in MANY.items() if key != "key 7"} | {"key 9": 9}
    assert archive.load("last")["key 9"] == MANY["key 9"]
    assert archive.load("before") == archive.load("as before") == MANY


def test_a_small_value_that_became_a_stream_is_saved_as_one(archive):
    archive.save(MANY, "before")
    archive.save({**MANY, "key 7": StreamedValue([b"a stream"])}, "after")
    loaded = archive.load("after")
    with loaded.pop("key 7").open() as stream:
        assert stream.read() == b"a stream"
    assert loaded == {key: value for key, value in MANY.items() if key != "key 7"}


def test_a_small_value_that_was_a_stream_for_one_save_is_saved_again(archive):
    archive.save(MANY, "before")
    archive.save({**MANY, "key 7": StreamedValue([b"a stream"])}, "meanwhile")
    archive.save(MANY, "after")
    assert archive.load("after") == MANY


@pytest.mark.parametrize("error", [ValueError, StopIteration, RecursionError])
def test_a_small_value_that_became_unsavable_is_named_and_nothing_is_saved(archive, error):
    archive.save(MANY, "before")
    changed = {key: {"number": -1} for key in MANY}
    with pytest.raises(InvalidStateError, match=rf"'key 7'.*{error.__name__}: not this") as caught:
        archive.save({**changed, "key 7": Unsavable(error)}, "after")
    assert caught.value.key == "key 7"
    assert [each.checkpoint_id for each in archive.list_checkpoints()] == ["before"]
    archive.save(changed, "after")
    assert archive.load("after") == changed


def test_memory_that_ran_out_while_a_small_value_was_pickled_is_no_fault_of_the_value(archive):
    archive.save(MANY, "before")
    with pytest.raises(MemoryError):
        archive.save({**MANY, "key 7": Unsavable(MemoryError)}, "after")


def test_small_values_that_were_moved_removed_or_added_are_where_they_are_now(archive):
    archive.save(MANY, "before")
    moved = dict(reversed(MANY.items()))
    del moved["key 3"], moved["key 30"]
    moved["late"] = MANY["key 3"]
    archive.save(moved, "after")
    assert list(archive.load("after").items()) == list(moved.items())
    archive.save(MANY, "last")
    assert list(archive.load("last").items()) == list(MANY.items())


def test_small_values_that_became_large_take_what_they_take_in_a_full(archive):
    archive.save(MANY, "before")
    large = {"key 7": np.arange(9_000.0), "key 8": 8, "key 9": np.arange(5_000.0), "key 10": 10}
    archive.save({**MANY, **large}, "after")
    archive.save({**MANY, **large}, "full", force_full=True)
    after, full = map(archive.get_checkpoint_info, ("after", "full"))
    assert (after.is_incremental, full.is_incremental) == (True, False)
    assert after.state_bytes == full.state_bytes
    assert np.array_equal(archive.load("after")["key 9"], large["key 9"])


class Draining:
    """Gives what it has when it is pickled, and has it no longer."""

    def __init__(self):
        self.pending = []

    def __reduce__(self):
        given, self.pending = self.pending, []
        return (list, (tuple(given),))


def test_a_small_value_that_changed_is_pickled_once(archive):
    draining = Draining()
    archive.save({**MANY, "key 7": draining}, "before")
    draining.pending = ["important"]
    archive.save({**MANY, "key 7": draining}, "after")
    assert archive.load("after")["key 7"] == ["important"]


class Changing:
    """Changes another value when it is pickled."""

    def __init__(self, other):
        self.other = other

    def __reduce__(self):
        self.other["number"] += 1
        return (str, ("x" * 100_000,))


def test_values_are_pickled_in_the_order_of_their_keys(archive):
    other = {"number": 0}
    state = {"small before": other, "large": Changing(other), **MANY, "small": other}
    for name in ("one", "two"):
        archive.save(state, name)
    numbers = [
        (archive.load(name)["small before"]["number"], archive.load(name)["small"]["number"])
        for name in ("one", "two")
    ]
    assert numbers == [(0, 1), (1, 2)]
