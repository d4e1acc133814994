"""Saving: what a state may hold, and what lies on disk afterwards."""

from __future__ import annotations

import gc
import gzip
import random
import stat
import subprocess
from collections import Counter, OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from breaking import open_files

from checkpointdb import InvalidInputError
from checkpointdb.format import COMPRESSION_LEVELS
from checkpointdb.local_payloads import LocalReader
from checkpointdb.manifests import read_manifest
from checkpointdb.sealing import PLAIN

pytestmark = pytest.mark.databases

Point = namedtuple("Point", "x y")


@dataclass
class Node:
    """A value of a class of the user's own; `links` may lead back to it."""

    name: str
    links: list


VALUES = {
    "none": None,
    "numbers": [0, -1, 2**200, 1.5, float("inf"), 1j, True, Decimal("0.1")],
    "texts": ["", "é", "😀", "a\0b", "x" * 100_000],
    "bytes": [b"", bytes(range(256)), bytearray(b"abc")],
    "large bytes": random.Random(1).randbytes(3_000_000),
    "large bytearray": bytearray(random.Random(2).randbytes(200_000)),
    "nested": {"a": {1: [(2, {3}), frozenset({4})]}, None: ...},
    "classes": [Point(1, 2), Counter("abca"), OrderedDict(b=1, a=2), date(2026, 1, 2), Path("a/b")],
    "node": Node("root", [Node("leaf", [])]),
    "many": {f"k{number}": number for number in range(20_000)},
}
ARRAYS = {
    "scalar": np.array(3.5),
    "empty": np.empty((0, 3)),
    "small": np.arange(5, dtype=np.int8),
    "large": np.random.default_rng(1).random((300, 200)),
    "fortran": np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
    "strided": np.arange(100_000)[::3],
    "reversed": np.arange(10_000)[::-1],
    "big endian": np.arange(10_000, dtype=">i4"),
    "bool": np.arange(50_000) % 3 == 0,
    "times": np.arange("2026-01-01", "2027-01-01", dtype="datetime64[h]"),
    "records": np.array([(1, 2.0)] * 3_000, dtype=[("a", "i4"), ("b", "f8")]),
    "texts": np.array(["a", "bcd"] * 3_000),
    "objects": np.array([None, [1], "x"] * 2_000, dtype=object),
    "zeros": np.zeros(2_000_000),
}
FRAMES = {
    "numbers": pd.DataFrame({"a": np.arange(50_000), "b": np.random.default_rng(2).random(50_000)}),
    "mixed": pd.DataFrame({"n": range(3_000), "s": [f"text {n}" for n in range(3_000)]}),
    "empty": pd.DataFrame(),
    "times": pd.DataFrame(
        {"x": range(2_000)}, index=pd.date_range("2026-01-01", periods=2_000, freq="h", tz="UTC")
    ),
    "categories": pd.DataFrame({"c": pd.Categorical(["a", "b"] * 5_000)}),
    "levels": pd.DataFrame(
        {"v": range(6)}, index=pd.MultiIndex.from_product([["a", "b"], [1, 2, 3]])
    ),
    "missing": pd.DataFrame({"i": pd.array([1, None, 3] * 1_000, dtype="Int64")}),
}


def payload_paths(handle):
    return sorted(handle.checkpoint_dir.rglob("*.ckpt.gz"))


# --- what a state may hold


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_equal_and_of_its_type(store, name):
    handle = store()
    handle.save({name: VALUES[name]}, "x")
    found = handle.load("x")[name]
    assert found == VALUES[name]
    assert type(found) is type(VALUES[name])


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_with_shape_type_and_order(store, name):
    handle, array = store(), ARRAYS[name]
    handle.save({name: array}, "x")
    found = handle.load("x")[name]
    np.testing.assert_array_equal(found, array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back(store, name):
    handle = store()
    handle.save({name: FRAMES[name]}, "x")
    pd.testing.assert_frame_equal(handle.load("x")[name], FRAMES[name])


@pytest.mark.parametrize("size", [4095, 4096, 4097, 32_768, 1 << 20, (1 << 20) + 1, 5_000_001])
def test_sizes_at_the_edges_of_chunks_and_members_come_back(store, size):
    handle = store()
    data = np.frombuffer(random.Random(size).randbytes(size), dtype=np.uint8)
    state = {"array": data, "bytes": data.tobytes(), "text": "ab" * (size // 2)}
    handle.save(state, "x")
    found = handle.load("x")
    assert (found["bytes"], found["text"]) == (state["bytes"], state["text"])
    assert found["array"].tobytes() == state["bytes"]


def test_an_empty_dictionary_is_a_state(store):
    handle = store()
    handle.save({}, "nothing")
    handle.save({"a": 1}, "something")
    handle.save({}, "nothing again")
    assert [handle.load(each) for each in ("nothing", "something", "nothing again")] == [
        {},
        {"a": 1},
        {},
    ]


@pytest.mark.parametrize("kind", [OrderedDict, Counter, lambda each: defaultdict(int, each)])
def test_kinds_of_dictionaries_are_states(store, kind):
    handle = store()
    handle.save(kind({"b": 1, "a": 2}), "x")
    assert list(handle.load("x").items()) == [("b", 1), ("a", 2)]


def test_cycles_and_sharing_within_a_value_survive(store):
    handle = store()
    root = Node("root", [])
    root.links += [root, root.links]
    handle.save({"root": root}, "x")
    found = handle.load("x")["root"]
    assert found.links[0] is found
    assert found.links[1] is found.links


def test_an_object_under_two_keys_comes_back_as_two_and_is_stored_once(store):
    handle = store()
    shared = np.random.default_rng(3).random(100_000)
    handle.save({"a": shared, "b": shared}, "x")
    found = handle.load("x")
    assert found["a"] is not found["b"]
    np.testing.assert_array_equal(found["a"], found["b"])
    assert handle.get_statistics()["total_size_bytes"] < 1.1 * shared.nbytes


def test_the_state_is_left_as_it_was_and_may_change_after(store):
    handle = store()
    state = {"list": [1], "array": np.arange(10_000)}
    handle.save(state, "x")
    assert list(state) == ["list", "array"]
    state["list"].append(2)
    state["array"][:] = 0
    found = handle.load("x")
    assert found["list"] == [1]
    assert found["array"][-1] == 9_999


def test_ten_thousand_keys_come_back_in_their_order(store):
    handle = store()
    state = {f"key {number * 7919 % 10_000}": number for number in range(10_000)}
    handle.save(state, "x")
    assert list(handle.load("x").items()) == list(state.items())


# --- ids


def test_ids_are_made_up_and_returned_when_none_is_given(store):
    handle = store()
    made = [handle.save({"n": number}) for number in range(5)]
    assert len(set(made)) == 5
    assert all(each.startswith("ckpt_") for each in made)
    assert [handle.load(each)["n"] for each in made] == [0, 1, 2, 3, 4]


def test_pipelines_have_ids_of_their_own(store):
    day, night = store(pipeline="day"), store(pipeline="night")
    day.save({"n": 1}, "x")
    night.save({"n": 2}, "x")
    assert (day.load("x"), night.load("x")) == ({"n": 1}, {"n": 2})
    assert day.pipelines() == ["day", "night"]
    day.delete_checkpoint("x")
    assert night.load("x") == {"n": 2}


# --- what lies on disk


@pytest.mark.parametrize("level", COMPRESSION_LEVELS)
def test_whatever_the_level_the_files_are_gzip(store, level):
    handle = store(compression_level=level)
    handle.save({"text": "some words " * 50_000, "noise": random.Random(4).randbytes(500_000)}, "x")
    handle.save({"text": "other words " * 50_000, "noise": b""}, "y")
    for path in payload_paths(handle):
        subprocess.run(["gzip", "-t", path], check=True, capture_output=True)
    assert handle.load("x")["text"] == "some words " * 50_000


def test_a_smaller_level_takes_no_more_space(tmp_path, store):
    words = random.Random(5).choices(Path(__file__).read_text().split(), k=100_000)
    sizes = []
    for level in ("stored", "fast", "smallest"):
        handle = store(level, compression_level=level)
        handle.save({"text": " ".join(words)}, "x")
        sizes.append(handle.get_checkpoint_info("x").size_bytes)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] < sizes[0] / 2


def test_metadata_tells_the_file_its_size_and_its_sha256(store):
    handle = store()
    handle.save({"a": "x" * 10_000}, "x")
    info = handle.get_checkpoint_info("x")
    data = Path(info.file_path).read_bytes()
    assert (len(data), sha256(data).hexdigest()) == (info.size_bytes, info.hash_sha256)


def test_zcat_prints_the_state_and_the_manifest(store):
    handle = store()
    handle.save({"greeting": "hello from the pipeline"}, "x")
    with gzip.open(handle.get_checkpoint_info("x").file_path) as file:
        content = file.read()
    assert b"hello from the pipeline" in content
    assert b'"state_digest"' in content


def test_a_manifest_tells_what_was_removed_in_the_order_of_keys(store):
    handle = store()
    state = {f"k{number}": number for number in range(30)}
    handle.save(state, "one")
    handle.save({"k7": 7, "new": 1}, "two")
    with LocalReader(Path(handle.get_checkpoint_info("two").file_path)) as reader:
        [checkpoint] = read_manifest(reader, "", PLAIN).checkpoints
    removed = [key for key, _, value in checkpoint.entries if value is None]
    assert removed == [key for key in state if key != "k7"]


def test_equal_states_give_equal_data_members(store):
    members = []
    for name in ("one", "two"):
        handle = store(name)
        handle.save({"text": "equal " * 1_000}, "x")
        with handle.query() as connection:
            members += connection.exec_driver_sql("SELECT sha256 FROM members").scalars().all()
    assert members[0] == members[1]


@pytest.mark.sqlite
def test_files_are_for_their_owner_alone(store):
    handle = store()
    handle.save({"a": 1}, "x")
    [payload] = payload_paths(handle)
    database = handle.checkpoint_dir / "checkpoints.db"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (payload, database)} == {0o600}
    assert stat.S_IMODE(payload.parent.stat().st_mode) == 0o700


def test_nothing_unfinished_is_left_behind(store):
    handle = store()
    for number in range(3):
        handle.save({"a": number}, "x")
    assert list((handle.checkpoint_dir / "payloads" / "incoming").iterdir()) == []
    handle._engine.pool.close()  # files go by a thread of it, after a save
    assert len(payload_paths(handle)) == 1


def test_a_checkpoint_that_changes_nothing_is_a_checkpoint(store):
    handle = store()
    handle.save({"a": "x" * 50_000}, "one")
    handle.save({"a": "x" * 50_000}, "two")
    one, two = (handle.get_checkpoint_info(each) for each in ("one", "two"))
    assert (two.is_incremental, two.base_checkpoint_id) == (True, "one")
    assert two.file_path != one.file_path
    assert handle.load("two") == handle.load("one")


@pytest.mark.parametrize("durable", [True, False])
def test_durable_or_not_another_handle_finds_everything(store, durable):
    handle = store(durable=durable)
    for number in range(5):
        handle.save({"n": number}, f"s{number}")
    again = store(durable=durable)
    assert [again.load(f"s{number}")["n"] for number in range(5)] == [0, 1, 2, 3, 4]


def test_a_closed_handle_holds_no_file_open(store):
    handle = store()
    handle.save({"a": np.zeros(3_000_000)}, "x")
    handle.load("x")
    handle.close()
    assert open_files(handle.checkpoint_dir) == []
    handle.load("x")
    handle.close()
    assert open_files(handle.checkpoint_dir) == []


def test_a_handle_closed_while_a_thread_reads_holds_no_file_open_after_that(store):
    handle = store()
    handle.save({"a": 1}, "x")
    gc.disable()
    try:
        with handle._engine.database.read():
            handle.close()
        assert open_files(handle.checkpoint_dir) == []
    finally:
        gc.enable()


def test_a_relative_directory_is_where_it_was_when_it_was_opened(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with type(store())("checkpoints") as handle:
        handle.save({"n": 1}, "a")
        monkeypatch.chdir(tmp_path / "elsewhere")
        handle.save({"n": 2}, "b")
        assert (handle.load("a"), handle.load("b")) == ({"n": 1}, {"n": 2})
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("base", ["", 3, "a\0b"])
def test_a_base_that_is_no_id_is_refused(store, base):
    handle = store()
    with pytest.raises(InvalidInputError):
        handle.save({"a": 1}, "x", base=base)
    assert handle.list_checkpoints() == []
