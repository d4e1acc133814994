"""Where a user's key comes from: the call, the environment, a file beside the data."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from checkpointdb.crypto import (
    ENCRYPTION_AVAILABLE,
    generate_encryption_key,
    load_encryption_key,
    require_cryptography,
)
from checkpointdb.errors import EncryptionError, KeyBesideDataWarning
from checkpointdb.keys import FernetKey, Key, as_key

KEY_NAME = "encryption.key"
_COMMAND_SECONDS = 60
_MOST_KEY_BYTES = 4_096


def key_for(encryption_key: object | None, enable_encryption: bool | None) -> Key | None:
    """Return the key of a handle; `enable_encryption` None stands for either kind of store.

    Raises EncryptionError for a key that would encrypt nothing, and as given_key does.
    """
    if enable_encryption is None:
        return given_key(encryption_key) if ENCRYPTION_AVAILABLE else None
    if enable_encryption:
        require_cryptography()
        return given_key(encryption_key)
    if encryption_key is not None:
        raise EncryptionError(
            "an encryption_key without enable_encryption=True would encrypt nothing: pass both"
        )
    return None


def given_key(key: object | None) -> Key | None:
    """Return the key that was passed, or else the one that the environment names.

    Raises EncryptionError if that cannot be had or is none; a message never shows key material.
    """
    if key is not None:
        return as_key(key)
    for variable, read in _VARIABLES.items():
        if text := os.environ.get(variable):
            try:
                return read(text)
            except EncryptionError as error:
                raise EncryptionError(f"{variable}: {error}") from error
    return None


def key_beside(directory: Path) -> Key | None:
    """Return the key that a store without any other made into its own directory."""
    path = directory / KEY_NAME
    if not os.path.lexists(path):
        return None
    try:
        found = path.stat()  # a link may be there on purpose, such as to a mounted secret
    except OSError as error:
        raise EncryptionError(f"the key file {str(path)!r} cannot be read: {error}") from error
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_KEY_BYTES:
        raise EncryptionError(f"{str(path)!r} is no key file: no regular file, or too long")
    return key_in_file(path)


def make_key_beside(directory: Path) -> Key:
    """Make a key in a new store's directory and warn that it lies there.

    Of two processes at once, the second finds the first one's.
    """
    path = directory / KEY_NAME
    try:
        generate_encryption_key(path)
    except FileExistsError:
        return key_in_file(path)
    except OSError as error:
        raise EncryptionError(f"the key {str(path)!r} cannot be made: {error}") from error
    warnings.warn(
        f"a new encryption key was made in {str(path)!r}, beside the data that it protects: move "
        "it to another place, name that in CHECKPOINTDB_KEY_FILE, and keep a copy; without it "
        "nothing can be read",
        KeyBesideDataWarning,
        stacklevel=_levels_to_caller(),
    )
    return key_in_file(path)


def _levels_to_caller() -> int:
    """Return how many frames above the calling one the first is that is not of this package."""
    levels, frame, package = 1, sys._getframe(1), __name__.partition(".")[0]
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        levels, frame = levels + 1, frame.f_back
    return levels


def key_in_file(path: Path) -> Key:
    """Return the Fernet key that a file holds. Raises EncryptionError if it cannot be had."""
    try:
        return FernetKey(load_encryption_key(path))
    except OSError as error:
        raise EncryptionError(f"the key file {str(path)!r} cannot be read: {error}") from error


def _output_of(command: str) -> bytes:
    """Return the standard output of a command, run without a shell."""
    import shlex

    problem = "the command gave no key: "
    try:
        words = shlex.split(command)
        done = subprocess.run(  # noqa: S603 - it is the user's own
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EncryptionError(f"{problem}it took over {_COMMAND_SECONDS} seconds") from None
    except (OSError, ValueError, IndexError) as error:
        raise EncryptionError(f"{problem}it cannot be run ({error})") from None
    if done.returncode:
        raise EncryptionError(f"{problem}it ended with status {done.returncode}")
    return done.stdout


_VARIABLES: dict[str, Callable[[str], Key]] = {
    "CHECKPOINTDB_KEY": FernetKey,
    "CHECKPOINTDB_KEY_FILE": lambda path: key_in_file(Path(path)),
    "CHECKPOINTDB_KEY_COMMAND": lambda command: FernetKey(_output_of(command)),
}
