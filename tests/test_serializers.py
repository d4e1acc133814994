"""How values become bytes: pickle, JSON that refuses what it would change, and the user's own."""

from __future__ import annotations

import collections
import enum
import json
import subprocess
import sys
import textwrap
import zlib
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpointdb import (
    InvalidInputError,
    InvalidStateError,
    PipelineCheckpoint,
    UnknownSerializerError,
    register_serializer,
)
from checkpointdb.json_values import Json


class Deflated:
    """A serializer of the user's own: text, deflated, and the text's end as a buffer."""

    name = "deflated"

    def dump(self, value):
        if not isinstance(value, str):
            raise TypeError("only text")
        return [zlib.compress(value.encode()), value[-5_000:].encode()]

    def load(self, parts):
        text = zlib.decompress(parts[0]).decode()
        assert bytes(parts[1]) == text[-5_000:].encode()
        return text


@pytest.fixture
def deflated():
    register_serializer(Deflated())
    yield "deflated"
    from checkpointdb import serialize

    serialize._known.pop("deflated", None)


# --- JSON

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(plain)
def test_what_json_takes_comes_back_the_same_with_its_types(value):
    assert repr(Json().load(Json().dump(value))) == repr(value)


def test_a_state_in_json_comes_back_and_is_stored_as_deltas(store, alter):
    handle = store(serializer="json")
    state = {"text": "ñ" * 70_000, "tree": {"a": [1, 2.5, None, True, -0.0]}, "n": 10**400}
    handle.save(state, "one")
    handle.save({**state, "n": 1}, "two")
    assert handle.load("one") == state
    assert handle.load("two") == {**state, "n": 1}
    assert handle.load("two", keys=["n"]) == {"n": 1}
    assert alter(handle, "SELECT DISTINCT serializer FROM state_values") == [("json",)]


class Whole(int):
    pass


class Level(enum.IntEnum):
    LOW = 1


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def holding_itself():
    value = []
    value.append(value)
    return value


CHANGED = {
    "a tuple": (1, 2),
    "a set": {1},
    "bytes": b"x",
    "a number as key": {1: "x"},
    "a truth as key": {True: "x"},
    "no key": {None: "x"},
    "a tuple as key": {(1, 2): "x"},
    "not a number": float("nan"),
    "infinity": float("-inf"),
    "a subclass of int": Whole(1),
    "an enum": Level.LOW,
    "a subclass of dict": collections.OrderedDict(a=1),
    "a number of numpy": np.float64(1),
    "an array": np.arange(3),
    "a lone surrogate": "\ud800",
    "a pair of lone surrogates": "\ud83d\ude00",
    "a surrogate as key": {"\udc80": 1},
    "a very deep list": nested(200),  # one in 200 others
    "a list that holds itself": holding_itself(),
    "a very large number": 10**5_000,
    "an object": object(),
}


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("where", ["alone", "in a list", "in a dict"])
def test_what_json_would_change_is_an_error_that_names_the_key(store, name, where):
    value = {"alone": CHANGED[name], "in a list": [0, [CHANGED[name]]]}.get(
        where, {"x": {"y": CHANGED[name]}}
    )
    handle = store(serializer="json")
    with pytest.raises(InvalidStateError, match="'bad'") as caught:
        handle.save({"good": 1, "bad": value}, "x")
    assert caught.value.key == "bad"
    assert len(str(caught.value)) < 1_000
    assert handle.list_checkpoints() == []


def test_the_place_within_the_value_is_told(store):
    with pytest.raises(InvalidStateError, match=r"\['x'\]\[1\]") as caught:
        store(serializer="json").save({"bad": {"x": [1, (2,)]}}, "x")
    assert "tuple" in str(caught.value)


def test_a_deep_list_within_bounds_comes_back(store):
    handle = store(serializer="json")
    handle.save({"deep": nested(199)}, "x")
    assert handle.load("x") == {"deep": nested(199)}


def test_a_store_in_json_never_pickles(tmp_path):
    """In a process in which pickle can neither write nor read."""
    script = f"""
        import pickle
        def refuse(*args, **kwargs):
            raise SystemExit("pickle was used")
        pickle.dumps = pickle.loads = pickle.load = refuse
        import checkpointdb
        with checkpointdb.PipelineCheckpoint({str(tmp_path)!r}, serializer="json") as handle:
            handle.save({{"a": [1, "two"]}}, "x", custom_metadata={{"n": 1}})
            handle.save({{"a": [1, "three"]}}, "y")
            assert handle.load("y") == {{"a": [1, "three"]}}
            assert handle.diff("x", "y").changed
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60)


# --- several in one store


def test_a_store_of_several_serializers_loads_whole(store, deflated):
    pickled, in_json, own = store(), store(serializer="json"), store(serializer=deflated)
    pickled.save({"a": (1, 2), "b": [1]}, "one")
    in_json.save({"b": [1], "c": "text"}, "two")
    own.save({"c": "text " * 2_000}, "three")
    for handle in (pickled, in_json, own):
        assert handle.load("one") == {"a": (1, 2), "b": [1]}
        assert handle.load("two") == {"b": [1], "c": "text"}
        assert handle.load("three") == {"c": "text " * 2_000}


def test_a_value_that_did_not_change_keeps_the_serializer_that_saved_it_or_gets_the_new_one(store):
    """The same value in another form is another value: its digest covers the serializer."""
    store().save({"a": [1]}, "one")
    store(serializer="json").save({"a": [1]}, "two")
    assert store().load("one") == store().load("two") == {"a": [1]}
    versions = store().history("a")
    assert len({version.digest for version in versions}) == 2


def test_a_rebuilt_store_knows_the_serializer_of_each_value(store, deflated):
    handle = store()
    handle.save({"a": (1,)}, "one")
    store(serializer="json").save({"b": [1]}, "two")
    store(serializer=deflated).save({"c": "text"}, "three")
    handle.close()
    for path in handle.checkpoint_dir.glob("checkpoints.db*"):
        path.unlink()
    PipelineCheckpoint.rebuild(handle.checkpoint_dir)
    found = store()
    assert found.load("one") == {"a": (1,)}
    assert found.load("two") == {"b": [1]}
    assert found.load("three") == {"c": "text"}


# --- the user's own


def test_an_unknown_serializer_is_a_clear_error_at_load_and_the_rest_loads(store, deflated):
    handle = store(serializer=deflated)
    handle.save({"c": "text"}, "x")
    from checkpointdb import serialize

    del serialize._known["deflated"]
    with pytest.raises(UnknownSerializerError, match="'deflated'") as caught:
        handle.load("x")
    assert (caught.value.checkpoint_id, caught.value.key) == ("x", "c")
    assert "register_serializer" in str(caught.value)
    assert isinstance(caught.value, LookupError)
    assert handle.get_checkpoint_info("x").state_keys == ["c"]
    assert handle.check(read_data=True).problems == ()


class Plain:
    """Text or bytes as they are: two serializers that make the same bytes of unlike values."""

    def __init__(self, name, dump, load):
        self.name, self._dump, self._load = name, dump, load

    def dump(self, value):
        return [self._dump(value)]

    def load(self, parts):
        return self._load(bytes(parts[0]))


def test_the_same_bytes_of_two_serializers_are_copied_as_two_values(store, tmp_path):
    from checkpointdb import serialize

    serializers = [Plain("as-text", str.encode, bytes.decode), Plain("as-bytes", bytes, bytes)]
    try:
        for serializer in serializers:
            register_serializer(serializer)
        text = {"small": "abc", "large": "x" * 900_000}
        store(serializer="as-text", retention_count=9).save(text, "text")
        data = {"small": b"abc", "large": b"x" * 900_000}
        handle = store(serializer="as-bytes", retention_count=9)
        handle.save(data, "bytes", force_full=False)
        assert handle.get_checkpoint_info("bytes").is_incremental
        handle.copy_into(tmp_path / "copy")
        with PipelineCheckpoint(tmp_path / "copy", retention_count=9) as copy:
            assert (copy.load("text"), copy.load("bytes")) == (text, data)
    finally:
        for serializer in serializers:
            serialize._known.pop(serializer.name, None)


def test_small_values_are_compared_by_their_bytes_and_not_by_what_a_view_of_them_means(store):
    from checkpointdb import serialize

    as_numbers = Plain("as numbers", memoryview, lambda data: array("i", data))
    register_serializer(as_numbers)
    try:
        handle = store(serializer="as numbers", retention_count=9)
        few = array("i", [1, 2])
        many = array("i", [*few.tobytes()])  # whose view equals, item by item, the bytes of `few`
        handle.save({"a": few}, "few")
        handle.save({"a": many}, "many")
        assert (handle.load("few"), handle.load("many")) == ({"a": few}, {"a": many})
    finally:
        serialize._known.pop("as numbers", None)


def test_an_unknown_serializer_is_refused_when_the_store_is_opened(store):
    with pytest.raises(InvalidInputError, match="json, pickle5"):
        store(serializer="yaml")


def test_what_a_serializer_raises_names_the_key_and_the_serializer(store, deflated):
    with pytest.raises(InvalidStateError, match=r"'n'.*'deflated'.*only text") as caught:
        store(serializer=deflated).save({"n": 1})
    assert caught.value.key == "n"


class Named:
    def __init__(self, name):
        self.name = name

    def dump(self, value):
        return value

    def load(self, parts):
        return parts


@pytest.mark.parametrize("given", [[], [b""], [b"", b"more"], ["text"], [1], 5, None])
def test_what_is_no_list_of_bytes_is_refused(store, given, request):
    register_serializer(Named("as given"))
    with pytest.raises(InvalidStateError, match="'a'"):
        store(serializer="as given").save({"a": given})


@pytest.mark.parametrize("bad", ["", None, 7, "x" * 5_000, "\ud800", "a\0b"])
def test_a_name_that_cannot_be_recorded_is_refused(bad):
    with pytest.raises(InvalidInputError, match="name"):
        register_serializer(Named(bad))


@pytest.mark.parametrize("name", ["pickle5", "json", "deflated"])
def test_a_name_that_is_taken_is_refused(deflated, name):
    with pytest.raises(InvalidInputError, match="registered already"):
        register_serializer(Named(name))


def test_the_same_class_may_be_registered_again(deflated):
    register_serializer(Deflated())


# --- metadata

_unpickled = []


def unpickled():
    _unpickled.append(1)


class TellsWhenUnpickled:
    def __reduce__(self):
        return unpickled, ()


def test_metadata_is_asked_without_unpickling_anything(store):
    handle = store()
    handle.save({"a": TellsWhenUnpickled(), "b": 1}, "one", custom_metadata={"n": 1})
    handle.save({"a": TellsWhenUnpickled(), "b": 2}, "two")
    _unpickled.clear()
    handle = store()
    assert [each.state_keys for each in handle.list_checkpoints()] == [["a", "b"]] * 2
    assert handle.get_checkpoint_info("one").custom_metadata == {"n": 1}
    assert handle.get_statistics()["total_checkpoints"] == 2
    assert json.dumps(handle.index().to_dict())
    assert len(handle.history("a")) == 1
    assert [change.key for change in handle.diff("one", "two").changed] == ["b"]
    assert list(handle.lazy("one")) == ["a", "b"]
    assert handle.load("one", keys=["b"]) == {"b": 1}
    assert handle.check(read_data=True).problems == ()
    handle.delete_checkpoint("two")
    assert _unpickled == []
    handle.load("one")
    assert _unpickled == [1]
