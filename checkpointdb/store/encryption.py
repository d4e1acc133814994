"""A store's encryption: unlocked when it is opened, its keys added and removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from checkpointdb.database import Database
from checkpointdb.errors import EncryptionError
from checkpointdb.keyring import Keyring, Secrets, decode_keyring, encode_keyring, new_keyring
from checkpointdb.keys import Key, as_key
from checkpointdb.payloads import PayloadStore
from checkpointdb.schema import payloads as payloads_table
from checkpointdb.sealing import Sealed
from checkpointdb.store.key_sources import key_beside, make_key_beside
from checkpointdb.store.keyring_copies import (
    is_repaired,
    read_copies,
    read_file,
    repair,
    write_file,
    write_row,
)

if TYPE_CHECKING:
    from checkpointdb.store.engine import Engine

Change = Callable[[Keyring, Secrets], Keyring]


class Unlocked(NamedTuple):
    """An encrypted store that a key has opened."""

    directory: Path
    database: Database
    key: Key
    secrets: Secrets

    def add(self, *changes: Change) -> None:
        """Change the keyring so that more keys open it: first the file, then the row."""
        with self.database.write() as connection:
            keyring = self._changed(read_copies(self.directory, connection).newest, changes)
            write_file(self.directory, encode_keyring(keyring))
            write_row(connection, keyring)

    def remove(self, *changes: Change) -> None:
        """Change the keyring so that fewer keys open it: first the row, then the file."""
        with self.database.write() as connection:
            write_row(
                connection, self._changed(read_copies(self.directory, connection).newest, changes)
            )
        repair(self.directory, self.database)

    def _changed(self, keyring: Keyring | None, changes: tuple[Change, ...]) -> Keyring:
        if keyring is None:
            raise EncryptionError(
                f"the keyring of {str(self.directory)!r} was removed since the store was opened: "
                "nothing was changed; open it again"
            )
        secrets = keyring.unlock(self.key)  # whose key was removed meanwhile changes nothing
        for change in changes:
            keyring = change(keyring, secrets)
        return keyring


def check_key(directory: Path, key: Key | None, *, is_wanted: bool | None, has_table: bool) -> None:
    """Refuse a wrong key by what the keyring file says, before anything is written.

    A file that is damaged or missing is left to `unlock`, which also sees the table.
    """
    text = read_file(directory)
    if text is None:
        return
    if is_wanted is False:
        raise _encrypted(directory)
    try:
        keyring = decode_keyring(text)
    except EncryptionError:
        return
    found = key or key_beside(directory)
    if found is None:
        raise _no_key(directory)
    # The table may have a newer generation, which knows more keys.
    if found.key_id in keyring.keys or not has_table:
        keyring.unlock(found)


def unlock(
    directory: Path,
    database: Database,
    payloads: PayloadStore,
    key: Key | None,
    *,
    is_wanted: bool | None,
) -> Unlocked | None:
    """Return an encrypted store unlocked; made one if it is new and `is_wanted`.

    None for a store in the clear. `is_wanted` None takes it as it is.
    """
    with database.read() as connection:
        copies = read_copies(directory, connection)
    if copies.newest is None and not is_wanted:
        return None
    if copies.newest is None:
        return _encrypt(directory, database, payloads, key)
    if is_wanted is False:
        raise _encrypted(directory)
    found = key or key_beside(directory)
    if found is None:
        raise _no_key(directory)
    secrets = copies.newest.unlock(found)
    if not is_repaired(copies) and not database.read_only:
        repair(directory, database)
    return Unlocked(directory, database, found, secrets)


def _encrypt(
    directory: Path, database: Database, payloads: PayloadStore, key: Key | None
) -> Unlocked:
    """Encrypt a store that has no payload yet."""
    with database.write() as connection:
        copies = read_copies(directory, connection)
        if copies.newest is None:
            row = connection.execute(select(payloads_table.c.id).limit(1)).first()
            if row is not None or next(payloads.files(), None) is not None:
                raise EncryptionError(
                    f"the store {str(directory)!r} holds checkpoints in the clear, which turning "
                    "encryption on would not hide: nothing was changed. Copy them into an "
                    "encrypted store by PipelineCheckpoint(…).encrypt_into(a new directory, key)"
                )
            key = key or key_beside(directory) or make_key_beside(directory)
            keyring, secrets = new_keyring(key)
            write_file(directory, encode_keyring(keyring))
            write_row(connection, keyring)
            return Unlocked(directory, database, key, secrets)
    # Another process has encrypted it since we looked.
    found = unlock(directory, database, payloads, key, is_wanted=True)
    assert found is not None
    return found


def _encrypted(directory: Path) -> EncryptionError:
    return EncryptionError(
        f"the store {str(directory)!r} is encrypted: open it with enable_encryption=True and its "
        "encryption_key"
    )


def _no_key(directory: Path) -> EncryptionError:
    return EncryptionError(
        f"the store {str(directory)!r} is encrypted and no key was given: pass encryption_key, or "
        "set CHECKPOINTDB_KEY, CHECKPOINTDB_KEY_FILE or CHECKPOINTDB_KEY_COMMAND"
    )


class Encryption:
    """The methods of a handle about keys."""

    _engine: Engine
    _unlocked: Unlocked | None = None
    checkpoint_dir: Path

    def add_key(self, key: bytes | str | Key) -> str:
        """Let another key open the store too, and return its id; at once, whatever it holds.

        Raises EncryptionError if the store is not encrypted, or a key of this id opens it
        already; WrongKeyError if this handle's own key was removed meanwhile.
        """
        new = as_key(key)
        self._opened().add(lambda keyring, secrets: keyring.with_key(new, secrets))
        return new.key_id

    def remove_key(self, key: bytes | str | Key) -> None:
        """Let a key, given itself or by its id, no longer open the store; never the last.

        Who had the key may have kept the master key: what they could read, they still can, and
        what is saved from now on too (docs/explanation/threat-model.md).

        Raises WrongKeyError if it opens nothing, EncryptionError if it is the last.
        """
        key_id = key if isinstance(key, str) and ":" in key else as_key(key).key_id
        self._opened().remove(lambda keyring, secrets: keyring.without_key(key_id, secrets))

    def rotate_key(self, new: bytes | str | Key) -> str:
        """Let a new key open the store instead of the one this handle was opened with.

        Returns its id. No payload is written anew. Raises what add_key raises.
        """
        opened, key = self._opened(), as_key(new)
        opened.add(lambda keyring, secrets: keyring.with_key(key, secrets))
        changed = self._unlocked = opened._replace(key=key)
        changed.remove(lambda keyring, secrets: keyring.without_key(opened.key.key_id, secrets))
        return key.key_id

    def key_ids(self) -> list[str]:
        """Return the ids of the keys that open the store."""
        opened = self._opened()
        with opened.database.read() as connection:
            keyring = read_copies(opened.directory, connection).newest
        return sorted(keyring.keys) if keyring else []

    def _encrypt_empty(self, key: Key) -> None:
        """Encrypt the store of this handle, which goes on with it.

        Raises EncryptionError if the store holds checkpoints in the clear.
        """
        engine = self._engine
        self._unlocked = unlock(
            self.checkpoint_dir, engine.database, engine.payloads, key, is_wanted=True
        )
        assert self._unlocked is not None
        engine.cipher = Sealed(self._unlocked.secrets)

    def _opened(self) -> Unlocked:
        if self._unlocked is None:
            raise EncryptionError("the store is not encrypted: it has no keys")
        return self._unlocked
