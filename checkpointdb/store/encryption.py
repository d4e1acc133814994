"""A store's encryption: unlocked when it is opened, its keys added and removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from checkpointdb.database import Database
from checkpointdb.directories import make_directories
from checkpointdb.errors import (
    EncryptionError,
    KeyringError,
    MissingKeyError,
)
from checkpointdb.keyring import Keyring, Secrets, decode_keyring, encode_keyring, new_keyring
from checkpointdb.keys import Key
from checkpointdb.local_payloads import unavailable
from checkpointdb.payloads import PayloadStore
from checkpointdb.schema import keyring as keyring_table
from checkpointdb.schema import payloads as payloads_table
from checkpointdb.store.guarding import GuardedPayloads
from checkpointdb.store.key_sources import key_beside, make_key_beside
from checkpointdb.store.keyring_copies import (
    KEYRING_NAME,
    is_repaired,
    keep_copy,
    read_copies,
    read_file,
    repair,
    write_file,
    write_row,
    write_there,
)

Change = Callable[[Keyring, Secrets], Keyring]
Check = Callable[[Connection], None]
Write = Callable[[Connection, Keyring], None]


@dataclass(slots=True)
class Unlocked:
    """An encrypted store that a key has opened; `there` a copy of its keyring lies, if anywhere."""

    directory: Path
    database: Database
    key: Key
    secrets: Secrets
    there: PayloadStore | None = None

    def renewed(self) -> Secrets:
        """Read the keyring again and return its secrets.

        With the same master key there is nothing to unlock: who has it may go on, also if the own
        key was removed meanwhile. Raises EncryptionError if the keyring is gone, older than what
        was known, or no longer opened by the own key.
        """
        with self.database.read() as connection:
            keyring = self._expected(read_copies(self.directory, connection).newest)
        if keyring.epoch < self.secrets.epoch:
            raise KeyringError(
                f"the keyring of {str(self.directory)!r} is older than what this store was opened "
                "with: somebody has put it back; bring the newest one back from a backup"
            )
        if keyring.epoch == self.secrets.epoch:
            self.secrets = self.secrets._replace(generation=keyring.generation)
        else:
            self.secrets = keyring.unlock(self.key)
        return self.secrets

    def add(self, change: Change) -> None:
        """Change the keyring so that more keys open it: first the files, then the row."""

        def write(connection: Connection, keyring: Keyring) -> None:
            _write_all(self.directory, connection, keyring, self.there)

        self._change(change, write, lambda _: None)

    def remove(self, change: Change, check: Check = lambda _: None) -> None:
        """Change the keyring so that fewer keys open it: first the row, then the file.

        `check` is called under the writers' lock, and raises if it may not be.
        """
        self._change(change, write_row, check)
        repair(self.directory, self.database, self.there)

    def _change(self, change: Change, write: Write, check: Check) -> None:
        """Work out the change without a lock: key services and passphrases take their time."""
        while True:
            with self.database.read() as connection:
                before = self._expected(read_copies(self.directory, connection).newest)
            secrets = before.unlock(self.key)  # whose key was removed meanwhile changes nothing
            after = change(before, secrets)
            with self.database.write() as connection:
                check(connection)
                now = self._expected(read_copies(self.directory, connection).newest)
                if now.generation == before.generation:
                    write(connection, after)
                    return

    def _expected(self, keyring: Keyring | None) -> Keyring:
        if keyring is None:
            raise EncryptionError(
                f"the keyring of {str(self.directory)!r} was removed since the store was opened: "
                "nothing was changed; open it again"
            )
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


def bring_keyring(directory: Path, payloads: PayloadStore, key: Key | None) -> None:
    """Bring a keyring from beside the payloads to a directory that has none: for a rebuild.

    Raises EncryptionError if the key does not open it; then nothing is written.
    """
    if read_file(directory) is not None:
        return
    text = payloads.note(KEYRING_NAME)
    if text is None:
        return
    found = key or key_beside(directory)
    if found is None:
        raise _no_key(directory)
    decode_keyring(text).unlock(found)
    try:
        make_directories(directory, durable=True)
    except OSError as error:
        raise unavailable(error, directory) from error
    write_file(directory, text.decode())


def check_copies(
    directory: Path, database: Database, key: Key | None, *, is_wanted: bool | None
) -> None:
    """Refuse a wrong key by what both copies say, before the database is upgraded."""
    with database.read() as connection:
        if not inspect(connection).has_table(keyring_table.name):
            return  # of a version that did not encrypt
        newest = read_copies(directory, connection).newest
    if newest is None:
        return
    if is_wanted is False:
        raise _encrypted(directory)
    found = key or key_beside(directory)
    if found is None:
        raise _no_key(directory)
    newest.unlock(found)


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
    there = _prepared(directory, database, payloads)
    if not is_repaired(copies) and not database.read_only:
        repair(directory, database, there)
    return Unlocked(directory, database, found, secrets, there)


def _prepared(
    directory: Path, database: Database, payloads: PayloadStore
) -> GuardedPayloads | None:
    """Have a keyring's copy beside the payloads, if they are elsewhere, before they are sealed."""
    if not isinstance(payloads, GuardedPayloads):
        return None
    payloads.prepare_by(lambda: keep_copy(directory, database, payloads))
    return payloads


def _write_all(
    directory: Path, connection: Connection, keyring: Keyring, there: PayloadStore | None
) -> None:
    text = encode_keyring(keyring)
    write_file(directory, text)
    if there is not None:
        write_there(there, text)
    write_row(connection, keyring)


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
                    "encrypted store by PipelineCheckpoint(…).encrypt_into(a new directory, key), "
                    "at the prompt `checkpointdb encrypt TARGET --new-key-file FILE`"
                )
            key = key or key_beside(directory) or make_key_beside(directory)
            keyring, secrets = new_keyring(key)
            there = _prepared(directory, database, payloads)
            _write_all(directory, connection, keyring, there)
            return Unlocked(directory, database, key, secrets, there)
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
    return MissingKeyError(
        f"the store {str(directory)!r} is encrypted and no key was given: pass encryption_key "
        "(--key-file), or set CHECKPOINTDB_KEY, CHECKPOINTDB_KEY_FILE or CHECKPOINTDB_KEY_COMMAND"
    )
