"""The keyring: what user keys open, a document kept in a table and in a file beside it.

format, generation, store, epoch    which keyring this is, in the clear
keys      of each user key its id → the newest master key, wrapped by it
sealed    the content key and the older master keys, by AES-256-GCM under the newest master
          key, with all of the above as associated data: nobody without a key changes it
checksum  SHA-256 of the rest: tells damage from a wrong key
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from checkpointdb.errors import EncryptionError, KeyringError, SchemaVersionError, WrongKeyError
from checkpointdb.keys import Key, unwrap, wrap

FORMAT: Final = 1
MOST_BYTES: Final = 1 << 20
_KEY_BYTES = 32
_NONCE_BYTES = 12


class Secrets(NamedTuple):
    """What seals a store: master keys by epoch, `epoch` the one for new payloads.

    Keys have 32 bytes. `content_key` is for digests and cuts, and stays for the store's life.
    `generation` is that of the keyring which holds them. `given` are the ids of all keys that the
    newest master key was ever wrapped by, `leaving` those of keys that go when no payload needs an
    older one any more.
    """

    store: bytes
    generation: int
    epoch: int
    masters: dict[int, bytes]
    content_key: bytes
    given: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Secrets(store={self.store.hex()}, epoch={self.epoch})"


class Keyring(NamedTuple):
    """What opens a store; of two copies the one of the higher `generation` holds."""

    generation: int
    store: bytes
    epoch: int
    keys: Mapping[str, bytes]
    sealed: bytes = b""

    def unlock(self, key: Key) -> Secrets:
        """Return the secrets that a user key opens.

        Raises WrongKeyError if it is none of the store's, KeyringError if the keyring was changed
        by somebody who has no key.
        """
        if key.key_id not in self.keys:
            known = ", ".join(sorted(self.keys))
            raise WrongKeyError(
                f"the key {key.key_id!r} does not open this store, which is opened by {known}"
            )
        master = unwrap(key, self.keys[key.key_id])
        if len(master) != _KEY_BYTES:
            raise WrongKeyError(f"the key {key.key_id!r} unwraps something else than a master key")
        return self._open(master)

    def with_key(self, key: Key, secrets: Secrets) -> Keyring:
        """Return the next generation, which `key` opens too.

        Raises EncryptionError if another key of this id does already.
        """
        if key.key_id in self.keys:
            raise EncryptionError(
                f"a key {key.key_id!r} opens this store already: remove it first, or give the new "
                "one another name"
            )
        wrapped = _wrapped(key, secrets.masters[secrets.epoch])
        given = secrets._replace(given=secrets.given | {key.key_id})
        return self._next({**self.keys, key.key_id: wrapped}, given)

    def without_key(self, key_id: str, secrets: Secrets) -> Keyring:
        """Return the next generation, which the key of this id no longer opens.

        Raises WrongKeyError if there is none, EncryptionError if it is the last.
        """
        if key_id not in self.keys:
            known = ", ".join(sorted(self.keys))
            raise WrongKeyError(f"no key {key_id!r} opens this store: there are {known}")
        if len(self.keys) == 1:
            raise EncryptionError(
                f"the key {key_id!r} is the last that opens this store: without it all would be "
                "lost. Add another first"
            )
        rest = {each: wrapped for each, wrapped in self.keys.items() if each != key_id}
        return self._next(rest, secrets)

    def with_new_master(
        self, keys: Collection[Key], leaving: Collection[str], secrets: Secrets
    ) -> Keyring:
        """Return the next generation: a new master key, which these keys open, and no other.

        The older ones stay in it. Raises EncryptionError as with_key does.
        """
        master = os.urandom(_KEY_BYTES)
        wrapped = {key.key_id: _wrapped(key, master) for key in keys}
        newer = self._replace(epoch=self.epoch + 1)
        changed = secrets._replace(
            epoch=newer.epoch,
            masters={**secrets.masters, newer.epoch: master},
            given=frozenset(wrapped),
            leaving=frozenset(leaving),
        )
        return newer._next(wrapped, changed)

    def without_older_masters(self, secrets: Secrets) -> Keyring:
        """Return the next generation without older master keys, and keys that were to leave.

        No payload may need them any more. Raises EncryptionError if no key would be left.
        """
        newest = {secrets.epoch: secrets.masters[secrets.epoch]}
        rest = {each: key for each, key in self.keys.items() if each not in secrets.leaving}
        if not rest:
            raise EncryptionError("no key would be left that opens this store: add another first")
        return self._next(rest, secrets._replace(masters=newest, leaving=frozenset()))

    def _next(self, keys: Mapping[str, bytes], secrets: Secrets) -> Keyring:
        return _seal(self._replace(generation=self.generation + 1, keys=keys), secrets)

    def _associated(self) -> bytes:
        return _canonical(_document(self, sealed=None))

    def _open(self, master: bytes) -> Secrets:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce, sealed = self.sealed[:_NONCE_BYTES], self.sealed[_NONCE_BYTES:]
        try:
            raw = AESGCM(_sealing_key(master)).decrypt(nonce, sealed, self._associated())
        except (InvalidTag, ValueError):
            raise KeyringError(
                "the keyring was changed by somebody who has no key of this store: bring "
                "keyring.json or the database back from a backup"
            ) from None
        inside = json.loads(raw)  # ours: it was authenticated
        masters = {int(epoch): bytes.fromhex(text) for epoch, text in inside["masters"].items()}
        content_key = bytes.fromhex(inside["content_key"])
        masters[self.epoch] = master
        return Secrets(
            self.store,
            self.generation,
            self.epoch,
            masters,
            content_key,
            frozenset(inside.get("given", self.keys)),
            frozenset(inside.get("leaving", ())),
        )


def new_keyring(key: Key) -> tuple[Keyring, Secrets]:
    """Return the keyring of a new store, which `key` opens, and its secrets."""
    masters, content_key = {1: os.urandom(_KEY_BYTES)}, os.urandom(_KEY_BYTES)
    given = frozenset({key.key_id})
    secrets = Secrets(os.urandom(16), 1, 1, masters, content_key, given)
    return Keyring(0, secrets.store, 1, {}).with_key(key, secrets), secrets


def _wrapped(key: Key, master: bytes) -> bytes:
    """Return a master key wrapped. Raises EncryptionError if the key does not unwrap it."""
    wrapped = wrap(key, master)
    if unwrap(key, wrapped) != master:
        raise EncryptionError(
            f"the key {key.key_id!r} does not unwrap what it has wrapped: nothing was changed"
        )
    return wrapped


def _seal(keyring: Keyring, secrets: Secrets) -> Keyring:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    older = {epoch: key.hex() for epoch, key in secrets.masters.items() if epoch != secrets.epoch}
    inside = _canonical(
        {
            "content_key": secrets.content_key.hex(),
            "masters": older,
            "given": sorted(secrets.given),
            "leaving": sorted(secrets.leaving),
        }
    )
    nonce = os.urandom(_NONCE_BYTES)
    cipher = AESGCM(_sealing_key(secrets.masters[secrets.epoch]))
    return keyring._replace(sealed=nonce + cipher.encrypt(nonce, inside, keyring._associated()))


def _sealing_key(master: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), _KEY_BYTES, b"", b"checkpointdb %d keyring" % FORMAT).derive(master)


# --- as a document


def encode_keyring(keyring: Keyring) -> str:
    """Return a keyring as JSON, which ends in a newline."""
    document = _document(keyring, sealed=keyring.sealed)
    checksum = sha256(_canonical(document)).hexdigest()
    return json.dumps({**document, "checksum": checksum}, indent=2) + "\n"


def decode_keyring(text: str | bytes) -> Keyring:
    """Return the keyring of a document.

    Raises KeyringError if it is damaged, SchemaVersionError if it is of a newer format.
    """
    if len(text) > MOST_BYTES:
        raise KeyringError(f"it has {len(text)} bytes, more than a keyring may ({MOST_BYTES})")
    try:
        found = json.loads(text)
        checksum = found.pop("checksum")
        if checksum != sha256(_canonical(found)).hexdigest():
            raise KeyringError("its checksum does not fit: it was damaged, or edited")
        version = found["format"]
        if type(version) is int and version > FORMAT:
            raise SchemaVersionError(
                f"the keyring has format {version}, this version reads up to {FORMAT}: upgrade "
                "checkpointdb",
                found=str(version),
                expected=str(FORMAT),
            )
        return _checked(found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise KeyringError(f"it is no keyring ({type(error).__name__})") from error


def _document(keyring: Keyring, *, sealed: bytes | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "format": FORMAT,
        "generation": keyring.generation,
        "store": keyring.store.hex(),
        "epoch": keyring.epoch,
        "keys": {each: _text(wrapped) for each, wrapped in keyring.keys.items()},
    }
    return document if sealed is None else {**document, "sealed": _text(sealed)}


def _checked(found: dict[str, Any]) -> Keyring:
    if set(found) != {"format", "generation", "store", "epoch", "keys", "sealed"}:
        raise ValueError("other fields")
    for name in ("format", "generation", "epoch"):
        if type(found[name]) is not int or not 0 < found[name] < 1 << 31:
            raise ValueError(name)
    if not found["keys"] or not re.fullmatch("[0-9a-f]{32}", found["store"]):
        raise ValueError("store")
    return Keyring(
        found["generation"],
        bytes.fromhex(found["store"]),
        found["epoch"],
        {each: _bytes(text) for each, text in found["keys"].items()},
        _bytes(found["sealed"]),
    )


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
