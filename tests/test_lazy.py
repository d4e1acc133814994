"""The lazy mapping: a state of which a key is read when it is touched."""

from __future__ import annotations

import random
from collections.abc import Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from checkpointdb import NotFoundError

pytestmark = pytest.mark.databases

STATE = {"b": [1], "a": 2, "c": {"deep": random.Random(51).randbytes(50_000)}}


@pytest.fixture
def handle(store):
    handle = store()
    handle.save(STATE, "x")
    return handle


def test_it_is_a_mapping_equal_to_the_state(handle):
    lazy = handle.lazy("x")
    assert isinstance(lazy, Mapping)
    assert not isinstance(lazy, MutableMapping)
    assert dict(lazy) == STATE
    assert lazy == STATE
    assert list(lazy) == list(STATE)
    assert (len(lazy), lazy.get("nothing", 7)) == (3, 7)


def test_it_says_how_much_was_read(handle):
    lazy = handle.lazy("x")
    assert "0 of 3" in repr(lazy)
    lazy["a"]
    assert "1 of 3" in repr(lazy)
    assert "'x'" in repr(lazy)


def test_a_value_is_read_once_and_is_one_object(handle):
    lazy = handle.lazy("x")
    assert lazy["b"] is lazy["b"]


def test_an_unknown_key_is_a_key_error(handle):
    with pytest.raises(KeyError, match="nothing"):
        handle.lazy("x")["nothing"]


@pytest.mark.damages
def test_asking_which_keys_there_are_reads_no_payload(handle):
    for path in handle.checkpoint_dir.rglob("*.ckpt.gz"):
        path.unlink()
    lazy = handle.lazy("x")
    assert "b" in lazy
    assert "nothing" not in lazy
    assert 3 not in lazy
    assert list(lazy.keys()) == ["b", "a", "c"]


def test_it_raises_when_its_checkpoint_was_deleted(handle):
    lazy = handle.lazy("x")
    assert lazy["a"] == 2
    handle.delete_checkpoint("x")
    assert lazy["a"] == 2
    with pytest.raises(NotFoundError, match="'x'"):
        lazy["b"]


def test_it_raises_when_its_checkpoint_was_replaced_rather_than_mix_two_states(handle):
    lazy = handle.lazy("x")
    assert lazy["a"] == 2
    handle.save({"a": 3, "b": "new"}, "x")
    with pytest.raises(NotFoundError, match="replaced"):
        lazy["b"]
    assert handle.lazy("x")["b"] == "new"


def test_an_unknown_checkpoint_is_not_found_at_once(handle):
    with pytest.raises(NotFoundError, match="nobody"):
        handle.lazy("nobody")


def test_many_threads_may_read_one_mapping(handle):
    lazy = handle.lazy("x")
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: lazy["abc"[number % 3]], range(60)))
    assert found == [STATE["abc"[number % 3]] for number in range(60)]


def test_a_state_read_lazily_can_be_saved_again(handle):
    handle.save(dict(handle.lazy("x")), "y")
    assert handle.load("y") == STATE
