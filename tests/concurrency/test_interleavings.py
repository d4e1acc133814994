"""Races by hand: something happens at the worst moment, between two steps of an operation."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from blake3 import blake3
from breaking import KEEP_ALL, assert_sound, state_of, tag_of, tags_of
from sqlalchemy import select, update

from checkpointdb import (
    CorruptionError,
    FernetKey,
    NotFoundError,
    PipelineCheckpoint,
    StateChangedError,
    StoreBusyError,
    generate_encryption_key,
)
from checkpointdb.local_payloads import LocalPayloads
from checkpointdb.schema import checkpoints, payloads, removals
from checkpointdb.store.packer import Packer


@pytest.fixture
def two(tmp_path):
    """Two handles of one pipeline: one works, the other comes in between."""
    with (
        PipelineCheckpoint(tmp_path, **KEEP_ALL) as one,
        PipelineCheckpoint(tmp_path, **KEEP_ALL) as other,
    ):
        yield one, other
    assert_sound(tmp_path)


@pytest.fixture
def meanwhile(monkeypatch):
    """Let an action happen before each of the next `times` calls of a method."""

    def arrange(owner, name, action, times=1):
        original, left, busy = getattr(owner, name), [times], []

        def wrapped(*arguments, **options):
            if left[0] and not busy:
                left[0] -= 1
                busy.append(True)
                action()
                busy.clear()
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, wrapped)

    return arrange


BEFORE_READING = (LocalPayloads, "open")  # rows are read, bytes are not
BEFORE_COMMIT = (Packer, "finish")  # staged, not locked
BEFORE_RENAME = (LocalPayloads, "give_name")  # locked, rows written
BEFORE_UNLINK = (LocalPayloads, "delete")  # committed


# --- a reader with a plan that is no longer true


def test_a_load_of_what_is_deleted_meanwhile_finds_nothing(two, meanwhile):
    one, other = two
    one.save(state_of("old"), "x")
    meanwhile(*BEFORE_READING, lambda: other.delete_checkpoint("x"))
    with pytest.raises(NotFoundError):
        one.load("x")


@pytest.mark.parametrize("times", [1, 5])
def test_a_load_of_what_is_replaced_meanwhile_gives_the_new_state(two, meanwhile, times):
    one, other = two
    one.save(state_of("old"), "x")
    tags = iter("abcde")

    def replace():
        other.save(state_of(next(tags)), "x", force_full=True)
        other._engine.pool.close()  # a thread of it unlinks the old one

    meanwhile(*BEFORE_READING, replace, times)
    assert tag_of(one.load("x")) == "abcde"[times - 1]


def test_the_latest_that_is_deleted_meanwhile_gives_the_one_before_under_its_own_name(
    two, meanwhile
):
    one, other = two
    one.save(state_of("x"), "x")
    one.save(state_of("y"), "y", force_full=True)
    meanwhile(*BEFORE_READING, lambda: other.delete_checkpoint("y"))
    found, state = one.load_latest()
    assert (found.checkpoint_id, tag_of(state)) == ("x", "x")


def test_a_payload_that_is_gone_for_good_is_corruption_and_no_endless_loop(tmp_path):
    with PipelineCheckpoint(tmp_path) as handle:
        handle.save(state_of("x"), "x")
        Path(handle.get_checkpoint_info("x").file_path).unlink()
        with pytest.raises(CorruptionError, match="'x'"):
            handle.load("x")


# --- a save whose ground goes away between staging and commit


def test_a_save_whose_base_is_deleted_meanwhile_is_whole(two, meanwhile):
    one, other = two
    one.save(state_of("a"), "a")
    meanwhile(*BEFORE_COMMIT, lambda: other.delete_checkpoint("a"))
    one.save(state_of("b"), "b")
    assert tags_of(other) == {"b": "b"}


def test_a_save_that_reuses_chunks_of_a_stranger_deleted_meanwhile_is_whole(two, meanwhile):
    one, other = two
    one.save({"own": "base"}, "base")
    other.save(state_of("stranger"), "stranger")
    meanwhile(*BEFORE_COMMIT, lambda: other.delete_checkpoint("stranger"))
    one.save(state_of("stranger"), "mine", base="base")
    assert tag_of(one.load("mine")) == "stranger"
    other.delete_checkpoint("base")


def test_a_save_that_loses_every_race_ends_as_a_full(two, meanwhile):
    one, other = two
    names = iter(range(100))

    def move_the_ground():
        other.delete_checkpoint(f"ground {next(names) - 1}")
        other.save({**state_of("ground"), "tag": "ground"}, f"ground {next(names)}")

    other.save(state_of("ground"), "ground -1")
    meanwhile(*BEFORE_COMMIT, move_the_ground, times=50)
    one.save(state_of("mine"), "mine")
    assert tag_of(one.load("mine")) == "mine"


@pytest.mark.parametrize("times", [10, 10**6])
def test_a_save_whose_keyring_is_changed_again_and_again_goes_on_while_it_may_wait(
    tmp_path, meanwhile, times
):
    """The last try of a save relies on no checkpoint; on the keyring it does."""
    options = {**KEEP_ALL, "enable_encryption": True, "busy_seconds": 60.0 if times == 10 else 0.3}
    key, more = generate_encryption_key(), FernetKey(generate_encryption_key())
    with (
        PipelineCheckpoint(tmp_path, key, **options) as one,
        PipelineCheckpoint(tmp_path, key, **options) as other,
    ):

        def change():
            if more.key_id in other.key_ids():
                other.remove_key(more)
            else:
                other.add_key(more)

        meanwhile(*BEFORE_COMMIT, change, times)
        if times == 10:
            one.save(state_of("mine"), "mine")
            assert tag_of(other.load("mine")) == "mine"
        else:
            with pytest.raises(StoreBusyError, match="try again"):
                one.save(state_of("mine"), "mine")
            assert tags_of(other) == {}
        assert one.check(read_data=True).problems == ()


def test_a_writer_whose_checkpoint_is_replaced_by_another_forks(two):
    one, other = two
    one.save(state_of("a"), "a")
    other.save(state_of("A"), "a")
    one.save(state_of("b"), "b")
    assert tags_of(one) == {"a": "A", "b": "b"}
    with one.query() as connection:
        chains = connection.scalars(select(checkpoints.c.chain_id)).all()
    assert len(set(chains)) == 2


def test_an_id_saved_by_another_at_the_last_moment_is_replaced(two, meanwhile):
    one, other = two
    meanwhile(*BEFORE_COMMIT, lambda: other.save(state_of("theirs"), "same"))
    one.save(state_of("mine"), "same")
    assert tags_of(other) == {"same": "mine"}


# --- damage that is marked meanwhile


def mark_damaged(handle, checkpoint_id):
    its_payload = select(checkpoints.c.payload_id).where(
        checkpoints.c.checkpoint_id == checkpoint_id
    )
    with handle._engine.database.write() as connection:
        connection.execute(
            update(payloads)
            .where(payloads.c.id.in_(its_payload))
            .values(damaged_at=datetime.now(UTC))
        )


def relies_on_no_damage(handle, checkpoint_id, damaged_id):
    Path(handle.get_checkpoint_info(damaged_id).file_path).unlink()
    return tag_of(handle.load(checkpoint_id))


@pytest.fixture
def archive(tmp_path):
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        yield handle


def test_damage_marked_between_staging_and_commit_is_not_relied_on(archive, meanwhile):
    archive.save(state_of("a"), "a")
    meanwhile(*BEFORE_COMMIT, lambda: mark_damaged(archive, "a"))
    archive.save(state_of("b"), "b")
    assert relies_on_no_damage(archive, "b", "a") == "b"


def test_damage_marked_between_two_saves_is_not_relied_on(archive):
    archive.save(state_of("a"), "a")
    mark_damaged(archive, "a")
    archive.save(state_of("b"), "b")
    assert relies_on_no_damage(archive, "b", "a") == "b"


def test_damage_that_takes_the_place_of_other_damage_is_not_relied_on(archive):
    """As many payloads are damaged as when the writer last looked, but not the same."""
    archive.save({"other": "other" * 2000}, "other")
    mark_damaged(archive, "other")
    archive.save(state_of("a"), "a", force_full=True)
    archive.delete_checkpoint("other")
    mark_damaged(archive, "a")
    archive.save(state_of("b"), "b")
    assert relies_on_no_damage(archive, "b", "a") == "b"


# --- unlinking, and names


def removals_of(handle):
    with handle.query() as connection:
        return list(connection.scalars(select(removals.c.name)))


def test_a_file_that_could_not_be_unlinked_goes_with_the_next_opening(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(5, "Input/output error")

    with PipelineCheckpoint(tmp_path) as handle:
        handle.save(state_of("a"), "a")
        monkeypatch.setattr(LocalPayloads, "delete", refuse)
        handle.delete_checkpoint("a")
        monkeypatch.undo()
        assert len(removals_of(handle)) == 1
    with PipelineCheckpoint(tmp_path) as handle:
        assert list(tmp_path.rglob("*.ckpt.gz")) == []
        handle.save(state_of("b"), "b")
    assert_sound(tmp_path)


def test_a_save_that_fails_after_forgetting_spent_removals_loses_none(two, meanwhile):
    one, _ = two
    one.save(state_of("a"), "a")
    one.delete_checkpoint("a")

    def fail():
        raise RuntimeError("in the middle of the transaction")

    meanwhile(*BEFORE_RENAME, fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        one.save(state_of("b"), "b")
    assert len(removals_of(one)) == 1
    one.save(state_of("c"), "c")
    assert tags_of(one) == {"c": "c"}


def test_a_file_that_has_the_next_name_already_is_never_replaced(tmp_path):
    """It may belong to a commit that failed and comes to life when the log is recovered."""
    with PipelineCheckpoint(tmp_path) as handle:
        handle.save(state_of("a"), "x")
        [first] = tmp_path.rglob("*.ckpt.gz")
        stranger = first.with_name(first.name.replace("0001-", "0002-"))
        stranger.write_bytes(b"of a commit that is in doubt")
        handle.save(state_of("b"), "x")
        assert stranger.read_bytes() == b"of a commit that is in doubt"
        assert tag_of(handle.load("x")) == "b"
    assert_sound(tmp_path)


def test_a_pipeline_called_as_another_is_stored_shares_no_name_with_it(tmp_path, meanwhile):
    twin = f"a_b-{blake3(b'a/b').hexdigest()[:10]}"
    with (
        PipelineCheckpoint(tmp_path, pipeline="a/b", **KEEP_ALL) as one,
        PipelineCheckpoint(tmp_path, pipeline=twin, **KEEP_ALL) as other,
    ):
        one.save(state_of("one"), "s")
        meanwhile(*BEFORE_UNLINK, lambda: other.save(state_of("other"), "s"))
        one.delete_checkpoint("s")
        assert tag_of(other.load("s")) == "other"


# --- a state that is changed while it is saved


def test_keys_added_by_another_thread_during_a_save_give_our_error_or_a_whole_state(archive):
    state = {str(number): number for number in range(500)}
    done = threading.Event()

    def change():
        number = 0
        while not done.wait(0.0001):
            number += 1
            state[f"more {number % 500}"] = number
            state.pop(f"more {(number * 7) % 500}", None)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(8):
            try:
                loaded = archive.load(archive.save(state))
            except StateChangedError:
                continue
            assert {str(number): number for number in range(500)}.items() <= loaded.items()
    finally:
        done.set()
        changer.join()


def test_a_value_that_saves_while_it_is_pickled_does_no_harm(archive, monkeypatch):
    class Reentrant:
        def __reduce__(self):
            archive.save(state_of("inner"), "inner")
            return (str, ("outer",))

    archive.save(state_of("first"), "first")
    archive.save({**state_of("outer"), "last": Reentrant()}, "outer")
    assert archive.load("outer")["last"] == "outer"
    assert tag_of(archive.load("inner")) == "inner"
    assert archive.check(read_data=True).problems == ()
