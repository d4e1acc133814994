"""User keys: whatever wraps and unwraps the 32 bytes of a store's master key."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from hashlib import scrypt, sha256
from typing import Final, Protocol, runtime_checkable

from checkpointdb.contexts import contextmanager
from checkpointdb.crypto import require_cryptography
from checkpointdb.errors import (
    CheckpointError,
    EncryptionError,
    InvalidInputError,
    WrongKeyError,
)

# RFC 7914; 32 MiB and a tenth of a second. What is read may ask for more, but not for any amount.
_SCRYPT_N: Final = 15  # as a power of two
_SCRYPT_R: Final = 8
_SCRYPT_P: Final = 1
_MOST_N: Final = 18
_PARAMETERS = struct.Struct("<BBB16s")
_NONCE_BYTES = 12


@runtime_checkable
class Key(Protocol):
    """What opens an encrypted store: a Fernet key, a passphrase, or a key service's key.

    `key_id` says in the keyring, in the clear, which key it is; two keys never share one.
    """

    @property
    def key_id(self) -> str: ...

    def wrap(self, secret: bytes) -> bytes:
        """Return a secret of 32 bytes so that only this key unwraps it."""
        ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return what was wrapped. Raise WrongKeyError if it was not wrapped by this key."""
        ...


class FernetKey:
    """A key as `generate_encryption_key` returns: https://github.com/fernet/spec."""

    def __init__(self, key: bytes | str) -> None:
        require_cryptography()
        from cryptography.fernet import Fernet

        raw = key.encode() if isinstance(key, str) else bytes(key)
        try:
            self._fernet = Fernet(raw.strip())
        except ValueError:
            # Not `from` it, and the key not shown: it may be a good one, cut off.
            raise EncryptionError(
                "the encryption key is no Fernet key: 32 bytes in URL-safe base64 are expected, "
                "as generate_encryption_key() returns them; for words use PassphraseKey"
            ) from None
        self.key_id = "fernet:" + sha256(b"checkpointdb key id " + raw.strip()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"FernetKey({self.key_id!r})"

    def wrap(self, secret: bytes) -> bytes:
        return self._fernet.encrypt(secret)

    def unwrap(self, wrapped: bytes) -> bytes:
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(wrapped)
        except InvalidToken:
            raise WrongKeyError(f"the key {self.key_id!r} does not unwrap the master key") from None


class PassphraseKey:
    """Words as a key, through scrypt: 0.1 seconds and 32 MiB for each guess.

    `name` tells several passphrases of one store apart.
    """

    def __init__(self, passphrase: str, *, name: str = "default") -> None:
        require_cryptography()
        if not isinstance(passphrase, str | None):
            raise InvalidInputError(f"a passphrase is text, not {type(passphrase).__name__}")
        if not passphrase:
            raise InvalidInputError("a passphrase may not be empty")
        self._passphrase = passphrase.encode()
        self.key_id = f"passphrase:{name}"

    def __repr__(self) -> str:
        return f"PassphraseKey({self.key_id!r})"

    def wrap(self, secret: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        head = _PARAMETERS.pack(_SCRYPT_N, _SCRYPT_R, _SCRYPT_P, os.urandom(16))
        nonce = os.urandom(_NONCE_BYTES)
        return head + nonce + AESGCM(self._stretched(head)).encrypt(nonce, secret, head)

    def unwrap(self, wrapped: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        head, rest = wrapped[: _PARAMETERS.size], wrapped[_PARAMETERS.size :]
        wrong = WrongKeyError(f"the key {self.key_id!r} does not unwrap the master key")
        if len(rest) < _NONCE_BYTES + 16:
            raise wrong
        try:
            cipher = AESGCM(self._stretched(head))
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], head)
        except InvalidTag:
            raise wrong from None

    def _stretched(self, head: bytes) -> bytes:
        power, r, p, salt = _PARAMETERS.unpack(head)
        if not (10 <= power <= _MOST_N and r == _SCRYPT_R and 1 <= p <= 4):
            raise WrongKeyError(
                f"what {self.key_id!r} wrapped asks for scrypt with n=2**{power}, r={r}, p={p}, "
                "which this version never writes: it is damaged, or from a newer one"
            )
        # OpenSSL counts a little more than 128 * n * r.
        memory_bytes = 128 * (r << power) + (1 << 20)
        return scrypt(
            self._passphrase, salt=salt, n=1 << power, r=r, p=p, maxmem=memory_bytes, dklen=32
        )


def wrap(key: Key, secret: bytes) -> bytes:
    """Return what a key makes of a secret. Raises EncryptionError if it cannot."""
    with _used(key, "wrap"):
        return bytes(memoryview(key.wrap(secret)))


def unwrap(key: Key, wrapped: bytes) -> bytes:
    """Return a secret. Raises WrongKeyError as the key does, EncryptionError if it cannot."""
    with _used(key, "unwrap"):
        return bytes(memoryview(key.unwrap(wrapped)))


@contextmanager
def _used(key: Key, how: str) -> Iterator[None]:
    """Say of what a key raises that it is the key's: where it is used, it could be taken for ours.

    An OSError, of a service that is not reached, for the disk's; others for those of rows.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise EncryptionError(
            f"the key {key.key_id!r} could not {how} the master key ({type(error).__name__}: "
            f"{error}): nothing was changed; look at what keeps that key, and try again"
        ) from error


def as_key(key: object) -> Key:
    """Return a key as given: a Key, or a Fernet key as bytes or text.

    Raises EncryptionError if it is none, or `cryptography` is not installed.
    """
    require_cryptography()
    if isinstance(key, (bytes, str)):
        return FernetKey(key)
    if isinstance(key, Key):
        return key
    raise EncryptionError(
        f"an encryption key is a Fernet key (bytes or text) or has key_id, wrap and unwrap, not "
        f"{type(key).__name__}"
    )
