"""A new master key: every payload sealed anew while others save and load."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from checkpointdb import (
    CorruptionError,
    EncryptionError,
    InvalidInputError,
    PassphraseKey,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreBusyError,
    WrongKeyError,
    generate_encryption_key,
)
from checkpointdb.backup.lease import leased
from checkpointdb.keyring import decode_keyring
from checkpointdb.keys import FernetKey
from checkpointdb.store.encryption import Unlocked
from checkpointdb.store.packer import Packer

pytestmark = pytest.mark.databases

OLD, NEW = generate_encryption_key(), generate_encryption_key()
ARRAY = np.arange(300_000)


@pytest.fixture
def opened(tmp_path):
    """Open handles of an encrypted store, closed at the end."""
    handles = []

    def open_store(key=OLD, **options):
        options = {"durable": False, "retention_policy": RetentionPolicy.KEEP_ALL, **options}
        handles.append(PipelineCheckpoint(tmp_path / "store", key, True, **options))
        return handles[-1]

    yield open_store
    for handle in handles:
        handle.close()


@pytest.fixture
def filled(opened):
    """A handle of a store with a full, deltas, a fork, a replaced id and two pipelines."""
    handle = opened()
    for number, state in states().items():
        handle.save(state, number)
    handle.save({"array": ARRAY, "n": -1}, "fork", base="0")
    handle.save({"array": ARRAY[:7]}, "0")
    opened(pipeline="other").save({"x": 1}, "x")
    return handle


def states():
    return {str(n): {"array": ARRAY, "text": "some text " * 900 + str(n), "n": n} for n in range(4)}


def payloads(directory):
    return {path.name: path.read_bytes() for path in directory.glob("payloads/p-*/*")}


def loaded(handle):
    ids = [each.checkpoint_id for each in handle.list_checkpoints(reverse=False)]
    return {each: {k: str(v) for k, v in handle.load(each).items()} for each in ids}


def epochs(directory):
    keyring = decode_keyring((directory / "keyring.json").read_bytes())
    return sorted(keyring.unlock(FernetKey(NEW)).masters)


def test_every_payload_is_another_file_and_everything_loads_as_before(filled, opened, tmp_path):
    before, files, told = loaded(filled), payloads(tmp_path / "store"), []
    assert (
        filled.rotate_key(NEW, reencrypt=True, progress=lambda *done: told.append(done))
        == FernetKey(NEW).key_id
    )
    assert told == [(number, len(files)) for number in range(1, len(files) + 1)]
    after = payloads(tmp_path / "store")
    assert len(after) == len(files)
    assert not set(after.values()) & set(files.values())
    assert epochs(tmp_path / "store") == [2]
    for handle in (filled, opened(NEW)):
        assert loaded(handle) == before
        assert handle.key_ids() == [FernetKey(NEW).key_id]
        assert handle.check(read_data=True).problems == ()


def test_the_old_key_opens_nothing_any_more_also_with_a_copy_of_its_keyring(
    filled, opened, tmp_path
):
    shutil.copy(tmp_path / "store" / "keyring.json", tmp_path / "copy.json")
    filled.rotate_key(NEW, reencrypt=True)
    with pytest.raises(WrongKeyError):
        opened(OLD)
    stolen = decode_keyring((tmp_path / "copy.json").read_bytes()).unlock(FernetKey(OLD))
    assert stolen.masters[1] not in (
        decode_keyring((tmp_path / "store" / "keyring.json").read_bytes())
        .unlock(FernetKey(NEW))
        .masters.values()
    )


def test_what_follows_is_a_delta_of_what_was_sealed_anew(filled):
    filled.rotate_key(NEW, reencrypt=True)
    filled.save({**states()["3"], "n": 99}, "next", base="3")
    info = filled.get_checkpoint_info("next")
    assert info.is_incremental
    assert info.size_bytes < 3_000


def test_handles_with_the_old_key_save_and_load_until_the_end(filled, opened):
    other, ids = opened(), iter(range(99))
    idle = opened()
    other.save({"n": 0}, "before")

    def use(done, total):
        other.save({"array": ARRAY, "n": done}, f"meanwhile {next(ids)}")
        assert len(loaded(other)) == 6 + done
        with opened() as third:
            third.load("1")

    filled.rotate_key(NEW, reencrypt=True, progress=use)
    assert filled.check(read_data=True).problems == ()
    assert filled.load("meanwhile 3")["n"] == 4
    other.save({"n": 1}, "after")  # it has had the new master key since it first met it
    assert filled.load("after") == {"n": 1}
    with pytest.raises(WrongKeyError):
        idle.load("fork")
    with pytest.raises(WrongKeyError):
        idle.save({"n": 1}, "never")
    with pytest.raises(WrongKeyError):
        opened()


def test_a_payload_of_the_old_master_key_is_never_committed_after_the_new_one(filled, opened):
    other = opened()
    other.save({"n": 0}, "before")

    def begin(number):
        class Slow:
            def __reduce__(self):
                with pytest.raises(ZeroDivisionError):
                    filled.rotate_key(NEW, reencrypt=True, progress=lambda *_: 1 / 0)
                return int, (number,)

        return Slow()

    other.save({"slow": begin(5)}, "begun before")
    filled.rotate_key(NEW, reencrypt=True)
    assert filled.load("begun before") == {"slow": 5}
    assert filled.check(read_data=True).problems == ()


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("rewrite", ["compact", "merge", "save"])
def test_what_is_written_again_meanwhile_is_never_committed_by_the_old_master_key(
    filled, opened, monkeypatch, rewrite, is_known
):
    """All of a re-encryption happens between the last read of a writing, and its lock.

    Another thread of the handle may have met the new master key in between.
    """
    other, finish = opened(), Packer.finish
    other.save({"dead": ARRAY + 1, "alive": ARRAY + 2}, "dead")
    other.save({"alive": ARRAY + 2}, "alive")
    other.delete_checkpoint("dead")
    before = loaded(other)

    def reencrypt_first(packer, *arguments, **options):
        monkeypatch.undo()
        filled.rotate_key(NEW, reencrypt=True, keep=[OLD])
        if is_known:
            other._engine.cipher.renew()
        return finish(packer, *arguments, **options)

    monkeypatch.setattr(Packer, "finish", reencrypt_first)
    if rewrite == "compact":
        assert other.compact(min_dead=0.01).rewritten
    elif rewrite == "merge":
        assert other.merge("alive").is_merged
    else:
        other.save({"n": 9}, "new")
        before["new"] = {"n": "9"}
    third = opened(NEW)
    assert loaded(third) == before
    assert third.check(read_data=True).problems == ()


def test_an_interrupted_one_goes_on_and_makes_no_third_master_key(filled, opened, tmp_path):
    before = loaded(filled)

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled.rotate_key(NEW, reencrypt=True, progress=stop)
    assert epochs(tmp_path / "store") == [1, 2]
    for key in (OLD, NEW):
        assert loaded(opened(key)) == before
    told = []
    opened(OLD).rotate_key(NEW, reencrypt=True, progress=lambda *done: told.append(done))
    assert told[-1] == (4, 4)  # of seven
    assert epochs(tmp_path / "store") == [2]
    assert loaded(opened(NEW)) == before


def test_other_keys_are_not_shut_out_unawares_and_stay_if_they_are_given(filled, opened):
    words = PassphraseKey("correct horse", name="ops")
    filled.add_key(words)
    with pytest.raises(EncryptionError, match="passphrase:ops"):
        filled.rotate_key(NEW, reencrypt=True)
    assert len(filled.key_ids()) == 2
    filled.rotate_key(NEW, reencrypt=True, keep=[words])
    assert filled.key_ids() == sorted([FernetKey(NEW).key_id, "passphrase:ops"])
    assert opened(words).load("1")["n"] == 1


def test_the_same_key_may_get_a_new_master_key(filled, tmp_path):
    before = loaded(filled)
    filled.rotate_key(OLD, reencrypt=True)
    assert loaded(filled) == before
    keyring = decode_keyring((tmp_path / "store" / "keyring.json").read_bytes())
    assert sorted(keyring.unlock(FernetKey(OLD)).masters) == [2]


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_payload_that_cannot_be_read_keeps_the_old_key(damage, filled, opened, tmp_path):
    path = Path(filled.get_checkpoint_info("2").file_path)
    whole = path.read_bytes()
    if damage == "flip":
        path.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    else:
        path.unlink()
    with pytest.raises(CorruptionError, match="1 payloads could not be sealed anew"):
        filled.rotate_key(NEW, reencrypt=True)
    assert epochs(tmp_path / "store") == [1, 2]
    assert opened(OLD).load("1")["n"] == opened(NEW).load("3")["n"] + -2
    path.write_bytes(whole)
    filled.rotate_key(NEW, reencrypt=True)
    assert epochs(tmp_path / "store") == [2]
    assert filled.load("2")["n"] == 2


def test_what_is_damaged_and_needed_by_nobody_stays_so_and_does_not_keep_the_old_key(
    opened, tmp_path
):
    noise = np.random.default_rng(1)
    handle, one, two = opened(), noise.random(300_000), noise.random(200_000)
    handle.save({"one": one, "two": two}, "first")
    path = Path(handle.get_checkpoint_info("first").file_path)
    handle.save({"two": two}, "second")
    handle.delete_checkpoint("first")
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    handle.rotate_key(NEW, reencrypt=True)
    assert epochs(tmp_path / "store") == [2]
    assert (handle.load("second")["two"] == two).all()
    assert handle.check(read_data=True).problems == ()


def test_files_without_a_row_keep_the_old_master_key_until_they_are_gone(filled, tmp_path):
    path = Path(filled.get_checkpoint_info("2").file_path)
    stray = path.with_name("0000000099-stray.ckpt.gz")
    shutil.copy(path, stray)
    with pytest.raises(EncryptionError, match=r"0000000099-stray\.ckpt\.gz"):
        filled.rotate_key(NEW, reencrypt=True)
    assert epochs(tmp_path / "store") == [1, 2]
    stray.unlink()
    filled.rotate_key(NEW, reencrypt=True)
    assert epochs(tmp_path / "store") == [2]


def test_a_push_keeps_the_old_master_key_until_it_ends_and_is_told(filled, tmp_path):
    with leased(filled._engine.database, "backup to file:///nas"):
        with pytest.raises(StoreBusyError, match="backup to file:///nas: while that lasts"):
            filled.rotate_key(NEW, reencrypt=True)
        assert epochs(tmp_path / "store") == [1, 2]
    filled.rotate_key(NEW, reencrypt=True)
    assert epochs(tmp_path / "store") == [2]


def test_of_two_at_once_the_older_drops_nothing_and_the_newer_ends_both(filled, opened, tmp_path):
    before, other, third = loaded(filled), opened(), generate_encryption_key()

    def begin_another(done, total):
        if done == total:
            with pytest.raises(ZeroDivisionError):
                other.rotate_key(third, reencrypt=True, keep=[NEW], progress=lambda *_: 1 / 0)

    with pytest.raises(EncryptionError, match="another re-encryption"):
        filled.rotate_key(NEW, reencrypt=True, progress=begin_another)
    assert epochs(tmp_path / "store") == [1, 2, 3]
    opened(NEW).rotate_key(third, reencrypt=True, keep=[NEW, OLD])
    assert loaded(opened(third)) == before
    assert loaded(opened(OLD)) == before


def test_one_that_begins_at_the_very_end_of_another_costs_no_master_key(
    filled, opened, monkeypatch
):
    other, remove, before = opened(), Unlocked.remove, loaded(filled)
    third = generate_encryption_key()

    def begin_first(unlocked, *arguments):
        monkeypatch.undo()
        with pytest.raises(ZeroDivisionError):
            other.rotate_key(third, reencrypt=True, keep=[NEW], progress=lambda *_: 1 / 0)
        return remove(unlocked, *arguments)

    monkeypatch.setattr(Unlocked, "remove", begin_first)
    with pytest.raises(EncryptionError, match="another re-encryption"):
        filled.rotate_key(NEW, reencrypt=True)
    assert loaded(opened(NEW)) == before


def test_a_key_added_meanwhile_stays(filled, opened):
    words = PassphraseKey("correct horse", name="ops")
    other = opened()

    def add(done, total):
        if done == 2:
            other.add_key(words)

    filled.rotate_key(NEW, reencrypt=True, progress=add)
    assert filled.key_ids() == sorted([FernetKey(NEW).key_id, "passphrase:ops"])
    assert opened(words).load("1")["n"] == 1


def test_who_was_given_a_new_master_key_and_shut_out_does_not_get_the_next(filled, opened):
    with pytest.raises(ZeroDivisionError):
        filled.rotate_key(NEW, reencrypt=True, progress=lambda *_: 1 / 0)
    known = opened(NEW)._unlocked.secrets.masters
    filled.remove_key(NEW)
    filled.rotate_key(OLD, reencrypt=True)
    secrets = filled._unlocked.secrets
    assert secrets.masters[secrets.epoch] not in known.values()


@pytest.mark.parametrize("words", ["the wright words", "other words"])
def test_another_key_under_the_id_of_one_that_opens_the_store_changes_nothing(
    words, filled, tmp_path
):
    filled.add_key(PassphraseKey("the right words", name="ops"))
    before = (tmp_path / "store" / "keyring.json").read_bytes()
    wrong = PassphraseKey(words, name="ops")
    for new, keep in ((NEW, [wrong]), (wrong, [])):
        with pytest.raises(WrongKeyError, match="not the one given"):
            filled.rotate_key(new, reencrypt=True, keep=keep)
    assert (tmp_path / "store" / "keyring.json").read_bytes() == before


def test_the_end_may_fail_and_is_made_good_when_it_is_called_again(filled, opened, tmp_path):
    busy = opened(busy_seconds=0.2)
    with closing(sqlite3.connect(tmp_path / "store" / "checkpoints.db")) as other:

        def hold(done, total):
            if done == total:
                other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreBusyError):
            busy.rotate_key(NEW, reencrypt=True, progress=hold)
    busy.rotate_key(NEW, reencrypt=True)
    assert epochs(tmp_path / "store") == [2]


def test_nothing_is_left_to_be_removed(filled):
    filled.rotate_key(NEW, reencrypt=True)
    with filled.query() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM removals").scalar() == 0


def test_a_check_beside_it_neither_misses_nor_blames_a_file(filled, opened):
    reports = []
    other = opened()
    filled.rotate_key(
        NEW, reencrypt=True, progress=lambda *_: reports.append(other.check(read_data=True))
    )
    assert [each.problems for each in reports] == [()] * len(reports)


def test_the_keyring_of_meanwhile_is_not_left_in_the_database(filled, opened, tmp_path):
    filled.rotate_key(NEW, reencrypt=True)
    files = list((tmp_path / "store").glob("checkpoints.db*"))
    assert not any(FernetKey(OLD).key_id.encode() in path.read_bytes() for path in files)


def test_arguments_that_mean_nothing_without_it_are_refused(filled):
    for arguments in ({"keep": [NEW]}, {"progress": print}):
        with pytest.raises(InvalidInputError, match="reencrypt=True"):
            filled.rotate_key(NEW, **arguments)
    with pytest.raises(InvalidInputError, match="a list of keys"):
        filled.rotate_key(NEW, reencrypt=True, keep=OLD)


def test_a_rebuild_afterwards_brings_back_the_same_in_the_same_order(filled, tmp_path):
    before = loaded(filled)
    filled.rotate_key(NEW, reencrypt=True)
    filled.save({"n": 0}, "last")
    filled.close()
    for path in (tmp_path / "store").glob("checkpoints.db*"):
        path.unlink()
    report = PipelineCheckpoint.rebuild(tmp_path / "store", NEW)
    assert report.unreadable == ()
    with PipelineCheckpoint(tmp_path / "store", NEW, True) as handle:
        assert list(loaded(handle).items()) == [*before.items(), ("last", {"n": "0"})]


def test_what_was_merged_before_is_rebuilt_where_it_was_in_the_order(filled, tmp_path):
    filled.merge("1")
    before = loaded(filled)
    filled.rotate_key(NEW, reencrypt=True)
    filled.close()
    for path in (tmp_path / "store").glob("checkpoints.db*"):
        path.unlink()
    order = PipelineCheckpoint.rebuild(tmp_path / "store", NEW).checkpoints
    assert [each for each in order if each != "x"] == list(before)
    with PipelineCheckpoint(tmp_path / "store", NEW, True) as handle:
        assert handle.load_latest()[0].checkpoint_id == list(before)[-1]


def test_an_older_keyring_put_back_is_noticed_by_an_open_store(filled, opened, tmp_path):
    filled.close()
    old = (tmp_path / "store" / "keyring.json").read_bytes()
    first = opened()
    first.rotate_key(NEW, reencrypt=True)
    (tmp_path / "store" / "keyring.json").write_bytes(old)
    with first._engine.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE keyring SET generation = 1, document = ?", (old.decode(),)
        )
    with pytest.raises(EncryptionError, match="older than"):
        first.save({"n": 1}, "never")
