"""Whole stores, pipelines, and the results of queries copied into other stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpointdb import (
    CorruptionError,
    EncryptionError,
    InvalidInputError,
    NotFoundError,
    PipelineCheckpoint,
    RetentionPolicy,
    checkpoints,
    generate_encryption_key,
    meta,
)
from checkpointdb.store.packer import Packer

KEY = generate_encryption_key()
TEXT = "text " * 9_000


@pytest.fixture
def source(archive, store):
    for n in (1, 2, 3):
        archive.save({"text": TEXT, "n": n}, f"s{n}", custom_metadata={"n": n}, pinned=n == 2)
    store(pipeline="other").save({"o": 1}, "s1")
    return archive


def sealed(directory, key=KEY):
    return PipelineCheckpoint(directory, key, enable_encryption=True)


def described(handle):
    return [
        (each.checkpoint_id, each.timestamp, each.custom_metadata, each.pinned, each.is_incremental)
        for each in handle.list_checkpoints()
    ]


def test_a_whole_store_is_copied_as_it_is(source, store, tmp_path):
    assert source.copy_into(tmp_path / "copy") == 4
    copy = store("copy", retention_policy=RetentionPolicy.KEEP_ALL)
    assert described(copy) == described(source)
    assert copy.load("s3") == {"text": TEXT, "n": 3}
    assert store("copy", pipeline="other").load("s1") == {"o": 1}


def test_a_second_copy_brings_what_was_saved_since(source, tmp_path):
    source.copy_into(tmp_path / "copy")
    source.save({"n": 4}, "s4")
    assert source.copy_into(tmp_path / "copy") == 1
    assert source.copy_into(tmp_path / "copy") == 0


def test_the_result_of_a_query_is_copied_without_the_rest(source, store, tmp_path):
    seen = []
    count = source.copy_into(
        tmp_path / "copy",
        where=meta("n") >= 2,
        pipelines=["default"],
        progress=lambda *given: seen.append(given),
    )
    assert count == 2
    assert seen == [(1, 2), (2, 2)]
    copy = store("copy")
    assert [each.checkpoint_id for each in copy.list_checkpoints()] == ["s3", "s2"]
    assert copy.load("s2") == {"text": TEXT, "n": 2}
    assert copy.pipelines() == ["default"]


def test_a_pipeline_that_is_not_there_is_said_before_anything_is_copied(source, tmp_path):
    with pytest.raises(NotFoundError, match="'nobody'"):
        source.copy_into(tmp_path / "copy", pipelines=["default", "nobody"])
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("where", ["n", meta("n")], ids=["text", "no condition"])
def test_a_condition_that_is_none_makes_no_store(source, tmp_path, where):
    with pytest.raises(InvalidInputError):
        source.copy_into(tmp_path / "copy", where=where)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("there", [".", "sub/copy", "payloads"])
def test_a_store_is_not_copied_into_itself(source, there):
    with pytest.raises(InvalidInputError, match="this store itself, or lies in it"):
        source.copy_into(source.checkpoint_dir / there)
    assert not (source.checkpoint_dir / "sub").exists()


@pytest.mark.damages
def test_a_damaged_checkpoint_ends_a_copy_which_says_how_to_go_on_without_it(
    source, store, tmp_path
):
    source.save({"lost": 1}, "lost", force_full=True)
    source.save({"last": 1}, "last", force_full=True)
    Path(source.get_checkpoint_info("lost").file_path).unlink()
    with pytest.raises(CorruptionError, match=r"Of 6 checkpoints .* 3 are: .*--where") as raised:
        source.copy_into(tmp_path / "copy")
    assert raised.value.checkpoint_id == "lost"
    is_whole = checkpoints.c.checkpoint_id != raised.value.checkpoint_id
    assert source.copy_into(tmp_path / "copy", where=is_whole) == 2
    assert store("copy", pipeline="other").load("s1") == {"o": 1}


def test_a_pipeline_as_text_is_not_taken_for_a_list_of_letters(source, tmp_path):
    with pytest.raises(InvalidInputError, match=r"write pipelines=\[…\]"):
        source.copy_into(tmp_path / "copy", pipelines="default")


def test_another_checkpoint_of_the_same_id_is_not_replaced(source, store, tmp_path):
    store("copy").save({"mine": 1}, "s2")
    with pytest.raises(InvalidInputError, match="another checkpoint 's2'"):
        source.copy_into(tmp_path / "copy")
    assert len(store("copy").list_checkpoints()) == 1


def test_a_copy_of_an_encrypted_store_is_encrypted_under_the_same_key(source, tmp_path):
    source.copy_into(tmp_path / "sealed", key=KEY)
    with sealed(tmp_path / "sealed") as first:
        assert first.copy_into(tmp_path / "second") == 4
    with sealed(tmp_path / "second") as second:
        assert second.load("s1")["n"] == 1


def test_an_encrypted_store_is_copied_into_the_clear_only_if_that_is_said(source, store, tmp_path):
    source.copy_into(tmp_path / "sealed", key=KEY)
    store("clear").save({"mine": 1}, "mine")
    with sealed(tmp_path / "sealed") as first:
        with pytest.raises(EncryptionError, match="in the clear"):
            first.copy_into(tmp_path / "clear")
        assert first.copy_into(tmp_path / "clear", encrypted=False) == 4
    assert store("clear").load("s1")["n"] == 1


def test_an_encrypted_target_is_not_written_to_without_its_key(source, tmp_path):
    source.copy_into(tmp_path / "sealed", key=KEY)
    with pytest.raises(EncryptionError, match="is encrypted"):
        source.copy_into(tmp_path / "sealed")


# --- ids that other checkpoints have


@pytest.fixture
def target(source, store):
    """A store that has one of the checkpoints already, and another one of its next one's id."""
    handle = store("copy", retention_policy=RetentionPolicy.KEEP_ALL)
    source.copy_into(handle.checkpoint_dir, where=meta("n") == 1)
    handle.save({"mine": 1}, "s2")
    return handle


def owners(handle):
    return {
        each.checkpoint_id: handle.load(each.checkpoint_id).get("n", "mine")
        for each in handle.list_checkpoints()
    }


@pytest.mark.parametrize(
    ("rule", "copied", "found", "origin"),
    [
        ("skip", 2, {"s1": 1, "s2": "mine", "s3": 3}, "s2"),
        ("replace", 3, {"s1": 1, "s2": 2, "s3": 3}, "s2"),
        ("rename", 3, {"s1": 1, "s2": "mine", "s2-copied": 2, "s3": 3}, "s2-copied"),
    ],
)
def test_an_id_that_is_taken_is_skipped_replaced_or_renamed(
    source, target, rule, copied, found, origin
):
    directory = target.checkpoint_dir
    assert source.copy_into(directory, on_conflict=rule) == copied
    assert owners(target) == found
    assert target.details("s3").parent_id == origin
    assert source.copy_into(directory, on_conflict=rule) == 0
    assert owners(target) == found


def test_what_is_copied_over_a_pinned_one_is_pinned(source, target):
    target.pin("s2")
    source.unpin("s2")
    source.copy_into(target.checkpoint_dir, on_conflict="replace")
    assert target.get_checkpoint_info("s2").pinned


def test_what_is_renamed_has_an_id_that_can_be_saved_again(store):
    longest = "i" * 16_384
    source, target = store("source"), store("target")
    source.save({"n": 1}, longest)
    target.save({"mine": 1}, longest)
    source.copy_into(target.checkpoint_dir, on_conflict="rename")
    [renamed] = {each.checkpoint_id for each in target.list_checkpoints()} - {longest}
    assert target.load(renamed) == {"n": 1}
    target.save({"n": 2}, renamed)
    assert source.copy_into(target.checkpoint_dir, on_conflict="skip") == 0


def test_a_pin_is_copied_with_what_replaces_and_what_is_renamed(source, target):
    source.copy_into(target.checkpoint_dir, on_conflict="rename")
    assert target.get_checkpoint_info("s2-copied").pinned
    source.copy_into(target.checkpoint_dir, on_conflict="replace")
    assert target.get_checkpoint_info("s2").pinned


@pytest.mark.parametrize("rule", ["refuse", "skip", "rename"])
def test_what_another_saves_under_an_id_during_a_copy_is_not_replaced(
    source, store, monkeypatch, rule
):
    target = store("copy", retention_policy=RetentionPolicy.KEEP_ALL)
    finish = Packer.finish

    def save_first(packer, *arguments, **options):
        monkeypatch.undo()
        target.save({"n": "theirs"}, "s1")
        return finish(packer, *arguments, **options)

    monkeypatch.setattr(Packer, "finish", save_first)
    with pytest.raises(InvalidInputError, match="another writer meanwhile"):
        source.copy_into(target.checkpoint_dir, on_conflict=rule)
    assert target.load("s1") == {"n": "theirs"}


@pytest.mark.parametrize("key", [None, KEY], ids=["clear", "encrypted"])
def test_what_is_replaced_during_a_copy_is_not_told_as_what_it_was(source, store, tmp_path, key):
    writer = store(source.checkpoint_dir.name, state_version=2)

    def replace(done, _total):
        if done == 1:
            writer.save({"new": 1}, "s2", custom_metadata={"n": "new"})

    assert source.copy_into(tmp_path / "copy", key=key, progress=replace) == 3
    with PipelineCheckpoint(tmp_path / "copy", key, enable_encryption=None) as copy:
        assert [each.checkpoint_id for each in copy.list_checkpoints()] == ["s3", "s1"]
        assert source.copy_into(tmp_path / "copy", key=key) == 1
        found = copy.get_checkpoint_info("s2")
        assert (found.custom_metadata, found.state_version) == ({"n": "new"}, 2)
        assert found.timestamp == source.get_checkpoint_info("s2").timestamp
        assert copy.load("s2") == {"new": 1}


def test_a_conflict_is_refused_before_anything_is_copied_and_a_rule_that_is_none(source, target):
    with pytest.raises(InvalidInputError, match="nothing was copied"):
        source.copy_into(target.checkpoint_dir)
    with pytest.raises(InvalidInputError, match="on_conflict"):
        source.copy_into(target.checkpoint_dir, on_conflict="overwrite")
    assert owners(target) == {"s1": 1, "s2": "mine"}
