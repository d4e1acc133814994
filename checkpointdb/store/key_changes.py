"""The methods of a handle about keys: those that open an encrypted store."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from checkpointdb.callbacks import Progress
from checkpointdb.errors import EncryptionError, InvalidInputError, WrongKeyError

if TYPE_CHECKING:
    from checkpointdb.keys import Key
    from checkpointdb.records import CloudBackupConfig
    from checkpointdb.store.encryption import Unlocked
    from checkpointdb.store.engine import Engine


class KeyChanges:
    """The methods of a handle about keys."""

    _engine: Engine
    _cloud_backup_config: CloudBackupConfig | None
    _unlocked: Unlocked | None = None
    checkpoint_dir: Path

    def add_key(self, key: bytes | str | Key) -> str:
        """Let another key open the store too, and return its id; at once, whatever it holds.

        Raises EncryptionError if the store is not encrypted, or a key of this id opens it
        already; WrongKeyError if this handle's own key was removed meanwhile.
        """
        from checkpointdb.keys import as_key

        new = as_key(key)
        self._opened().add(lambda keyring, secrets: keyring.with_key(new, secrets))
        return new.key_id

    def remove_key(self, key: bytes | str | Key) -> None:
        """Let a key, given itself or by its id, no longer open the store; never the last.

        Who had the key may have kept the master key: what they could read, they still can, and
        what is saved from now on too (docs/explanation/threat-model.md).

        Raises WrongKeyError if it opens nothing, EncryptionError if it is the last.
        """
        opened, key_id = self._opened(), self._id_of(key)
        opened.remove(lambda keyring, secrets: keyring.without_key(key_id, secrets))

    def rotate_key(
        self,
        new: bytes | str | Key,
        *,
        reencrypt: bool = False,
        keep: Collection[bytes | str | Key] = (),
        progress: Progress | None = None,
    ) -> str:
        """Let a new key open the store instead of the one this handle was opened with.

        Returns its id. At once, and no payload is written anew: who has the old key and an old
        keyring may still read all of it. With `reencrypt` there is a new master key too, by which
        every payload is sealed anew, one by one, while others save and load, by the old key too; at
        the end that key and the old master key are gone. Keys that open the store and are to stay
        must be given in `keep`. What was interrupted
        goes on when it is called again. `progress` is called with the numbers of payloads that are
        done and that there are to do.

        Raises what add_key raises; with `reencrypt` EncryptionError if other keys open the store
        and are not in `keep`, or if files without a row need the old master key, WrongKeyError if a
        key in `keep` is another than the one of its id, CorruptionError if payloads are
        damaged, StoreUnavailableError if they could not be read or written now, StoreBusyError if a
        push holds old files back until it ends: then both master keys stay; InvalidInputError for
        the other two without it.
        """
        from checkpointdb.keys import as_key

        opened, key = self._opened(), as_key(new)
        if not reencrypt and (keep or progress is not None):
            raise InvalidInputError(
                "keep and progress are for reencrypt=True: without it the other keys stay, and it "
                "is done at once"
            )
        if isinstance(keep, (bytes, str)):
            raise InvalidInputError("keep must be a list of keys: write keep=[…]")
        if reencrypt:
            from checkpointdb.store.resealing import reencrypt_store

            staying = [key, *map(as_key, keep)]
            config = self._cloud_backup_config
            reencrypt_store(opened, staying, self._engine.cipher, config, progress)
            return key.key_id
        old = opened.key
        opened.add(lambda keyring, secrets: keyring.with_key(key, secrets))
        opened.key = key
        opened.remove(lambda keyring, secrets: keyring.without_key(old.key_id, secrets))
        return key.key_id

    def key_ids(self) -> list[str]:
        """Return the ids of the keys that open the store."""
        from checkpointdb.store.keyring_copies import read_copies

        opened = self._opened()
        with opened.database.read() as connection:
            keyring = read_copies(opened.directory, connection).newest
        return sorted(keyring.keys) if keyring else []

    def _id_of(self, key: bytes | str | Key) -> str:
        """Return the id of a key that is given itself, or by its id."""
        from checkpointdb.keys import as_key

        if isinstance(key, str) and (":" in key or key in self.key_ids()):
            return key
        try:
            return as_key(key).key_id
        except EncryptionError:
            if not isinstance(key, str):
                raise
            # Neither `from` it, nor the text shown: it may be a good key, cut off.
            raise WrongKeyError(
                "no key of that id opens the store, and it is no Fernet key: give one of what "
                "key_ids() returns, or the key itself"
            ) from None

    def _encrypt_empty(self, key: Key) -> None:
        """Encrypt the store of this handle, which goes on with it.

        Raises EncryptionError if the store holds checkpoints in the clear.
        """
        from checkpointdb.sealing import Sealed
        from checkpointdb.store.encryption import unlock

        engine = self._engine
        self._unlocked = unlock(
            self.checkpoint_dir, engine.database, engine.payloads, key, is_wanted=True
        )
        assert self._unlocked is not None
        engine.cipher = Sealed(self._unlocked.secrets, self._unlocked.renewed)

    def _opened(self) -> Unlocked:
        if self._unlocked is None:
            raise EncryptionError("the store is not encrypted: it has no keys")
        return self._unlocked
