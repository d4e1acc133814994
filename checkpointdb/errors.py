"""The tree of exceptions, by what a handler would do about each.

    CheckpointError
    ├── NotFoundError            (ValueError)      ask for another id
    ├── CorruptionError          (ValueError)      stored bytes changed: restore a backup
    ├── InvalidInputError        (ValueError)      correct the call; nothing was written
    │   └── InvalidStateError    (TypeError)       the state itself cannot be saved
    ├── StateChangedError        (RuntimeError)    another thread changed the state during the save
    ├── StaleStageError          (RuntimeError)    redo or reuse what changed stages made
    ├── RunTakenError            (RuntimeError)    leave, or give a run_id of its own
    ├── EncryptionError          (RuntimeError)    a key is missing, or encryption is
    │   ├── MissingKeyError                        give a key
    │   ├── WrongKeyError                          give a key that opens the store
    │   └── KeyringError                           the keyring is damaged: restore a backup
    ├── UntrustedGlobalError     (ValueError)      trust the name, or do not load the value
    ├── UnknownSerializerError   (LookupError)     register the serializer that saved the value
    ├── StateVersionError        (RuntimeError)    give the code or the upgrade that the state needs
    │   └── StateUpgradeError                      correct the upgrade, which failed
    ├── SchemaVersionError       (RuntimeError)    upgrade the library, or the store
    ├── StoreBusyError           (TimeoutError)    try again later
    ├── StoreUnavailableError    (OSError)         disk full, read-only, removed, not a store
    ├── UnknownOutcomeError      (ConnectionError) a server's answer was lost: look, then retry
    └── NotSupportedError        (NotImplementedError)   this version cannot do it

Every message says what happened and what to do; the facts are attributes.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "CorruptionError",
    "EncryptionError",
    "InvalidInputError",
    "InvalidStateError",
    "KeyBesideDataWarning",
    "KeyringError",
    "MissingKeyError",
    "NotFoundError",
    "NotSupportedError",
    "RunTakenError",
    "SchemaVersionError",
    "StaleStageError",
    "StateChangedError",
    "StateUpgradeError",
    "StateVersionError",
    "StoreBusyError",
    "StoreUnavailableError",
    "UnknownOutcomeError",
    "UnknownSerializerError",
    "UntrustedGlobalError",
    "WrongKeyError",
]


class CheckpointError(Exception):
    """The root of every error that checkpointdb raises on purpose."""


class NotFoundError(CheckpointError, ValueError):
    """No such checkpoint, key, pipeline or store; or it was forgotten meanwhile."""

    def __init__(self, message: str, *, checkpoint_id: str | None = None) -> None:
        super().__init__(message)
        self.checkpoint_id = checkpoint_id


class CorruptionError(CheckpointError, ValueError):
    """Stored bytes are missing or are not the bytes that were saved."""

    def __init__(
        self,
        message: str,
        *,
        checkpoint_id: str | None = None,
        payload: str | None = None,
    ) -> None:
        super().__init__(message)
        self.checkpoint_id = checkpoint_id
        self.payload = payload


class InvalidInputError(CheckpointError, ValueError):
    """An argument that cannot be stored; nothing was written."""


class InvalidStateError(InvalidInputError, TypeError):
    """A state, or one value of it, that cannot be saved; nothing was written."""

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class StateChangedError(CheckpointError, RuntimeError):
    """A value was changed by another thread while it was being saved."""

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class StaleStageError(CheckpointError, RuntimeError):
    """A stage, by its number in `stages`, changed since it made the checkpoint to resume from."""

    def __init__(self, message: str, *, checkpoint_id: str, stages: tuple[int, ...]) -> None:
        super().__init__(message)
        self.checkpoint_id = checkpoint_id
        self.stages = stages


class RunTakenError(CheckpointError, RuntimeError):
    """The run was begun again meanwhile, by another process or thread, which has it now."""


class EncryptionError(CheckpointError, RuntimeError):
    """A key is missing or wrong, or encryption is not available."""


class MissingKeyError(EncryptionError):
    """The store is encrypted and no key was given."""


class WrongKeyError(EncryptionError):
    """A key that does not open the store; nothing was changed."""


class KeyringError(EncryptionError):
    """The keyring is missing or is not what was written; no key can help."""


class KeyBesideDataWarning(UserWarning):
    """A new encryption key was made in the store that it protects."""


class UntrustedGlobalError(CheckpointError, ValueError):
    """A pickle names, or does, what `trusted_globals` does not allow; none of it was called."""

    def __init__(self, message: str, *, checkpoint_id: str, key: str, global_name: str) -> None:
        super().__init__(message)
        self.checkpoint_id = checkpoint_id
        self.key = key
        self.global_name = global_name


class UnknownSerializerError(CheckpointError, LookupError):
    """A value was saved by a serializer that is not registered here."""

    def __init__(self, message: str, *, checkpoint_id: str, key: str, serializer: str) -> None:
        super().__init__(message)
        self.checkpoint_id = checkpoint_id
        self.key = key
        self.serializer = serializer


class StateVersionError(CheckpointError, RuntimeError):
    """A state is of a version that this code does not take; nothing was unpickled.

    `found` is the state's version, 0 if it was saved without one, `expected` the code's. `step` is
    the version from which there is no upgrade, None if the state is newer than the code.
    """

    def __init__(
        self,
        message: str,
        *,
        checkpoint_id: str,
        found: int,
        expected: int,
        step: int | None = None,
    ) -> None:
        super().__init__(message)
        self.checkpoint_id = checkpoint_id
        self.found = found
        self.expected = expected
        self.step = step


class StateUpgradeError(StateVersionError):
    """The upgrade from version `step` of a state failed; the checkpoint is as it was."""


class SchemaVersionError(CheckpointError, RuntimeError):
    """The database has a schema that this version of the library does not read."""

    def __init__(self, message: str, *, found: str | None, expected: str) -> None:
        super().__init__(message)
        self.found = found
        self.expected = expected


class StoreBusyError(CheckpointError, TimeoutError):
    """Other writers held the store longer than the time allowed for waiting."""


class StoreUnavailableError(CheckpointError, OSError):
    """The store's directory or database cannot be read or written."""


class UnknownOutcomeError(CheckpointError, ConnectionError):
    """A server was told to commit, and its answer was lost: it may have been done or not."""


class NotSupportedError(CheckpointError, NotImplementedError):
    """What was asked for is not part of this version."""
