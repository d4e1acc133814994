"""A state that cannot be saved: a clear error, and the store as it was."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter, OrderedDict, defaultdict
from functools import partial

import numpy as np
import pytest
from labels import label

from checkpointdb import CheckpointError, InvalidInputError, InvalidStateError, StateChangedError

NOISE = random.Random(41).randbytes(3_000_000)


class RaisesWhenPickled:
    def __reduce__(self):
        raise OSError("no descriptors left")


class ActsWhenPickled:
    """Calls something in the middle of a save."""

    def __init__(self, action):
        self.action = action

    def __reduce__(self):
        self.action()
        return (list, ())


@pytest.fixture
def unchanged(archive, tree):
    """A handle with one checkpoint, whose store is the same at the end."""
    archive.save({"good": NOISE[:50_000]}, "good")
    before = tree(archive.checkpoint_dir / "payloads")
    yield archive
    assert tree(archive.checkpoint_dir / "payloads") == before
    assert [each.checkpoint_id for each in archive.list_checkpoints()] == ["good"]
    assert archive.load("good") == {"good": NOISE[:50_000]}


UNPICKLABLE = {
    "a function": lambda: None,
    "a lock": threading.Lock(),
    "a generator": (n for n in ()),
    "raises": RaisesWhenPickled(),
    "deep inside": [{"x": [threading.Lock()]}],
    "an array of it": np.array([threading.Lock()], dtype=object),
}


@pytest.mark.parametrize("name", UNPICKLABLE)
def test_a_value_that_cannot_be_pickled_is_named_and_leaves_nothing(unchanged, name):
    state = {"large": NOISE, "before": 1, name: UNPICKLABLE[name], "after": 2}
    with pytest.raises(InvalidStateError, match=f"'{name}'") as caught:
        unchanged.save(state, "bad")
    assert caught.value.key == name
    assert isinstance(caught.value, (ValueError, TypeError))
    assert caught.value.__cause__ is not None


def test_a_value_nested_too_deep_is_named(unchanged):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidStateError, match="'deep'"):
        unchanged.save({"deep": deep}, "bad")
    while deep:  # freed from the outside in: as one it would overflow the interpreter's stack
        deep = deep.pop()


@pytest.mark.parametrize("state", [None, [("a", 1)], "text", 3, {1}, object(), b"a"])
def test_what_is_no_dictionary_is_refused(unchanged, state):
    with pytest.raises(InvalidStateError, match="dict"):
        unchanged.save(state, "bad")


def test_a_dictionary_of_a_class_with_attributes_is_refused_since_they_would_be_lost(unchanged):
    class State(dict):
        pass

    state = State(a=1)
    state.step = 500
    with pytest.raises(InvalidStateError, match=r"a State, which has more than its keys \(step\)"):
        unchanged.save(state, "bad")


@pytest.mark.parametrize("kind", [OrderedDict, Counter, partial(defaultdict, int)], ids=label)
def test_a_dictionary_of_another_class_is_saved_as_one(unchanged, kind):
    unchanged.save(kind({"a": 1}), "plain")
    assert unchanged.load("plain") == {"a": 1}
    unchanged.delete_checkpoint("plain")


def test_a_mapping_that_is_no_dictionary_is_told_how_to_become_one(unchanged):
    with pytest.raises(InvalidStateError, match=r"not LazyState: give dict\(state\)"):
        unchanged.save(unchanged.lazy("good"), "bad")


@pytest.mark.parametrize("key", [1, None, b"a", ("a", "b"), 1.5, True], ids=label)
def test_a_key_that_is_no_text_is_refused_and_shown(unchanged, key):
    with pytest.raises(InvalidStateError, match="text"):
        unchanged.save({"fine": 1, key: 2}, "bad")


class Named(str):
    """A text that is equal to nothing but itself."""

    __slots__ = ()

    def __eq__(self, other):
        return self is other

    __hash__ = str.__hash__


def test_keys_of_a_class_of_text_are_kept_as_the_text_whatever_they_are_equal_to(archive):
    for number in range(3):
        archive.save({Named("a"): number, "b": number}, f"named {number}")
        archive.save({"a": number, Named("b"): number}, f"plain {number}")
        for name in ("named", "plain"):
            assert archive.load(f"{name} {number}") == {"a": number, "b": number}
    assert archive.load("named 1", keys=[Named("a")]) == {"a": 1}
    assert len(archive.history("a")) == 3


def test_two_keys_that_are_the_same_text_are_refused(unchanged):
    with pytest.raises(InvalidStateError, match="two keys of the state are the text 'a'") as caught:
        unchanged.save({Named("a"): 1, "a": 2}, "after")
    assert caught.value.key == "a"


@pytest.mark.parametrize(
    "metadata",
    [
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": [float("-inf")]},
        {"x": object()},
        {"x": {1, 2}},
        {"x": b"bytes"},
        {"x": np.float64},
        {1: "x"},
        {"x": {None: 1}},
        ["x"],
        "text",
        {"x": 10**5000},
    ],
    ids=label,
)
def test_metadata_that_is_no_json_is_refused(unchanged, metadata):
    with pytest.raises(InvalidInputError, match="metadata"):
        unchanged.save({"a": 1}, "bad", custom_metadata=metadata)


def test_metadata_in_a_circle_is_refused(unchanged):
    circle: dict = {}
    circle["self"] = circle
    with pytest.raises(InvalidInputError, match="metadata"):
        unchanged.save({"a": 1}, "bad", custom_metadata=circle)


@pytest.mark.parametrize(
    "metadata",
    [
        {"n": 2**53 + 1},
        {"n": 10**400},
        {"n": -(10**400)},
        {"n": 1e308},
        {"text": r"a literal \u0000 and a \ud800"},
        {"text": "x" * 5_000},
        {"list": [1, "a", None, {"b": [True]}]},
        {"a.b": 1, "a": {"b": 2}},
        {"a\\": {".b": 3}},
        {"": {"": ""}},
        {},
    ],
    ids=label,
)
def test_metadata_that_is_json_comes_back_as_it_was(store, metadata):
    handle = store()
    handle.save({"a": 1}, "x", custom_metadata=metadata)
    assert handle.get_checkpoint_info("x").custom_metadata == metadata


@pytest.mark.parametrize("depth", [100, 500, 900, 960, 980, 990, 1_000, 5_000])
def test_deep_metadata_is_saved_whole_or_refused(archive, depth):
    metadata: dict = {}
    for _ in range(depth):
        metadata = {"x": metadata}
    try:
        archive.save({"a": 1}, "deep", custom_metadata=metadata)
    except InvalidInputError:
        assert archive.list_checkpoints() == []
    else:
        assert archive.get_checkpoint_info("deep").checkpoint_id == "deep"


def test_metadata_is_copied(store):
    handle = store()
    metadata = {"a": [1]}
    handle.save({}, "x", custom_metadata=metadata)
    metadata["a"].append(2)
    assert handle.get_checkpoint_info("x").custom_metadata == {"a": [1]}


# --- changed meanwhile


@pytest.mark.parametrize("size", [1_000, 20_000, 400_000])
def test_an_array_changed_while_it_is_saved_is_an_error_that_names_it(unchanged, size):
    array = np.zeros(size)

    def change():
        array[-1] += 1

    state = {"array": array, "trigger": ActsWhenPickled(change)}
    if array.nbytes < 10_000:
        state["array"] = [array, np.zeros(2_000)[:0]]
    with pytest.raises(StateChangedError, match="'array'") as caught:
        unchanged.save(state, "bad")
    assert caught.value.key == "array"


def test_after_an_array_was_changed_meanwhile_the_next_save_is_whole(archive):
    array = np.zeros(100_000)
    changes = [lambda: array.__setitem__(-1, 5.0)]
    trigger = ActsWhenPickled(lambda: changes.pop()() if changes else None)
    archive.save({"array": array}, "before")
    array[:] = 1
    with pytest.raises(StateChangedError):
        archive.save({"array": array, "trigger": trigger}, "bad")
    archive.save({"array": array, "trigger": trigger}, "after")
    assert archive.load("before")["array"][-1] == 0
    assert archive.load("after")["array"][-1] == 5


def test_a_key_added_while_it_is_saved_is_not_half_there(store):
    handle = store()
    state = {"a": 1}
    state["trigger"] = ActsWhenPickled(lambda: state.update(late=2))
    handle.save(state, "x")
    assert list(handle.load("x")) == ["a", "trigger"]


def test_a_dictionary_that_grows_while_it_is_saved_is_an_error_that_names_it(unchanged):
    inner: dict = {"a": 1}
    inner["trigger"] = ActsWhenPickled(lambda: inner.update({f"k{len(inner)}": 1}))
    inner["z"] = 1
    with pytest.raises(CheckpointError, match="'inner'") as caught:
        unchanged.save({"inner": inner}, "bad")
    assert caught.value.key == "inner"


@pytest.mark.parametrize("value", ["array", "list"])
def test_a_thread_that_changes_the_state_gets_an_error_or_a_save_that_loads(archive, value):
    state = {"array": np.zeros(500_000), "list": [0] * 50_000}
    stop = threading.Event()

    def change():
        while not stop.is_set():
            state[value][random.randrange(50_000)] = random.random()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for number in range(5):
            try:
                archive.save({value: state[value]}, f"s{number}")
            except StateChangedError:
                continue
    finally:
        stop.set()
        thread.join()
    for each in archive.list_checkpoints():
        assert len(archive.load(each.checkpoint_id)[value]) >= 50_000


class Growing:
    """A value that another thread changes: each time that it is pickled it has another size."""

    def __init__(self, *sizes):
        self.sizes = list(sizes)

    def __reduce__(self):
        return bytes, (b"x" * self.sizes.pop(0),)


def test_a_small_value_that_became_large_within_a_save_is_not_taken_for_the_large_one(archive):
    """Pickled twice, since the save turned out to be a full; the head knew it as the small one."""
    value = Growing(10, 10, 20_000, 10)
    archive.save({"changing": value, "other": os.urandom(1_000)}, "first")
    archive.save({"changing": value, "other": os.urandom(100_000)}, "second")
    archive.save({"changing": value, "other": b""}, "third")
    assert not archive.get_checkpoint_info("second").is_incremental
    ids = ("first", "second", "third")
    assert [len(archive.load(each)["changing"]) for each in ids] == [10, 20_000, 10]
