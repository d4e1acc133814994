"""keys and keyring: who opens what, and what a damaged or forged keyring is told."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpointdb import PipelineCheckpoint, generate_encryption_key
from checkpointdb.errors import (
    EncryptionError,
    InvalidInputError,
    KeyringError,
    SchemaVersionError,
    WrongKeyError,
)
from checkpointdb.keyring import Keyring, decode_keyring, encode_keyring, new_keyring
from checkpointdb.keys import FernetKey, Key, PassphraseKey, as_key


@pytest.fixture
def key():
    return FernetKey(generate_encryption_key())


@pytest.fixture
def other():
    return PassphraseKey("correct horse", name="ops")


class Reversed:
    """What a key service would be: it wraps 32 bytes somehow."""

    key_id = "service:1"

    def wrap(self, secret):
        return b"wrapped " + secret[::-1]

    def unwrap(self, wrapped):
        return wrapped.removeprefix(b"wrapped ")[::-1]


def forged(keyring, **changes):
    """Return a keyring with fields changed, as who has no key would write it."""
    return decode_keyring(encode_keyring(keyring._replace(**changes)))


def with_checksum(document):
    """Return a document as text, with the checksum that fits."""
    rest = {name: value for name, value in document.items() if name != "checksum"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps({**rest, "checksum": sha256(canonical).hexdigest()})


@pytest.mark.parametrize(
    "made",
    [lambda: FernetKey(generate_encryption_key()), lambda: PassphraseKey("words"), Reversed],
)
def test_any_key_opens_the_keyring_it_made_read_from_its_document(made):
    key = made()
    assert isinstance(key, Key)
    keyring, secrets = new_keyring(key)
    assert decode_keyring(encode_keyring(keyring)) == keyring
    assert keyring.unlock(key) == secrets
    assert list(keyring.keys) == [key.key_id]


def test_a_key_may_be_bytes_or_text_or_a_key_and_nothing_else(key):
    raw = generate_encryption_key()
    assert as_key(raw).key_id == as_key(raw.decode() + "\n").key_id
    assert as_key(key) is key
    with pytest.raises(EncryptionError, match="not int"):
        as_key(3)


def test_a_key_that_is_none_is_not_shown():
    almost = generate_encryption_key().decode()[:-3]
    with pytest.raises(EncryptionError, match="PassphraseKey") as caught:
        as_key(almost)
    assert almost not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_passphrase_is_text():
    for other in (5, b"correct horse"):
        with pytest.raises(InvalidInputError, match="a passphrase is text, not"):
            PassphraseKey(other)


def test_an_empty_passphrase_is_refused():
    with pytest.raises(InvalidInputError):
        PassphraseKey("")


def test_every_key_added_opens_and_a_removed_one_no_longer_does(key, other):
    keyring, secrets = new_keyring(key)
    both = keyring.with_key(other, secrets)
    given = secrets.given | {other.key_id}
    assert both.unlock(key) == both.unlock(other) == secrets._replace(generation=2, given=given)
    assert both.generation == keyring.generation + 1
    left = both.without_key(key.key_id, secrets)
    assert left.unlock(other) == secrets._replace(generation=3)  # who was ever given it is kept
    with pytest.raises(WrongKeyError, match="passphrase:ops"):
        left.unlock(key)


def test_a_new_master_key_keeps_the_older_ones_until_they_are_dropped(key, other):
    keyring, secrets = new_keyring(key)
    newer = keyring.with_new_master([key, other], [key.key_id], secrets)
    found = newer.unlock(other)
    assert (found.given, found.leaving) == ({key.key_id, other.key_id}, {key.key_id})
    assert found.epoch == 2
    assert found.masters[1] == secrets.masters[1] != found.masters[2]
    assert found.content_key == secrets.content_key
    assert newer.unlock(key) == found
    last = newer.without_older_masters(found)
    assert last.unlock(other).masters == {2: found.masters[2]}
    with pytest.raises(WrongKeyError):
        last.unlock(key)


def test_keys_that_leave_with_an_older_master_key_are_never_the_last(key, other):
    keyring, secrets = new_keyring(key)
    newer = keyring.with_new_master([key, other], [key.key_id], secrets)
    left = newer.without_key(other.key_id, newer.unlock(key))
    with pytest.raises(EncryptionError, match="no key would be left"):
        left.without_older_masters(left.unlock(key))


def test_the_last_key_is_never_removed(key):
    keyring, secrets = new_keyring(key)
    with pytest.raises(EncryptionError, match="last"):
        keyring.without_key(key.key_id, secrets)


def test_a_key_that_is_not_there_is_not_removed_and_none_is_replaced(key, other):
    keyring, secrets = new_keyring(key)
    with pytest.raises(WrongKeyError, match=key.key_id):
        keyring.without_key(other.key_id, secrets)
    with pytest.raises(EncryptionError, match="already"):
        keyring.with_key(key, secrets)


def test_a_key_that_does_not_unwrap_what_it_wrapped_is_never_added(key):
    class Broken(Reversed):
        def unwrap(self, wrapped):
            return bytes(32)

    keyring, secrets = new_keyring(key)
    with pytest.raises(EncryptionError, match="nothing was changed"):
        keyring.with_key(Broken(), secrets)


def test_wrong_words_are_a_wrong_key(other):
    keyring, _ = new_keyring(other)
    with pytest.raises(WrongKeyError):
        keyring.unlock(PassphraseKey("wrong horse", name="ops"))


def test_who_has_no_key_changes_nothing_in_it(key, other):
    keyring, secrets = new_keyring(key)
    mine, _ = new_keyring(other)
    for changes in (
        {"generation": 9},
        {"store": bytes(16)},
        {"epoch": 2},
        {"keys": {**keyring.keys, **mine.keys}},
        {"sealed": mine.sealed},
        {"sealed": b""},
    ):
        with pytest.raises(KeyringError, match="no key"):
            forged(keyring, **changes).unlock(key)
    assert keyring.unlock(key) == secrets


def test_a_passphrase_never_takes_any_amount_of_memory(other):
    keyring, _ = new_keyring(other)
    wrapped = keyring.keys[other.key_id]
    for head in (b"\x1e\x08\x01", b"\x0f\xff\x01", b"\x0f\x08\xff", b"\x00\x08\x01"):
        changed = forged(keyring, keys={other.key_id: head + wrapped[3:]})
        with pytest.raises(WrongKeyError, match="scrypt"):
            changed.unlock(other)
    for cut in (0, 2, 30):
        with pytest.raises(WrongKeyError):
            forged(keyring, keys={other.key_id: wrapped[:cut]}).unlock(other)


def test_a_newer_format_says_upgrade(key):
    document = json.loads(encode_keyring(new_keyring(key)[0]))
    with pytest.raises(SchemaVersionError, match="upgrade"):
        decode_keyring(with_checksum({**document, "format": 2, "more": 1}))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", "{}", '{"format": 1}', "[" * 100_000, b"\xff\xfe", "9" * 9_999],
)
def test_what_is_no_keyring_is_damaged(text):
    with pytest.raises(KeyringError):
        decode_keyring(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("generation", 0),
        ("generation", True),
        ("generation", 1 << 80),
        ("epoch", "1"),
        ("store", "zz"),
        ("keys", {}),
        ("keys", {"a": 1}),
        ("keys", [1]),
        ("sealed", "*"),
        ("more", 1),
    ],
)
def test_a_keyring_made_by_hand_is_refused_though_its_checksum_fits(key, field, value):
    document = json.loads(encode_keyring(new_keyring(key)[0]))
    with pytest.raises(KeyringError):
        decode_keyring(with_checksum({**document, field: value}))


@given(place=st.integers(0, 10_000), byte=st.integers(1, 255))
def test_a_changed_byte_never_goes_unnoticed(place, byte):
    keyring = Keyring(3, bytes(16), 1, {"service:1": b"wrapped" * 5}, b"sealed" * 9)
    raw = bytearray(encode_keyring(keyring).encode())
    raw[place % len(raw)] ^= byte
    with suppress(KeyringError):
        assert decode_keyring(bytes(raw)) == keyring  # white space between fields


def test_secrets_are_not_shown(key, other):
    keyring, secrets = new_keyring(key)
    assert secrets.content_key.hex() not in repr(secrets) + repr(keyring)
    assert "correct" not in repr(other)


class Service:
    """A key service that can fail."""

    key_id = "service:2"

    def __init__(self):
        self.error = None

    def wrap(self, secret):
        return b"wrapped " + self._answer(secret)

    def unwrap(self, wrapped):
        return self._answer(wrapped.removeprefix(b"wrapped "))

    def _answer(self, secret):
        if self.error is not None:
            raise self.error
        return secret


@pytest.mark.parametrize(
    "error",
    [ConnectionError("no route"), FileNotFoundError(2, "no socket"), ValueError("no answer")],
    ids=lambda error: type(error).__name__,
)
def test_what_a_key_service_raises_is_told_as_the_keys(tmp_path, error):
    key = Service()
    with PipelineCheckpoint(tmp_path / "store", key, True) as handle:
        handle.save({"n": 1}, "one")
        handle.export_checkpoint("one", tmp_path / "one.tar")
        handle.push_backup(tmp_path / "nas")
        key.error = error
        for use in (
            lambda: PipelineCheckpoint(tmp_path / "new", key, True),
            lambda: PipelineCheckpoint(tmp_path / "store", key, True),
            lambda: handle.export_checkpoint("one", tmp_path / "again.tar"),
            lambda: handle.import_checkpoint(tmp_path / "one.tar"),
            lambda: handle.rotate_key(Service(), reencrypt=True),
            lambda: PipelineCheckpoint.pull_backup(
                tmp_path / "nas", tmp_path / "back", key, rebuild=True
            ),
        ):
            with pytest.raises(EncryptionError, match="service:2") as caught:
                use()
            assert caught.value.__cause__ is error
    key.error = None
    with PipelineCheckpoint(tmp_path / "store", key, True) as handle:
        assert handle.load("one") == {"n": 1}


def test_a_key_that_gives_no_bytes_is_refused():
    key = Service()
    key._answer = lambda secret: len(secret)
    with pytest.raises(EncryptionError, match="could not wrap"):
        new_keyring(key)
