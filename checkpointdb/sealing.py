"""What an encrypted store does to bytes: members are sealed, digests and cuts are keyed.

    payload       = header, sealed member *, footer
    header        = magic, format (2 bytes), epoch (4), salt (32); little-endian
    sealed member = sequence (4), ciphertext as long as the gzip member, tag (16)

AES-256-GCM (NIST SP 800-38D) under a key of the file alone, which HKDF-SHA256 (RFC 5869) makes of
the master key of its epoch, the salt and the payload's name. The nonce is the member's kind and
sequence, which with the header's hash are the associated data too: nothing can be swapped,
reordered or replayed from another file unnoticed.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from checkpointdb.database_errors import KeyringChanged
from checkpointdb.digests import Digests
from checkpointdb.errors import CorruptionError, EncryptionError
from checkpointdb.format import Pieces
from checkpointdb.payloads import PayloadReader

if TYPE_CHECKING:
    from checkpointdb.keyring import Secrets

DATA: Final = 0
MANIFEST: Final = 1

_MAGIC = b"CKPTSEAL"
_FORMAT = 1
_HEADER = struct.Struct("<8sHI32s")
_SEQUENCE = struct.Struct("<I")
_SALT_BYTES = 32
_TAG_BYTES = 16
HEADER_BYTES = _HEADER.size
OVERHEAD_BYTES = _SEQUENCE.size + _TAG_BYTES  # of each member


class Seal(Protocol):
    """What seals and unseals the members of one payload."""

    header: bytes
    epoch: int | None

    def seal(self, kind: int, sequence: int, pieces: Pieces) -> Pieces:
        """Return a member as it is stored. No two of a kind may have the same sequence."""
        ...

    def unseal(self, kind: int, stored: bytes) -> tuple[int | None, bytes]:
        """Return the sequence of a stored member (None: in the clear), and it as gzip.

        Raises CorruptionError if it is not what was sealed.
        """
        ...


class Cipher(Protocol):
    """What a handle stores with: in the clear, or by the secrets of its store."""

    @property
    def epoch(self) -> int | None:
        """Return the number of the master key that new payloads get; None: in the clear."""
        ...

    @property
    def generation(self) -> int | None:
        """Return which keyring this was read from; None: in the clear."""
        ...

    @property
    def digests(self) -> Digests: ...
    @property
    def seed(self) -> int:
        """Return what moves the boundaries of chunks; they would tell what is in them."""
        ...

    def begin(self, name: str) -> Seal:
        """Return the seal of a new payload; of its name the sequence need not be known."""
        ...

    def open(self, name: str, reader: PayloadReader) -> Seal:
        """Return the seal of a payload that is there.

        Raises CorruptionError if it is not sealed, or by a key that the store does not have;
        what `renew` raises.
        """
        ...

    def renew(self) -> None:
        """Read the keyring again: somebody may have changed it since.

        Raises EncryptionError if it no longer opens.
        """
        ...


def check_epoch(cipher: Cipher, epoch: int | None, generation: int | None) -> None:
    """Raise unless what was sealed in `epoch` may be given a row, under the writers' lock.

    `generation` is that of the keyring in the database now, None if there is none. Raises
    KeyringChanged if there is a newer one, or a newer master key: to be tried again after `renew`;
    EncryptionError if the store was encrypted, or lost its keyring, since it was opened; what
    `renew` raises.
    """
    if (generation is None) != (epoch is None):
        became = "lost its keyring" if generation is None else "was encrypted"
        raise EncryptionError(
            f"the store {became} since it was opened: nothing was saved; open it again"
        )
    if generation is None or epoch is None or cipher.generation is None:
        return
    if generation > cipher.generation:  # to unlock it may take long: not under the lock
        raise KeyringChanged("the keyring was changed since it was read")
    if generation < cipher.generation:  # the file is ahead of the row, or both were put back
        cipher.renew()
    if epoch != cipher.epoch:
        raise KeyringChanged("what was sealed was sealed by an older master key")


class Plain:
    """In the clear: a payload is gzip members and nothing else."""

    epoch: int | None = None
    generation: int | None = None
    seed = 0
    header = b""

    def __init__(self) -> None:
        self.digests = Digests()

    def begin(self, name: str) -> Seal:
        return self

    def open(self, name: str, reader: PayloadReader) -> Seal:
        return self

    def renew(self) -> None:
        pass

    def seal(self, kind: int, sequence: int, pieces: Pieces) -> Pieces:
        return pieces

    def unseal(self, kind: int, stored: bytes) -> tuple[int | None, bytes]:
        if not stored.startswith(b"\x1f\x8b"):  # RFC 1952, 2.3.1
            raise CorruptionError(
                "a member is not gzip: damaged, or sealed by an encrypted store whose "
                "keyring.json is missing here"
            )
        return None, stored


PLAIN = Plain()


class Sealed:
    """By the secrets of an encrypted store, which `read` reads again."""

    def __init__(self, secrets: Secrets, read: Callable[[], Secrets]) -> None:
        self._secrets = secrets
        self._read = read
        self.digests = Digests(_derive(secrets.content_key, b"", b"digests"))
        seed = int.from_bytes(_derive(secrets.content_key, b"", b"chunks")[:8], "little")
        self.seed = seed >> 1  # the chunker takes 63 bits

    @property
    def epoch(self) -> int:
        return self._secrets.epoch

    @property
    def generation(self) -> int:
        return self._secrets.generation

    def renew(self) -> None:
        self._secrets = self._read()

    def begin(self, name: str) -> Seal:
        secrets = self._secrets  # another thread may renew them
        salt = os.urandom(_SALT_BYTES)
        header = _HEADER.pack(_MAGIC, _FORMAT, secrets.epoch, salt)
        return _FileSeal(secrets.masters[secrets.epoch], secrets.epoch, salt, header, name)

    def open(self, name: str, reader: PayloadReader) -> Seal:
        header = reader.read(0, HEADER_BYTES)
        if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
            raise CorruptionError(
                f"the payload {name!r} is not sealed, as all of an encrypted store are: it was "
                "put there, or damaged"
            )
        _, version, epoch, salt = _HEADER.unpack(header)
        if version > _FORMAT:
            raise CorruptionError(
                f"the payload {name!r} is sealed in format {version}, this version reads up to "
                f"{_FORMAT}: upgrade checkpointdb"
            )
        if epoch not in self._secrets.masters:
            self.renew()  # the master key may be new since this store was opened
        masters = self._secrets.masters
        if epoch not in masters:
            known = ", ".join(map(str, sorted(masters)))
            raise CorruptionError(
                f"the payload {name!r} is sealed with master key {epoch}, the keyring has {known}: "
                "it is from another store or time, or damaged"
            )
        return _FileSeal(masters[epoch], epoch, salt, header, name)


class _FileSeal:
    def __init__(self, master: bytes, epoch: int, salt: bytes, header: bytes, name: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.header = header
        self.epoch: int | None = epoch
        self._hash = sha256(header).digest()
        self._cipher = AESGCM(_derive(master, salt, b"payload " + _label(name)))

    def seal(self, kind: int, sequence: int, pieces: Pieces) -> Pieces:
        member = self._cipher.encrypt(
            _nonce(kind, sequence), b"".join(pieces), self._associated(kind, sequence)
        )
        return [_SEQUENCE.pack(sequence), member]

    def unseal(self, kind: int, stored: bytes) -> tuple[int | None, bytes]:
        from cryptography.exceptions import InvalidTag

        if len(stored) < OVERHEAD_BYTES:
            raise _unsealable()
        (sequence,) = _SEQUENCE.unpack_from(stored)
        sealed = memoryview(stored)[_SEQUENCE.size :]
        try:
            member = self._cipher.decrypt(
                _nonce(kind, sequence), sealed, self._associated(kind, sequence)
            )
        except InvalidTag:
            raise _unsealable() from None
        return sequence, member

    def _associated(self, kind: int, sequence: int) -> bytes:
        return self._hash + struct.pack("<BI", kind, sequence)


def _unsealable() -> CorruptionError:
    return CorruptionError(
        "a member is not what was sealed with the store's key for this place: it was changed, or "
        "moved here"
    )


def _nonce(kind: int, sequence: int) -> bytes:
    return struct.pack("<B7xI", kind, sequence)


def _label(name: str) -> bytes:
    """Return a payload's name without its sequence, which is given when all is sealed."""
    return re.sub(r"/\d+-", "/", name).encode()


def _derive(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = b"checkpointdb %d %s" % (_FORMAT, purpose)
    return HKDF(SHA256(), 32, salt, info).derive(secret)
