"""An encrypted store that the first version wrote: read by every later one, tampering refused.

Each change is tried on a copy, by itself; nothing here writes to the store that is committed.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from make_encrypted_1 import STATE

from checkpointdb import (
    CorruptionError,
    EncryptionError,
    KeyringError,
    PassphraseKey,
    PipelineCheckpoint,
    WrongKeyError,
    generate_encryption_key,
)

VECTOR = Path(__file__).parent / "encrypted_1"
REMOVED, KEY = ((VECTOR / name).read_text().strip() for name in ("test.key", "second.key"))
SALT_BYTES = 46  # the header
EXPECTED = {
    "one": STATE,
    "two": {**STATE, "n": 2},
    "three": {**STATE, "n": 3, "text": STATE["text"] + "Fin."},
}


@pytest.fixture
def vector(tmp_path):
    """A copy of the store, without its keys."""
    target = tmp_path / "store"
    shutil.copytree(VECTOR, target, ignore=shutil.ignore_patterns("*.key"))
    return target


def payload(directory, checkpoint_id):
    [path] = directory.glob(f"payloads/p-default/*-{checkpoint_id}.ckpt.gz")
    return path


def opened(directory, key=KEY):
    return PipelineCheckpoint(directory, key, enable_encryption=True)


def refused(directory, checkpoint_id):
    """Say that a checkpoint is refused, whether or not its stored hashes are compared."""
    with opened(directory) as store:
        for verify_hash in (True, False):
            with pytest.raises(CorruptionError, match=repr(checkpoint_id)):
                store.load(checkpoint_id, verify_hash=verify_hash)
    return True


def follow(directory, path):
    """Make the rows of a payload that was changed agree with it, as an attacker would.

    Length and hash of the file, and the hash of each member where it lies.
    """
    from hashlib import sha256

    raw = path.read_bytes()
    with closing(sqlite3.connect(directory / "checkpoints.db")) as database, database:
        name = f"p-default/{path.name}"
        [(row,)] = database.execute("SELECT id FROM payloads WHERE name = ?", (name,))
        database.execute(
            "UPDATE payloads SET stored_bytes = ?, sha256 = ? WHERE id = ?",
            (len(raw), sha256(raw).digest(), row),
        )
        found = "SELECT id, offset, stored_bytes FROM members WHERE payload_id = ?"
        for member, offset, size in database.execute(found, (row,)).fetchall():
            digest = sha256(raw[offset : offset + size]).digest()
            database.execute("UPDATE members SET sha256 = ? WHERE id = ?", (digest, member))


@pytest.mark.parametrize("key", [KEY, PassphraseKey("a passphrase for tests")], ids=["key", "pass"])
def test_every_checkpoint_is_read(vector, key):
    with opened(vector, key) as store:
        for checkpoint_id, state in EXPECTED.items():
            assert store.load(checkpoint_id) == state
            assert store.load(checkpoint_id, keys=["n"]) == {"n": state["n"]}
        assert store.get_checkpoint_info("two").custom_metadata == {"stage": 2}
        assert store.get_checkpoint_info("two").pinned
        assert store.check(read_data=True).problems == ()
        store.save({"n": 4}, "four")
        assert store.load("four") == {"n": 4}


def test_a_rebuild_brings_all_back(vector):
    (vector / "checkpoints.db").unlink()
    assert set(PipelineCheckpoint.rebuild(vector, KEY).checkpoints) == set(EXPECTED)
    with opened(vector) as store:
        assert {each: store.load(each) for each in EXPECTED} == EXPECTED


@pytest.mark.parametrize("key", [REMOVED, generate_encryption_key().decode()], ids=["old", "new"])
def test_a_removed_or_another_key_opens_nothing_and_changes_nothing(vector, key):
    before = {path: path.read_bytes() for path in vector.rglob("*") if path.is_file()}
    with pytest.raises(WrongKeyError):
        opened(vector, key)
    with pytest.raises(EncryptionError):
        PipelineCheckpoint(vector)
    assert {path: path.read_bytes() for path in vector.rglob("*") if path.is_file()} == before


# --- tampering, by somebody who can write payloads and rows


@pytest.mark.parametrize("at", [0, 8, 10, 14, 45, 46, 50, 60])
def test_a_changed_byte_is_refused(vector, at):
    path = payload(vector, "one")
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    follow(vector, path)
    assert refused(vector, "one")


@pytest.mark.parametrize("end", [0, 10, SALT_BYTES, 100, -84, -1])
def test_a_truncated_payload_is_refused(vector, end):
    path = payload(vector, "one")
    path.write_bytes(path.read_bytes()[:end])
    assert refused(vector, "one")


def test_payloads_that_were_exchanged_are_refused(vector):
    one, three = payload(vector, "one"), payload(vector, "three")
    contents = one.read_bytes(), three.read_bytes()
    three.write_bytes(contents[0])
    one.write_bytes(contents[1])
    for path in (one, three):
        follow(vector, path)
    assert refused(vector, "one")
    assert refused(vector, "three")


def test_a_payload_of_another_store_is_refused(vector, tmp_path):
    with opened(tmp_path / "other", KEY) as other:
        other.save(STATE, "one")
    path = payload(vector, "one")
    path.write_bytes(payload(tmp_path / "other", "one").read_bytes())
    follow(vector, path)
    assert refused(vector, "one")


def test_an_older_payload_of_the_same_id_is_refused(vector):
    old = payload(vector, "one").read_bytes()
    with opened(vector) as store:
        store.save({**STATE, "n": 9}, "one", force_full=True)
    path = max(vector.glob("payloads/p-default/*-one.ckpt.gz"))
    path.write_bytes(old)
    follow(vector, path)
    assert refused(vector, "one")


def test_a_payload_in_the_clear_is_refused(vector, tmp_path):
    with PipelineCheckpoint(tmp_path / "plain") as plain:
        plain.save(STATE, "one")
    path = payload(vector, "one")
    path.write_bytes(payload(tmp_path / "plain", "one").read_bytes())
    follow(vector, path)
    assert refused(vector, "one")


def test_rows_that_give_a_checkpoint_the_values_of_another_are_refused(vector):
    with closing(sqlite3.connect(vector / "checkpoints.db")) as database, database:
        database.execute(
            """UPDATE checkpoints SET depth = depth + 100 WHERE checkpoint_id = 'two'"""
        )
        database.execute("UPDATE checkpoints SET checkpoint_id = 'x' WHERE checkpoint_id = 'one'")
        database.execute("UPDATE checkpoints SET checkpoint_id = 'one' WHERE checkpoint_id = 'two'")
    assert refused(vector, "one")
    assert refused(vector, "x")


@pytest.mark.parametrize("piece", ["manifest", "header", "footer", "member"])
def test_a_rebuild_leaves_out_a_payload_whose_bytes_were_changed(vector, piece):
    path = payload(vector, "one")
    raw = bytearray(path.read_bytes())
    at = {"manifest": -84 - 40, "header": 20, "footer": -60, "member": SALT_BYTES + 10}[piece]
    raw[at] ^= 1
    path.write_bytes(raw)
    (vector / "checkpoints.db").unlink()
    PipelineCheckpoint.rebuild(vector, KEY)
    with opened(vector) as store:
        assert "one" not in {each.checkpoint_id for each in store.list_checkpoints()}


def test_a_manifest_moved_to_another_payload_is_refused_by_a_rebuild(vector):
    """The whole file under another's name: its manifest is that of another place."""
    one, three = payload(vector, "one"), payload(vector, "three")
    one.write_bytes(three.read_bytes())
    (vector / "checkpoints.db").unlink()
    PipelineCheckpoint.rebuild(vector, KEY)
    with opened(vector) as store:
        assert "one" not in {each.checkpoint_id for each in store.list_checkpoints()}


@pytest.mark.parametrize("field", ["generation", "epoch", "store", "keys", "sealed"])
def test_a_changed_keyring_is_refused_and_brought_back_from_the_table(vector, field):
    path = vector / "keyring.json"
    whole = path.read_text()
    document = json.loads(whole)
    document[field] = {} if field == "keys" else 7
    path.write_text(json.dumps(document))
    with opened(vector) as store:
        assert store.load("one") == STATE
    assert path.read_text() == whole
    path.write_text(json.dumps(document))
    with closing(sqlite3.connect(vector / "checkpoints.db")) as database, database:
        database.execute("UPDATE keyring SET document = 'no'")
    with pytest.raises(KeyringError):
        opened(vector)
