"""Many small values, of which most are seen to be what they were all together."""

from __future__ import annotations

import numpy as np
import pytest

from checkpointdb import InvalidStateError, StreamedValue, serialize

MANY = {f"key {number}": {"number": number} for number in range(50)}


class Unsavable:
    def __reduce__(self):
        raise ValueError("not this one")


class Once:
    """Cannot be pickled the next time, but the time after that."""

    def __init__(self, error=ValueError):
        self.fails, self.error = [False, True], error

    def __reduce__(self):
        if self.fails and self.fails.pop(0):
            raise self.error("not now")
        return (str, ("pickled",))


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


def test_a_small_value_that_became_unsavable_is_named_and_nothing_is_saved(archive):
    archive.save(MANY, "before")
    with pytest.raises(InvalidStateError, match=r"'key 7'.*not this one") as caught:
        archive.save({**MANY, "key 7": Unsavable()}, "after")
    assert caught.value.key == "key 7"
    assert [each.checkpoint_id for each in archive.list_checkpoints()] == ["before"]
    archive.save({**MANY, "key 7": 7}, "after")
    assert archive.load("after") == {**MANY, "key 7": 7}


def test_a_value_that_cannot_be_pickled_for_once_hides_no_change_of_another(archive):
    once = Once()
    archive.save({**MANY, "once": once}, "before")
    archive.save({**MANY, "key 7": 7, "once": once}, "after")
    assert archive.load("after") == {**MANY, "key 7": 7, "once": "pickled"}


def test_what_ends_an_iterator_while_it_is_pickled_hides_no_change_of_those_after_it(archive):
    once = Once(StopIteration)
    archive.save({**MANY, "key 7": once}, "before")
    changed = {key: {"number": -1} for key in MANY}
    archive.save({**changed, "key 7": once}, "after")
    assert archive.load("after") == {**changed, "key 7": "pickled"}


def test_a_small_value_that_ends_an_iterator_each_time_is_named(archive):
    ending = Once(StopIteration)
    archive.save({**MANY, "key 7": ending}, "before")
    ending.fails = [True] * 9
    with pytest.raises(InvalidStateError, match=r"'key 7'.*StopIteration") as caught:
        archive.save({**MANY, "key 7": ending}, "after")
    assert caught.value.key == "key 7"


def test_small_values_that_were_moved_removed_or_added_are_where_they_are_now(archive):
    archive.save(MANY, "before")
    moved = dict(reversed(MANY.items()))
    del moved["key 3"], moved["key 30"]
    moved["late"] = MANY["key 3"]
    archive.save(moved, "after")
    assert list(archive.load("after").items()) == list(moved.items())
    archive.save(MANY, "last")
    assert list(archive.load("last").items()) == list(MANY.items())


def test_a_large_buffer_is_left_out_of_what_is_compared():
    [stream] = serialize.in_band([{"array": np.zeros(1_000_000)}])
    assert len(stream) < 1_000
    [stream, other] = serialize.in_band([np.zeros(500), np.zeros(1_000_000)[::2]])
    assert (len(stream) > 4_000, len(other) > 4_000_000) == (True, True)
