"""The history of a key and the difference of two states, from the rows alone."""

from __future__ import annotations

import random

import pytest

from checkpointdb import InvalidInputError, NotFoundError

pytestmark = pytest.mark.databases


def versions(handle, key):
    return [(each.checkpoint_id, each.change) for each in handle.history(key)]


@pytest.fixture
def handle(archive):
    common = {"a": random.Random(71).randbytes(20_000)}
    archive.save(common | {"text": "x" * 1_000}, "one")
    archive.save(common | {"text": "y" * 2_000}, "two")
    archive.save(common, "three")
    archive.save(common | {"text": [1]}, "four")
    return archive


# --- history


def test_a_history_has_every_value_and_every_removal_oldest_first(handle):
    assert versions(handle, "text") == [
        ("one", "set"),
        ("two", "set"),
        ("three", "removed"),
        ("four", "set"),
    ]
    assert versions(handle, "a") == [("one", "set")]


def test_a_version_has_type_size_digest_and_time(handle):
    one, _, removed, four = handle.history("text")
    assert (one.key, one.type_name, four.type_name) == ("text", "str", "list")
    assert 1_000 < one.raw_bytes < 1_100
    assert len(one.digest) == 64
    assert one.created_at.isoformat() == handle.get_checkpoint_info("one").timestamp
    assert (removed.type_name, removed.raw_bytes, removed.digest) == (None, None, None)


def test_a_key_that_never_was_has_no_history(handle):
    assert handle.history("nothing") == []


@pytest.mark.parametrize("key", [5, None, b"text"])
def test_a_key_that_is_no_text_is_refused(handle, key):
    with pytest.raises(InvalidInputError, match="a key is text"):
        handle.history(key)


def test_what_only_forgotten_checkpoints_had_is_not_in_the_history(handle):
    handle.delete_checkpoint("two")
    assert versions(handle, "text") == [("one", "set"), ("three", "removed"), ("four", "set")]


def test_a_value_is_told_of_the_first_checkpoint_that_still_has_it(handle):
    handle.delete_checkpoint("one")
    assert versions(handle, "a") == [("two", "set")]


def test_a_fork_that_changed_nothing_is_left_out(handle):
    handle.save(handle.load("one") | {"text": "forked"}, "fork")
    assert versions(handle, "a") == [("one", "set")]
    assert versions(handle, "text")[-1] == ("fork", "set")
    chains = {each.checkpoint_id: each.chain for each in handle.history("text")}
    assert chains["one"] != chains["fork"]


def test_a_full_that_changed_nothing_is_left_out(archive):
    archive.save({"a": 1, "b": 1}, "one")
    archive.save({"a": 1, "b": 2}, "two", force_full=True)
    assert versions(archive, "a") == [("one", "set")]


def test_a_removal_that_a_full_brings_is_told(archive, store):
    common = {"a": random.Random(71).randbytes(20_000)}
    archive.save(common | {"k": 1, "z": 0}, "has")
    archive.save(common | {"z": 1}, "lost it", force_full=True)
    archive.save(common | {"z": 2}, "still without")
    archive.save(common | {"k": 3, "z": 3}, "has again")
    told = [("has", "set"), ("lost it", "removed"), ("has again", "set")]
    assert versions(archive, "k") == told
    removed = archive.history("k")[1]
    info = archive.get_checkpoint_info("lost it")
    assert (removed.key, removed.created_at.isoformat()) == ("k", info.timestamp)
    assert (removed.type_name, removed.raw_bytes, removed.digest) == (None, None, None)
    assert versions(archive, "z")[1] == ("lost it", "set")
    archive.delete_checkpoint("lost it")
    assert versions(archive, "k") == [("has", "set"), ("still without", "removed"), told[-1]]
    archive.delete_checkpoint("has")  # what removed it is not known any more
    assert versions(archive, "k") == [("has again", "set")]
    assert versions(store(pipeline="other"), "k") == []


def test_a_key_that_a_chain_never_had_is_not_removed_by_a_full(archive):
    archive.save({"a": 1}, "one")
    archive.save({"a": 1, "b": 2}, "two")
    archive.save({"a": 1}, "three")
    archive.save({"a": 2}, "four", force_full=True)
    assert versions(archive, "b") == [("two", "set"), ("three", "removed")]


def test_only_moving_a_key_is_no_new_value(archive):
    archive.save({"a": 1, "b": 2, "c": 3}, "one")
    archive.save({"c": 3, "b": 2, "a": 1}, "two")
    assert [versions(archive, key) for key in "abc"] == [[("one", "set")]] * 3


def test_a_value_that_returns_is_told_again(archive):
    for number, value in enumerate([1, 2, 1]):
        archive.save({"a": value}, f"s{number}")
    digests = [each.digest for each in archive.history("a")]
    assert len(digests) == 3
    assert digests[0] == digests[2] != digests[1]


def test_a_history_is_of_its_pipeline(handle, store):
    store(pipeline="other").save({"text": "theirs"}, "theirs")
    assert len(handle.history("text")) == 4


# --- diff


def test_a_diff_tells_added_removed_changed_and_unchanged(archive):
    archive.save({"same": 1, "gone": "x" * 500, "grown": [1]}, "old")
    archive.save({"new": 2.5, "grown": "y" * 900, "same": 1}, "new")
    found = archive.diff("old", "new")
    [added], [removed], [changed] = found.added, found.removed, found.changed
    assert (added.key, added.old_bytes, added.old_type, added.new_type) == (
        "new",
        None,
        None,
        "float",
    )
    assert (removed.key, removed.new_bytes, removed.old_type) == ("gone", None, "str")
    assert 500 < removed.old_bytes < 600
    assert (changed.key, changed.old_type, changed.new_type) == ("grown", "list", "str")
    assert changed.new_bytes > 900 > changed.old_bytes
    assert found.unchanged == ("same",)


def test_a_diff_backwards_turns_added_and_removed(archive):
    archive.save({"a": 1}, "old")
    archive.save({"b": 1}, "new")
    found = archive.diff("new", "old")
    assert [each.key for each in found.added] == ["a"]
    assert [each.key for each in found.removed] == ["b"]


def test_a_diff_with_itself_and_a_change_of_order_change_nothing(archive):
    archive.save({"a": 1, "b": 2}, "x")
    archive.save({"b": 2, "a": 1}, "y")
    for old, new in (("x", "x"), ("x", "y")):
        found = archive.diff(old, new)
        assert (found.added, found.removed, found.changed) == ((), (), ())
        assert set(found.unchanged) == {"a", "b"}


def test_a_diff_across_chains_compares_values(archive):
    archive.save({"a": "x" * 5_000, "b": 1}, "old")
    archive.save({"a": "x" * 5_000, "b": 2}, "new", force_full=True)
    found = archive.diff("old", "new")
    assert found.unchanged == ("a",)
    assert [each.key for each in found.changed] == ["b"]


@pytest.mark.damages
def test_history_and_diff_read_no_payload(handle):
    for path in handle.checkpoint_dir.rglob("*.ckpt.gz"):
        path.unlink()
    assert [each.key for each in handle.diff("one", "two").changed] == ["text"]
    assert len(handle.history("text")) == 4


@pytest.mark.parametrize("pair", [("one", "nobody"), ("nobody", "one")])
def test_a_diff_of_what_is_not_there_is_not_found(handle, pair):
    with pytest.raises(NotFoundError, match="nobody"):
        handle.diff(*pair)
