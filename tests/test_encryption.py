"""Encrypted stores: what is written, who opens them, and what is never written."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from checkpointdb import (
    CorruptionError,
    EncryptionError,
    KeyBesideDataWarning,
    KeyringError,
    PassphraseKey,
    PipelineCheckpoint,
    RetentionPolicy,
    SchemaVersionError,
    StoreUnavailableError,
    WrongKeyError,
    generate_encryption_key,
)
from checkpointdb.database import Database
from checkpointdb.keyring import decode_keyring
from checkpointdb.keys import FernetKey

SECRET = "a secret that is long enough to be found again " * 9


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch):
    for name in ("KEY", "KEY_FILE", "KEY_COMMAND"):
        monkeypatch.delenv(f"CHECKPOINTDB_{name}", raising=False)


@pytest.fixture
def key():
    return generate_encryption_key()


@pytest.fixture
def opened(tmp_path, key):
    """Open handles of an encrypted store, closed at the end."""
    handles = []

    def open_store(encryption_key=key, **options):
        options = {"durable": False, "retention_policy": RetentionPolicy.KEEP_ALL, **options}
        directory = options.pop("checkpoint_dir", tmp_path / "store")
        handles.append(PipelineCheckpoint(directory, encryption_key, True, **options))
        return handles[-1]

    yield open_store
    for handle in handles:
        handle.close()


def files_of(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def states():
    array = np.random.default_rng(1).integers(0, 1 << 40, 50_000)
    yield {"text": SECRET, "array": array, "": None}
    array = array.copy()
    array[3] = -1
    yield {"text": SECRET, "array": array, "": None}
    yield {"array": array, "new": [SECRET], "text": SECRET + "more"}


def same(one, other):
    assert list(one) == list(other)
    assert all(np.array_equal(one[key], other[key]) for key in one)


# --- what works as without encryption


def test_what_is_saved_is_loaded_whole_in_part_and_lazily(opened):
    handle = opened()
    for number, state in enumerate(states()):
        handle.save(state, f"{number}", custom_metadata={"n": number})
    for each in (handle, opened()):
        handle = each
        for number, state in enumerate(states()):
            same(handle.load(f"{number}"), state)
            same(handle.load(f"{number}", keys=["array"]), {"array": state["array"]})
            assert handle.lazy(f"{number}")["text"] == state["text"]
            assert handle.get_checkpoint_info(f"{number}").is_encrypted
        assert handle.check(read_data=True).problems == ()
        assert handle.get_statistics()["encrypted_checkpoints"] == 3
        assert handle.diff("0", "1").unchanged == ("text", "")
        assert len(handle.history("text")) == 2
    info = handle.get_checkpoint_info("1")
    assert info.is_incremental
    assert info.size_bytes < handle.get_checkpoint_info("0").size_bytes / 2


def test_threads_forget_and_replace_as_without_encryption(opened):
    handle = opened(retention_policy=RetentionPolicy.KEEP_N_RECENT, retention_count=2)
    for number in range(9):
        handle.save({"n": number, "text": SECRET * number}, f"{number % 4}")
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["0", "3"]
    assert handle.load("0")["n"] == 8
    assert handle.check(read_data=True).problems == ()


def test_no_plain_text_nor_an_unkeyed_digest_of_it_is_on_disk(opened, tmp_path):
    from checkpointdb.digests import Digests
    from checkpointdb.serialize import Pickle, dump

    handle = opened()
    handle.save({"text": SECRET}, "one")
    handle.close()
    serialized = dump("text", SECRET, Pickle())
    chunk = Digests().chunk(serialized.parts[0])
    value = Digests().value(serialized.serializer, serialized.layout, [chunk])
    for name, raw in files_of(tmp_path).items():
        for what in (SECRET[:40].encode(), chunk, value, chunk.hex().encode()):
            assert what not in raw, name


def test_no_payload_is_gzip(opened):
    handle = opened()
    handle.save({"text": SECRET}, "one")
    raw = Path(handle.get_checkpoint_info("one").file_path).read_bytes()
    assert raw.startswith(b"CKPTSEAL")
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(raw)


def test_a_database_made_anew_holds_what_was_saved(opened, tmp_path, key):
    handle = opened()
    for number, state in enumerate(states()):
        handle.save(state, f"{number}")
    handle.close()
    for path in (tmp_path / "store").glob("checkpoints.db*"):
        path.unlink()
    with pytest.raises(EncryptionError, match="no key"):
        PipelineCheckpoint.rebuild(tmp_path / "store")
    with pytest.raises(WrongKeyError):
        PipelineCheckpoint.rebuild(tmp_path / "store", generate_encryption_key())
    assert not (tmp_path / "store" / "checkpoints.db").exists()
    report = PipelineCheckpoint.rebuild(tmp_path / "store", key)
    assert (report.checkpoints, report.unreadable) == (("0", "1", "2"), ())
    for number, state in enumerate(states()):
        same(opened().load(f"{number}"), state)


# --- which key


def test_a_store_that_made_its_own_key_opens_again_and_again(tmp_path):
    with (
        pytest.warns(KeyBesideDataWarning, match="CHECKPOINTDB_KEY_FILE"),
        PipelineCheckpoint(tmp_path / "store", enable_encryption=True) as handle,
    ):
        handle.save({"n": 0}, "0")
    kept = (tmp_path / "store" / "encryption.key").read_bytes()
    for number in (1, 2, 3):
        with PipelineCheckpoint(tmp_path / "store", enable_encryption=True) as handle:
            assert [handle.load(f"{each}")["n"] for each in range(number)] == list(range(number))
            handle.save({"n": number}, f"{number}")
    assert (tmp_path / "store" / "encryption.key").read_bytes() == kept
    for name in ("encryption.key", "keyring.json"):
        assert stat.S_IMODE((tmp_path / "store" / name).stat().st_mode) == 0o600


def test_the_warning_of_a_key_beside_the_data_points_at_who_opened_the_store(tmp_path):
    with pytest.warns(KeyBesideDataWarning) as warned:
        PipelineCheckpoint(tmp_path / "store", enable_encryption=True).close()
    assert [each.filename for each in warned] == [__file__]


def test_a_key_comes_from_the_environment(opened, key, tmp_path, monkeypatch):
    opened().save({"n": 1}, "one")
    path = tmp_path / "key file"
    path.write_bytes(key + b"\n")
    command = f'{sys.executable} -c "print(open({str(path)!r}).read())"'
    for name, value in (("", key.decode()), ("_FILE", str(path)), ("_COMMAND", command)):
        with monkeypatch.context() as patch:
            patch.setenv(f"CHECKPOINTDB_KEY{name}", value)
            assert opened(None).load("one") == {"n": 1}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("", "no key", "Fernet"),
        ("_FILE", "/nowhere/key", "/nowhere/key"),
        ("_COMMAND", "false", "status 1"),
        ("_COMMAND", "/nowhere/program", "cannot be run"),
        ("_COMMAND", "'", "cannot be run"),
        ("_COMMAND", "echo secret-looking", "Fernet"),
    ],
)
def test_a_key_that_cannot_be_had_is_an_error_before_anything_is_made(
    name, value, message, tmp_path, monkeypatch
):
    monkeypatch.setenv(f"CHECKPOINTDB_KEY{name}", value)
    with pytest.raises(EncryptionError, match=message) as caught:
        PipelineCheckpoint(tmp_path / "store", enable_encryption=True)
    assert str(caught.value).startswith(f"CHECKPOINTDB_KEY{name}: ")
    assert "secret-looking" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [None, "other", "words", "plain"])
def test_without_its_key_a_store_stays_shut_and_as_it_is(wrong, opened, tmp_path):
    handle = opened()
    handle.save({"n": 1}, "one")
    handle.close()
    before = files_of(tmp_path)
    keys = {"other": generate_encryption_key(), "words": PassphraseKey("words")}
    with pytest.raises(EncryptionError):
        PipelineCheckpoint(tmp_path / "store", keys.get(wrong), wrong != "plain")
    assert files_of(tmp_path) == before


def test_a_key_without_encryption_is_refused(tmp_path, key):
    with pytest.raises(EncryptionError, match="enable_encryption"):
        PipelineCheckpoint(tmp_path / "store", key)
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_the_clear_is_not_turned_into_half_a_secret(store, tmp_path, key):
    plain = store()
    plain.save({"n": 1}, "one")
    before = files_of(tmp_path)
    with pytest.raises(EncryptionError, match="encrypt_into"):
        PipelineCheckpoint(tmp_path / "store", key, True)
    assert files_of(tmp_path).keys() == before.keys()
    assert plain.load("one") == {"n": 1}


def test_a_handle_in_the_clear_saves_nothing_once_the_store_is_encrypted(tmp_path, opened):
    with PipelineCheckpoint(tmp_path / "store", durable=False) as plain:
        opened().save({"n": 1}, "one")
        with pytest.raises(EncryptionError, match="open it again"):
            plain.save({"text": SECRET}, "two")
        with pytest.raises(EncryptionError, match="one"):
            plain.load("one")
    assert [each.checkpoint_id for each in opened().list_checkpoints()] == ["one"]
    assert opened().check(read_data=True).problems == ()


# --- keys come and go


def test_keys_are_added_removed_and_rotated_and_no_payload_changes(opened, key, tmp_path):
    handle = opened()
    handle.save({"n": 1}, "one")
    payloads = files_of(tmp_path / "store" / "payloads")
    words = PassphraseKey("correct horse", name="ops")
    assert handle.add_key(words) == "passphrase:ops"
    assert opened(words).load("one") == {"n": 1}
    new = generate_encryption_key()
    assert handle.rotate_key(new) == FernetKey(new).key_id
    with pytest.raises(WrongKeyError):
        opened(key)
    assert opened(new).load("one") == {"n": 1}
    handle.remove_key("passphrase:ops")
    with pytest.raises(WrongKeyError):
        opened(words)
    assert handle.key_ids() == [FernetKey(new).key_id]
    with pytest.raises(EncryptionError, match="last"):
        handle.remove_key(new)
    handle.save({"n": 2}, "two")
    assert opened(new).load("two") == {"n": 2}
    after = files_of(tmp_path / "store" / "payloads")
    assert {name: after[name] for name in payloads} == payloads


@pytest.mark.parametrize("key_id", ["nope", "fernet:0123", ""])
def test_an_id_of_no_key_is_said_to_be_none_and_not_shown(opened, key_id):
    with pytest.raises(WrongKeyError) as caught:
        opened().remove_key(key_id)
    assert "nope" not in str(caught.value)


def test_a_key_of_ones_own_is_removed_by_its_id_whatever_that_looks_like(opened, key):
    handle, words = opened(), PassphraseKey("words")
    words.key_id = "ours"
    handle.add_key(words)
    handle.remove_key("ours")
    assert handle.key_ids() == [FernetKey(key).key_id]


def test_a_handle_whose_key_was_removed_changes_no_keys(opened, key):
    first, new = opened(), generate_encryption_key()
    opened().rotate_key(new)
    with pytest.raises(WrongKeyError):
        first.add_key(generate_encryption_key())
    assert opened(new).key_ids() == [FernetKey(new).key_id]


def test_a_key_whose_removal_failed_opens_the_store_still(opened, key, monkeypatch):
    handle, words = opened(), PassphraseKey("words", name="theirs")
    handle.add_key(words)

    def fail(*_):
        raise StoreUnavailableError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "_commit", fail)
        with pytest.raises(StoreUnavailableError):
            handle.remove_key(words.key_id)
    opened(words).close()
    assert words.key_id in handle.key_ids()


@pytest.mark.parametrize("change", ["add", "remove"])
def test_a_key_that_another_handle_adds_or_removes_meanwhile_stays_so(opened, change):
    """To wrap a key may take a key service seconds, in which nothing is locked."""
    handle, other, words = opened(), opened(), PassphraseKey("words", name="theirs")
    if change == "remove":
        other.add_key(words)

    class Slow(FernetKey):
        def wrap(self, secret):
            if acts:
                acts.pop()(words)
            return super().wrap(secret)

    acts = [getattr(other, f"{change}_key")]
    handle.add_key(mine := Slow(generate_encryption_key()))
    assert acts == []
    assert mine.key_id in handle.key_ids()
    assert (words.key_id in handle.key_ids()) == (change == "add")


def test_a_store_in_the_clear_has_no_keys(store, key):
    with pytest.raises(EncryptionError, match="not encrypted"):
        store().add_key(key)


def alter_row(directory, statement, *values):
    with closing(sqlite3.connect(directory / "checkpoints.db")) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize("damage", ["missing", "flipped", "empty", "older"])
@pytest.mark.parametrize("copy", ["file", "table"])
def test_a_damaged_copy_of_the_keyring_is_made_good_by_the_other(copy, damage, opened, tmp_path):
    handle = opened()
    handle.save({"n": 1}, "one")
    directory = tmp_path / "store"
    path = directory / "keyring.json"
    older = path.read_text()
    words = PassphraseKey("words")
    handle.add_key(words)
    whole = path.read_text()
    handle.close()
    bad = {"flipped": whole.replace("1", "2", 3), "empty": "", "older": older, "missing": None}
    if copy == "file":
        path.unlink() if damage == "missing" else path.write_text(bad[damage])
    elif damage == "missing":
        alter_row(directory, "DELETE FROM keyring")
    else:
        alter_row(directory, "UPDATE keyring SET document = ?", bad[damage])
    before = files_of(directory)
    with pytest.raises(EncryptionError):
        opened(generate_encryption_key())
    assert files_of(directory).get("keyring.json") == before.get("keyring.json")
    assert opened(words).load("one") == {"n": 1}
    assert path.read_text() == whole
    path.unlink()
    assert opened(words).load("one") == {"n": 1}


@pytest.mark.parametrize("text", ["", "{}", "damaged"])
def test_with_both_copies_damaged_the_error_says_which(text, opened, tmp_path):
    opened().close()
    (tmp_path / "store" / "keyring.json").write_text(text)
    alter_row(tmp_path / "store", "UPDATE keyring SET document = ?", text)
    with pytest.raises(KeyringError, match=r"keyring\.json.*table"):
        opened()


def test_a_keyring_of_another_store_or_of_a_newer_version_is_refused(opened, tmp_path, key):
    opened().close()
    opened(checkpoint_dir=tmp_path / "other").close()
    path = tmp_path / "store" / "keyring.json"
    ours = path.read_text()
    shutil.copy(tmp_path / "other" / "keyring.json", path)
    with pytest.raises(KeyringError, match="another store"):
        opened()
    document = {**json.loads(ours), "format": 2}
    del document["checksum"]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    path.write_text(json.dumps({**document, "checksum": sha256(canonical).hexdigest()}))
    with pytest.raises(SchemaVersionError, match="upgrade"):
        opened()


def test_a_keyring_that_is_a_link_is_not_followed(opened, tmp_path):
    opened().close()
    path = tmp_path / "store" / "keyring.json"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"keyring\.json"):
        opened()


def test_a_death_between_the_two_copies_loses_no_key(opened, tmp_path, monkeypatch):
    from checkpointdb.store import encryption

    def die(*_):
        raise KeyboardInterrupt

    handle, words = opened(), PassphraseKey("words")
    handle.save({"n": 1}, "one")
    with monkeypatch.context() as patch:
        patch.setattr(encryption, "write_row", die)
        with pytest.raises(KeyboardInterrupt):
            handle.add_key(words)
    assert opened(words).load("one") == opened().load("one") == {"n": 1}
    with monkeypatch.context() as patch:
        patch.setattr(encryption, "repair", die)
        with pytest.raises(KeyboardInterrupt):
            handle.remove_key(words)
    with pytest.raises(WrongKeyError):
        opened(words)
    assert opened().load("one") == {"n": 1}
    assert list(decode_keyring((tmp_path / "store" / "keyring.json").read_text()).keys) == [
        handle.key_ids()[0]
    ]


def test_of_several_processes_that_encrypt_a_new_store_all_use_one_keyring(tmp_path):
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from checkpointdb import PipelineCheckpoint\n"
        "PipelineCheckpoint(sys.argv[1], enable_encryption=True).save({'n': 1}, sys.argv[2])\n"
    )
    store = str(tmp_path / "store")
    children = [subprocess.Popen([sys.executable, "-c", code, store, f"{n}"]) for n in range(5)]
    assert [child.wait(60) for child in children] == [0] * 5
    with PipelineCheckpoint(store, enable_encryption=True) as handle:
        assert sorted(each.checkpoint_id for each in handle.list_checkpoints()) == list("01234")
        assert all(handle.load(f"{number}") == {"n": 1} for number in range(5))


# --- who writes to the disk


def test_a_payload_put_in_the_place_of_another_is_refused(opened, tmp_path):
    handle = opened()
    handle.save({"text": SECRET}, "one")
    other = opened(checkpoint_dir=tmp_path / "other")
    other.save({"text": SECRET}, "one")
    first, second = (Path(each.get_checkpoint_info("one").file_path) for each in (handle, other))
    kept = first.read_bytes()
    for forged in (second.read_bytes(), gzip.compress(b"plain"), kept[:-1], kept + b"x"):
        first.write_bytes(forged)
        with pytest.raises(CorruptionError, match="one"):
            handle.load("one")
        with pytest.raises(CorruptionError, match="one"):
            handle.load("one", verify_hash=False)


def test_rows_that_give_a_checkpoint_the_state_of_another_are_refused(opened, tmp_path):
    handle = opened()
    handle.save({"approved": True, "own": 1}, "one", force_full=True)
    handle.save({"approved": False, "own": 2}, "two", force_full=True)
    handle.close()
    rename = "UPDATE checkpoints SET checkpoint_id = ? WHERE checkpoint_id = ?"
    for new, old in (("x", "one"), ("one", "two"), ("two", "x")):
        alter_row(tmp_path / "store", rename, new, old)
    with pytest.raises(CorruptionError, match="two"):
        opened().load("two")
    with pytest.raises(CorruptionError, match="two"):
        opened().load("two", keys=["approved"])


# --- without the package


def test_all_but_encryption_works_without_cryptography(tmp_path):
    code = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cryptography":
            raise ModuleNotFoundError(name)
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name == "cryptography" else real(name, package))
sys.meta_path.insert(0, Hidden())
import checkpointdb
from checkpointdb import EncryptionError, PipelineCheckpoint
assert checkpointdb.ENCRYPTION_AVAILABLE is False
with PipelineCheckpoint(sys.argv[1]) as handle:
    handle.save({"n": 1}, "one")
    assert handle.load("one") == {"n": 1}
    assert handle.check(read_data=True).is_ok
for call in (
    lambda: PipelineCheckpoint(sys.argv[2], enable_encryption=True),
    lambda: PipelineCheckpoint(sys.argv[2], b"key", True),
    lambda: checkpointdb.PassphraseKey("words"),
    checkpointdb.generate_encryption_key,
    lambda: handle.add_key(b"key"),
):
    try:
        call()
    except EncryptionError as error:
        assert "pip install" in str(error), error
    else:
        raise AssertionError("no error")
assert not any(each.startswith("cryptography") for each in sys.modules)
"""
    places = [str(tmp_path / "plain"), str(tmp_path / "sealed")]
    subprocess.run([sys.executable, "-c", code, *places], check=True, env={**os.environ})
    assert not (tmp_path / "sealed").exists()


# --- stores of either kind


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_store_of_either_kind_is_opened_as_it_is(tmp_path, key, is_encrypted):
    with PipelineCheckpoint(tmp_path, key if is_encrypted else None, is_encrypted) as handle:
        handle.save({"a": 1}, "a")
    with PipelineCheckpoint(tmp_path, key, None) as handle:
        assert handle.load("a") == {"a": 1}
        handle.save({"a": 2}, "b")
        assert handle.get_checkpoint_info("b").is_encrypted == is_encrypted


def test_an_encrypted_store_opened_as_it_is_needs_its_key(opened, tmp_path):
    opened().close()
    with pytest.raises(EncryptionError, match="no key"):
        PipelineCheckpoint(tmp_path / "store", enable_encryption=None)
    with pytest.raises(WrongKeyError):
        PipelineCheckpoint(tmp_path / "store", generate_encryption_key(), None)
