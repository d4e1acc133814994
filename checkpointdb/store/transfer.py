"""The methods of a handle that move checkpoints: between stores, to a file, from a predecessor."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement

from checkpointdb.callbacks import Progress
from checkpointdb.errors import (
    EncryptionError,
    InvalidInputError,
    NotFoundError,
    WrongKeyError,
)
from checkpointdb.store.key_changes import KeyChanges
from checkpointdb.store.validation import checked_names, checked_path

if TYPE_CHECKING:
    from checkpointdb.keys import Key
    from checkpointdb.records import CloudBackupConfig
    from checkpointdb.reports import ImportReport
    from checkpointdb.store.arrivals import OnConflict
    from checkpointdb.store.copying import Open
    from checkpointdb.trusted_globals import TrustedGlobals


class Transfer(KeyChanges):
    """What brings checkpoints from one place to another; nothing of a store is unpickled for it."""

    pipeline: str
    _cloud_backup_config: CloudBackupConfig | None

    @abstractmethod
    def pipelines(self) -> list[str]: ...

    def copy_into(
        self,
        checkpoint_dir: str | os.PathLike[str],
        *,
        key: bytes | str | Key | None = None,
        encrypted: bool | None = None,
        where: ColumnElement[bool] | None = None,
        pipelines: Iterable[str] | None = None,
        payload_url: str | None = None,
        database_url: str | None = None,
        on_conflict: OnConflict = "refuse",
        progress: Progress | None = None,
    ) -> int:
        """Copy checkpoints into another store, which is made if it is new; return how many.

        All of them, of all pipelines, unless `pipelines` are named or `where` (as that of
        list_checkpoints) leaves some: with their ids, times, metadata and pins, as deltas of each
        other, every byte verified. This store is not changed. What the target has already is
        left out, so an interrupted copy goes on, and a second one brings what was saved since,
        also under an id that was replaced while it was to be copied.

        `on_conflict` says what becomes of an id that another checkpoint of the target has: "refuse"
        (the default) copies nothing, "skip", "replace", "rename" (to ID-copied).

        The target is to be encrypted if this store is, under the same key unless another is
        given; `encrypted` says otherwise. A target that is made keeps its payloads at
        `payload_url`, if one is given, and its rows on the server at `database_url`. `progress` is
        called with the numbers of checkpoints that are done and that were to be copied.

        Raises InvalidInputError for a conflict that is refused, and for a place within this
        store; NotFoundError for an unknown pipeline; EncryptionError if the target is in the clear
        and was to be encrypted, or the other way round; and what load and save raise.
        """
        from checkpointdb.store.arrivals import checked_rule
        from checkpointdb.store.copying import copy_store, opener

        checked_rule(on_conflict)
        directory = self._another(checkpoint_dir)
        is_encrypted = self._is_encrypted_for(key, encrypted)
        target = opener(
            directory,
            self._key_for(key, is_encrypted),
            is_encrypted=is_encrypted,
            busy_seconds=self._engine.database.busy_seconds,
            payload_url=payload_url,
            database_url=database_url,
            config=self._cloud_backup_config,
        )
        self._engine.catch_up()
        chosen = self._chosen(pipelines)
        return copy_store(chosen, self._opener(), target, where, progress, on_conflict)

    def encrypt_into(
        self,
        checkpoint_dir: str | os.PathLike[str],
        encryption_key: bytes | str | Key | None = None,
        *,
        payload_url: str | None = None,
        database_url: str | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Copy the whole store into an encrypted one, as `copy_into` does.

        The key is found as when a store is opened.

        Raises what `copy_into` raises.
        """
        return self.copy_into(
            checkpoint_dir,
            key=encryption_key,
            encrypted=True,
            payload_url=payload_url,
            database_url=database_url,
            progress=progress,
        )

    def export_checkpoint(
        self,
        checkpoint_id: str,
        file: str | os.PathLike[str],
        *,
        key: bytes | str | Key | None = None,
        encrypted: bool | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write a checkpoint into one file, which is enough to have it back anywhere.

        From a store in the clear it is a payload: a full one, as gzip. From an encrypted store it
        is a tar archive of an encrypted store that holds nothing else; the same key opens it,
        unless another is given. `encrypted` says otherwise. The file appears whole or not
        at all.

        Raises NotFoundError, InvalidInputError if the file exists and is not to be overwritten,
        EncryptionError if it is to be encrypted and there is no key, StoreUnavailableError if it
        cannot be written; and what load raises.
        """
        from checkpointdb.store.key_sources import given_key
        from checkpointdb.store.parcel import write_parcel

        is_encrypted = self._is_encrypted_for(key, encrypted)
        opens = given_key(self._key_for(key, is_encrypted)) if is_encrypted else None
        if key is not None and not is_encrypted:
            raise EncryptionError("a key encrypts nothing with encrypted=False, --plain: pass one")
        if is_encrypted and opens is None:
            raise EncryptionError("nothing was exported: give the key that shall open the file")
        self._engine.catch_up()
        with self._engine.database.read() as connection:
            self._engine.place_of(checkpoint_id)(connection)
        write_parcel(
            self._opener(), self.pipeline, checkpoint_id, Path(file), opens, overwrite=overwrite
        )

    def import_checkpoint(
        self,
        file: str | os.PathLike[str],
        *,
        key: bytes | str | Key | None = None,
        on_conflict: OnConflict = "refuse",
        allow_plain: bool = False,
    ) -> ImportReport:
        """Take the checkpoint of a file that `export_checkpoint` wrote, into this pipeline.

        Every byte is verified, nothing is unpickled; id, time and metadata are kept. The payload
        of a full checkpoint, out of a store in the clear, is such a file too. `key` opens the
        file; without it, this store's key does. `on_conflict` and `allow_plain` are those of
        `import_legacy`.

        Raises CorruptionError if the file is damaged or holds no whole checkpoint,
        InvalidInputError and EncryptionError as `import_legacy` does.
        """
        from checkpointdb.store.arrivals import checked_rule
        from checkpointdb.store.parcel import opened_parcel, take

        checked_rule(on_conflict)
        self._engine.catch_up()
        with opened_parcel(Path(file), self.checkpoint_dir, self._key_for(key, True)) as parcel:
            if parcel.key is not None:
                self._receive_encrypted(parcel.key, allow_plain=allow_plain)
            with self._opener()(self.pipeline) as theirs:
                return take(parcel, theirs, on_conflict)

    def import_legacy(
        self,
        directory: str | os.PathLike[str],
        *,
        key: bytes | str | Key | None = None,
        on_conflict: OnConflict = "refuse",
        time_zone: tzinfo | str | None = None,
        trusted_globals: Iterable[str] | None = None,
        allow_plain: bool = False,
        most_state_bytes: int = 1 << 30,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Save what a directory of the predecessor holds, into this pipeline.

        From the oldest to the newest, with ids, times and metadata, full ones as full ones.
        Retention is applied by the next save, not by this. Nothing in the directory is changed.
        What was imported before is recognised by id and time, so an interrupted import goes on.
        What cannot be read is in the report, with the reason; the rest is imported.

        `on_conflict` says what becomes of an id that is another checkpoint's: "refuse" (the
        default) imports nothing, "skip", "replace", "rename" (to ID-imported). `time_zone`, or
        its name, is that in which the predecessor wrote its times; None: this machine's.
        `trusted_globals` restricts what a pickle may name; None: as this handle does.
        `most_state_bytes` bounds a decompressed state.

        An encrypted directory is opened by `key`, by the `encryption.key` in it, or by this
        store's key. An empty store in the clear becomes encrypted by that key; one that holds
        checkpoints is refused, unless `allow_plain`.

        Raises InvalidInputError for a conflict, or if this is no such directory; CorruptionError
        if the index is damaged, WrongKeyError and EncryptionError for keys; and what save raises.
        """
        from checkpointdb.store.arrivals import checked_rule
        from checkpointdb.store.importing import import_directory, opened_directory

        checked_rule(on_conflict)
        own = None if self._unlocked is None else self._unlocked.key
        legacy = opened_directory(
            checked_path(directory, "the predecessor's directory").absolute(),
            key=key,
            own_key=own,
            time_zone=time_zone,
            trusted=self._trusted_by(trusted_globals),
            most_state_bytes=most_state_bytes,
        )
        self._engine.catch_up()
        if legacy.key is not None:
            self._receive_encrypted(legacy.key, allow_plain=allow_plain)
        with self._opener()(self.pipeline) as theirs:
            return import_directory(theirs, legacy, on_conflict, progress)

    def _trusted_by(self, patterns: Iterable[str] | None) -> TrustedGlobals | None:
        from checkpointdb.trusted_globals import TrustedGlobals

        return self._engine.trusted if patterns is None else TrustedGlobals(patterns)

    # --- keys

    def _opener(self) -> Open:
        """Return what opens this store again, to read, or to save without forgetting anything."""
        from checkpointdb.store.copying import opener

        own = None if self._unlocked is None else self._unlocked.key
        return opener(
            self.checkpoint_dir,
            own,
            is_encrypted=own is not None,
            busy_seconds=self._engine.database.busy_seconds,
            database_url=self._engine.database.server_url,
            config=self._cloud_backup_config,
        )

    def _is_encrypted_for(self, key: object | None, encrypted: bool | None) -> bool:
        """Say whether what leaves this store is to be encrypted: not silently in the clear."""
        if encrypted is None:
            return self._unlocked is not None or key is not None
        return encrypted

    def _key_for(self, key: bytes | str | Key | None, encrypted: bool) -> bytes | str | Key | None:
        if key is None and encrypted and self._unlocked is not None:
            return self._unlocked.key
        return key

    def _receive_encrypted(self, key: Key, *, allow_plain: bool) -> None:
        """See that what was encrypted arrives encrypted."""
        if self._unlocked is not None or allow_plain:
            return
        try:
            self._encrypt_empty(key)
        except WrongKeyError:  # another process has encrypted it meanwhile
            raise
        except EncryptionError as error:
            raise EncryptionError(
                f"what is to be imported is encrypted, and the store {str(self.checkpoint_dir)!r} "
                "holds checkpoints in the clear: nothing was imported. Import it into a new store, "
                "or, to have it in the clear, with allow_plain=True, --allow-plain"
            ) from error

    def _another(self, directory: str | os.PathLike[str]) -> Path:
        """Return a target. Raises InvalidInputError if it is this store, or lies in it."""
        path = checked_path(directory)
        if path.resolve().is_relative_to(self.checkpoint_dir.resolve()):
            raise InvalidInputError(
                f"{str(path)!r} is this store itself, or lies in it: name another directory"
            )
        return path

    def _chosen(self, pipelines: Iterable[str] | None) -> list[str]:
        chosen, every = checked_names(pipelines, "pipelines"), self.pipelines()
        if chosen is None:
            return every
        chosen = list(dict.fromkeys(chosen))
        for name in chosen:
            if name not in every:
                raise NotFoundError(f"there is no pipeline {name!r} in the store")
        return chosen
