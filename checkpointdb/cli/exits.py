"""What a command ends with: one table of codes, by what a script would do about each."""

from __future__ import annotations

from typing import Final, NamedTuple

from checkpointdb.errors import (
    CorruptionError,
    EncryptionError,
    InvalidInputError,
    KeyringError,
    NotFoundError,
    SchemaVersionError,
    StoreBusyError,
    StoreUnavailableError,
    UnknownOutcomeError,
)


class Exit(NamedTuple):
    """An exit code, its name in error documents, and the errors that it stands for."""

    code: int
    name: str
    meaning: str
    errors: tuple[type[Exception], ...] = ()


OK: Final = Exit(0, "ok", "done, and nothing was wrong")
ERROR: Final = Exit(1, "error", "any other error; a question was answered with no")
USAGE: Final = Exit(2, "usage", "the command line makes no sense", (InvalidInputError,))
NOT_FOUND: Final = Exit(
    3,
    "not found",
    "no such store, pipeline, checkpoint or key of a state",
    (NotFoundError,),
)
CORRUPT: Final = Exit(
    4,
    "corrupt",
    "stored bytes are not what was saved; `check` found problems",
    (CorruptionError, KeyringError),
)
WRONG_KEY: Final = Exit(
    5,
    "wrong key",
    "the encryption key is missing or wrong, or the store is not encrypted",
    (EncryptionError,),
)
BUSY: Final = Exit(6, "busy", "other writers held the store for too long", (StoreBusyError,))
UNAVAILABLE: Final = Exit(
    7,
    "unavailable",
    "the store cannot be read or written",
    (StoreUnavailableError, UnknownOutcomeError),
)
SCHEMA: Final = Exit(
    8,
    "schema version",
    "the database is of an older or newer version",
    (SchemaVersionError,),
)
PARTIAL: Final = Exit(9, "partial failure", "of several, some were done and some were not")
INTERRUPTED: Final = Exit(130, "interrupted", "Ctrl-C")
TERMINATED: Final = Exit(143, "terminated", "SIGTERM; what was begun can be gone on with")
BROKEN_PIPE: Final = Exit(141, "broken pipe", "nobody reads the output any more (`| head`)")

# In this order: a damaged keyring is corruption before it is an EncryptionError.
EXITS: Final = (
    OK,
    ERROR,
    USAGE,
    NOT_FOUND,
    CORRUPT,
    WRONG_KEY,
    BUSY,
    UNAVAILABLE,
    SCHEMA,
    PARTIAL,
    INTERRUPTED,
    BROKEN_PIPE,
    TERMINATED,
)


def exit_for(error: BaseException) -> Exit:
    """Return what a command ends with that raised `error`."""
    return next((each for each in EXITS if isinstance(error, each.errors)), ERROR)
