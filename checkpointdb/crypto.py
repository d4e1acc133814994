"""Fernet keys, made and read, and whether there is encryption at all."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from checkpointdb.directories import write_private
from checkpointdb.errors import EncryptionError

ENCRYPTION_AVAILABLE = find_spec("cryptography") is not None


def generate_encryption_key(output_path: str | os.PathLike[str] | None = None) -> bytes:
    """Return a new Fernet key, written to `output_path` (mode 0600) if one is given.

    The file appears whole or not at all. Raises FileExistsError rather than overwrite one,
    EncryptionError if `cryptography` is not installed.
    """
    require_cryptography()
    from cryptography.fernet import Fernet

    key = Fernet.generate_key()
    if output_path is not None:
        write_private(Path(output_path), key, is_new=True)
    return key


def load_encryption_key(key_path: str | os.PathLike[str]) -> bytes:
    """Return the Fernet key in a file.

    Raises EncryptionError if the file does not hold one, OSError if it cannot be read.
    """
    require_cryptography()
    from cryptography.fernet import Fernet

    key = Path(key_path).read_bytes().strip()
    try:
        Fernet(key)
    except ValueError as error:
        raise EncryptionError(
            f"{str(key_path)!r} does not hold a Fernet key: 32 bytes in URL-safe base64 are "
            "expected, as generate_encryption_key writes them"
        ) from error
    return key


def require_cryptography() -> None:
    """Raise EncryptionError if `cryptography` is not installed."""
    if not ENCRYPTION_AVAILABLE:
        raise EncryptionError(
            "encryption needs the package `cryptography`: pip install 'checkpointdb[encryption]'"
        )
