"""Loading: whole or in part, from anywhere, and what it says when it cannot."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from checkpointdb import InvalidInputError, NotFoundError

pytestmark = pytest.mark.databases

STATE = {"a": 1, "b": [2], "c": "three"}


@pytest.fixture
def handle(store):
    handle = store()
    handle.save(STATE, "x")
    return handle


# --- in part


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["b"], {"b": [2]}),
        (("c", "a"), {"c": "three", "a": 1}),
        ({"a"}, {"a": 1}),
        ([], {}),
        (["a", "a"], {"a": 1}),
    ],
    ids=str,
)
def test_some_keys_can_be_loaded_alone(handle, keys, expected):
    assert handle.load("x", keys=keys) == expected


def test_an_unknown_key_is_named(handle):
    with pytest.raises(NotFoundError, match="'nothing'") as caught:
        handle.load("x", keys=["a", "nothing"])
    assert caught.value.checkpoint_id == "x"


def test_a_text_is_no_list_of_keys(handle):
    with pytest.raises(InvalidInputError, match=r"keys=\['a'\]"):
        handle.load("x", keys="a")


@pytest.mark.damages
def test_some_keys_are_loaded_without_reading_the_others(store, alter):
    handle = store()
    handle.save({"big": np.random.default_rng(1).random(400_000)}, "one")
    handle.save({"big": handle.load("one")["big"], "small": "s"}, "two")
    Path(handle.get_checkpoint_info("one").file_path).unlink()
    assert handle.load("two", keys=["small"]) == {"small": "s"}


# --- what comes back


def test_arrays_come_back_writable_and_of_their_own_memory(store):
    handle = store()
    handle.save({"a": np.arange(100_000), "b": np.arange(100_000), "c": np.arange(3)}, "x")
    found = handle.load("x")
    found["a"][:] = 0
    found["c"][:] = 0
    assert found["b"][-1] == 99_999
    assert handle.load("x")["a"][-1] == 99_999


def test_every_load_gives_objects_of_its_own(handle):
    first, second = handle.load("x"), handle.load("x")
    first["b"].append(3)
    assert second["b"] == [2]


def test_the_order_of_keys_comes_back(store):
    handle = store()
    orders = ["cab", "abc", "acb", "bcad", "dba", "", "edcba"]
    for number, order in enumerate(orders):
        handle.save(dict.fromkeys(order, 0), f"s{number}")
    assert ["".join(handle.load(f"s{number}")) for number in range(len(orders))] == orders
    listed = handle.list_checkpoints(reverse=False)
    assert ["".join(each.state_keys) for each in listed] == orders


def test_another_handle_loads_what_was_saved(handle, store):
    assert store().load("x") == STATE
    assert store(enable_incremental=False).load("x", verify_hash=False) == STATE


# --- the latest


def test_the_latest_is_none_when_there_is_nothing(store):
    handle = store()
    assert handle.load_latest() is None
    handle.save({"a": 1}, "x")
    handle.delete_checkpoint("x")
    assert handle.load_latest() is None


class Linked:
    """A value that looks for another checkpoint as it is restored, and does not find it."""

    def __setstate__(self, _state):
        raise NotFoundError("checkpoint 'model' is not in pipeline 'models'")

    def __getstate__(self):
        return {"model": "model"}


def test_a_value_that_does_not_find_what_it_needs_is_not_taken_for_an_empty_pipeline(store):
    handle = store()
    handle.save({"linked": Linked()}, "one")
    with pytest.raises(NotFoundError, match="'models'") as caught:
        handle.load_latest()
    assert "key 'linked' of checkpoint 'one'" in caught.value.__notes__[0]


def test_the_latest_is_what_was_saved_last_in_the_pipeline(handle, store):
    handle.save({"n": 2}, "y")
    store(pipeline="other").save({"n": 3}, "z")
    info, state = handle.load_latest()
    assert (info.checkpoint_id, state) == ("y", {"n": 2})


def test_a_replaced_id_is_the_latest(handle):
    handle.save({"n": 2}, "y")
    handle.save({"n": 3}, "x")
    info, state = handle.load_latest()
    assert (info.checkpoint_id, state) == ("x", {"n": 3})


def test_the_latest_is_by_the_order_of_saves_whatever_the_clock_says(store, clock):
    handle = store()
    handle.save({"n": 1}, "first")
    clock.advance(days=-5)
    handle.save({"n": 2}, "second")
    assert handle.load_latest()[1] == {"n": 2}


# --- what is not there


@pytest.mark.parametrize("ask", ["load", "lazy", "pin", "unpin"])
@pytest.mark.parametrize("checkpoint_id", ["nobody", "", "X", "x ", "a\0b", "\ud800", "é" * 20_000])
def test_what_is_not_there_is_not_found(handle, ask, checkpoint_id):
    with pytest.raises(NotFoundError):
        getattr(handle, ask)(checkpoint_id)


@pytest.mark.parametrize("checkpoint_id", ["nobody", "\ud800", "a\0b"])
def test_no_information_and_no_history_is_no_error(handle, checkpoint_id):
    assert handle.get_checkpoint_info(checkpoint_id) is None
    assert handle.history(checkpoint_id) == []
    handle.delete_checkpoint(checkpoint_id)


def test_a_deleted_checkpoint_is_not_found(handle):
    handle.delete_checkpoint("x")
    with pytest.raises(NotFoundError, match="'x'") as caught:
        handle.load("x")
    assert caught.value.checkpoint_id == "x"


def test_a_class_that_is_gone_is_told_with_the_key(store):
    module = types.ModuleType("passing_module")
    exec("class Thing:\n    pass", module.__dict__)
    sys.modules["passing_module"] = module
    handle = store()
    handle.save({"fine": 1, "thing": module.Thing()}, "x")
    del sys.modules["passing_module"]
    with pytest.raises(ModuleNotFoundError) as caught:
        handle.load("x")
    assert "'thing'" in "".join(caught.value.__notes__)
    assert handle.load("x", keys=["fine"]) == {"fine": 1}
