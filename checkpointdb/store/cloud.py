"""The methods of a handle about backups: in a directory elsewhere, or in a bucket."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from checkpointdb.callbacks import Progress, telling
from checkpointdb.errors import InvalidInputError
from checkpointdb.records import CloudBackupConfig, CloudBackupProvider
from checkpointdb.store.validation import checked_names, checked_path

if TYPE_CHECKING:
    from checkpointdb.backup.remote import Remote
    from checkpointdb.keys import Key
    from checkpointdb.reports import (
        BackupPruneReport,
        BackupReport,
        BackupSnapshot,
        PullReport,
        PushReport,
    )
    from checkpointdb.retention import Policy
    from checkpointdb.store.encryption import Unlocked
    from checkpointdb.store.engine import Engine
    from checkpointdb.store.syncing import Syncing

log = logging.getLogger("checkpointdb")

Place: TypeAlias = str | os.PathLike[str] | CloudBackupConfig


class SyncSlot:
    """The thread that backs a handle's store up by itself, if there is one.

    What closes a handle when it is garbage, or the interpreter exits, must not hold the handle.
    """

    def __init__(self) -> None:
        self.syncing: Syncing | None = None

    def close(self) -> None:
        """Push what is new and end the thread."""
        syncing, self.syncing = self.syncing, None
        if syncing is not None:
            syncing.close()


class CloudBackup:
    """What copies a store to a remote and brings it back."""

    _engine: Engine
    _unlocked: Unlocked | None
    checkpoint_dir: Path
    pipeline: str
    payload_url: str | None
    _cloud_backup_config: CloudBackupConfig | None = None
    _sync_slot: SyncSlot | None = None

    def configure_cloud_backup(self, config: CloudBackupConfig | None) -> None:
        """Say where backups go, and whether by themselves; None: nowhere.

        With `auto_sync` a thread pushes every `sync_interval_seconds` if something is new, and once
        more when the handle closes or the interpreter exits, and keeps of the snapshots there what
        `keep_snapshots` says. A push that fails is tried again,
        sooner at first and then more seldom; the log and `get_statistics()` tell of it, and no
        save notices. Raises InvalidInputError if `config` is none, or names no place.
        """
        if config is not None and not isinstance(config, CloudBackupConfig):
            raise InvalidInputError(f"a CloudBackupConfig is expected, not {type(config).__name__}")
        if config is not None and _is_meant(config):
            from checkpointdb.backup.remote import remote_at
            from checkpointdb.store.validation import checked_interval

            remote_at(config)
            checked_interval(config.sync_interval_seconds, "sync_interval_seconds")
            if config.keep_snapshots is not None:
                from checkpointdb.backup.retaining import checked_policy

                checked_policy(config.keep_snapshots)
        self._cloud_backup_config = config
        if self._sync_slot is not None:  # else the handle is being made, and does it at the end
            self._start_syncing(self._sync_slot)

    def _start_syncing(self, slot: SyncSlot) -> None:
        """Begin to back up by itself if the configuration says so, and end what did so before."""
        self._sync_slot = slot
        if slot.syncing is not None:
            slot.syncing.stop()
            slot.syncing = None
        config = self._cloud_backup_config
        if config is None or not config.auto_sync or not _is_meant(config):
            return
        from checkpointdb.backup.retaining import KEPT_BY_DEFAULT
        from checkpointdb.store.backing import prune_remote, push_store, refuse_own_place
        from checkpointdb.store.syncing import Syncing

        remote, engine, directory = self._remote(None), self._engine, self.checkpoint_dir
        keep = KEPT_BY_DEFAULT if config.keep_snapshots is None else config.keep_snapshots
        refuse_own_place(remote, directory, self.payload_url)
        if engine.database.read_only:
            log.warning("the store was opened read-only: it is not backed up by itself")
            return
        slot.syncing = Syncing(
            engine.database,
            remote,
            lambda: push_store(engine, directory, remote),
            lambda only_snapshots: prune_remote(
                engine.database, directory, remote, keep, only_snapshots=only_snapshots
            ),
            config.sync_interval_seconds,
        )

    # --- to a remote

    def push_backup(
        self,
        remote: Place | None = None,
        *,
        takes_over: bool = False,
        read_remote: bool = False,
        progress: Progress | None = None,
    ) -> PushReport:
        """Back up the whole store, all its pipelines, to where `configure_cloud_backup` says.

        Or to `remote`: a URL, a directory, or a configuration. Payloads that it lacks are copied,
        then a copy of the database that names them. Others may save and forget meanwhile; what
        is interrupted leaves the remote as it was, and the next push goes on. With `read_remote`
        what lies there is read, and replaced where it is damaged. `takes_over` begins anew where
        the backup is gone, or is that of another store. `progress` is called with the bytes
        that are done and that there are.

        Raises InvalidInputError if another store pushes there, it is a place within the store, or
        the store lies among its files; StoreBusyError if another process is at it,
        StoreUnavailableError if the remote or the store cannot be used.
        """
        from checkpointdb.store.backing import push_store, refuse_own_place

        found = self._remote(remote)
        refuse_own_place(found, self.checkpoint_dir, self.payload_url)
        self._engine.catch_up()
        return telling(
            lambda told: push_store(
                self._engine,
                self.checkpoint_dir,
                found,
                takes_over=takes_over,
                read_remote=read_remote,
                progress=told,
            ),
            progress,
        )

    def sync_to_cloud(self, checkpoint_ids: list[str] | None = None) -> None:
        """Back up as `push_backup` does; all that the named checkpoints need is there then.

        Always the whole store: what the remote has is not copied again, and a copy of the
        database without the payloads that it names could not be relied on. What could not be
        read is named in the log. Without a configured backup nothing is copied, and the log says
        so.

        Raises NotFoundError for an unknown id; and what `push_backup` raises.
        """
        self._engine.catch_up()
        for each in checkpoint_ids or ():
            with self._engine.database.read() as connection:
                self._engine.place_of(each)(connection)
        if not _is_meant(self._cloud_backup_config):
            log.warning("no backup is configured: nothing was copied")
            return
        for name, why in self.push_backup().unreadable:
            log.warning("payload %s is damaged and was not backed up: %s", name, why)

    # --- from a remote

    def list_cloud_checkpoints(self, *, snapshot: str | None = None) -> list[str]:
        """Return the ids of this pipeline in the latest snapshot, or the named one, oldest first.

        Raises NotFoundError if there is no backup, CorruptionError if the snapshot is damaged.
        """
        from checkpointdb.store.remote_states import ids_in

        return ids_in(self._remote(None), snapshot, self.pipeline)

    def restore_from_cloud(
        self, checkpoint_id: str, *, snapshot: str | None = None
    ) -> dict[str, Any]:
        """Return the state of a checkpoint as the remote has it; this store is not changed.

        Whether this store has it too makes no difference. What it needs is fetched into a
        temporary directory, which stays as long as a stream of it, and verified and upgraded as
        any load does.

        Raises NotFoundError if the snapshot does not have it, and what `load` raises.
        """
        from checkpointdb.store.remote_states import state_in
        from checkpointdb.store.validation import checked_id

        checked_id(checkpoint_id)
        return state_in(
            self._remote(None),
            snapshot,
            (self.pipeline, checkpoint_id),
            self._unlocked.key if self._unlocked else None,
            self._engine.trusted,
            self._engine.versions,
        )

    def prune_backup(
        self, keep: Policy, *, remote: Place | None = None, dry_run: bool = False
    ) -> BackupPruneReport:
        """Delete the snapshots at a remote that `keep` does not keep, and what only they named.

        `keep` is made of rules about times, such as KeepNewest(7) | KeepWeekly(8), each snapshot
        counting as a checkpoint does. The latest is always kept. Payloads that no snapshot names
        any more go once they are a day old. Every snapshot that stays is read for that. With
        `dry_run` the report says what would be done, and nothing is.

        Raises InvalidInputError for another policy, or if the backup is another store's;
        CorruptionError if a snapshot that stays is damaged: then nothing is deleted.
        """
        from checkpointdb.store.backing import prune_remote

        place, database = self._remote(remote), self._engine.database
        return prune_remote(database, self.checkpoint_dir, place, keep, dry_run=dry_run)

    @staticmethod
    def list_backups(remote: Place) -> list[BackupSnapshot]:
        """Return the snapshots at a remote, oldest first.

        Raises NotFoundError if there is no backup, StoreUnavailableError if it cannot be asked.
        """
        from checkpointdb.backup.remote import remote_at
        from checkpointdb.backup.snapshots import list_snapshots

        return list_snapshots(remote_at(remote))

    @staticmethod
    def verify_backup(
        remote: Place,
        *,
        snapshot: str | None = None,
        read_data: bool = False,
        progress: Progress | None = None,
    ) -> BackupReport:
        """Compare what a remote holds with its latest snapshot, or the named one.

        Each payload must be there with the right length; with `read_data` every byte is read
        and compared. For this no key is needed.

        Raises NotFoundError if there is no backup, CorruptionError if the snapshot is damaged.
        """
        from checkpointdb.backup.remote import remote_at
        from checkpointdb.store.backing import verify_remote

        found = remote_at(remote)
        return verify_remote(found, snapshot=snapshot, read_data=read_data, progress=progress)

    @staticmethod
    def pull_backup(
        remote: Place,
        checkpoint_dir: str | os.PathLike[str],
        encryption_key: bytes | str | Key | None = None,
        *,
        pipelines: Iterable[str] | None = None,
        checkpoint_ids: Iterable[str] | None = None,
        snapshot: str | None = None,
        rebuild: bool = False,
        skip_damaged: bool = False,
        database_url: str | None = None,
        progress: Progress | None = None,
    ) -> PullReport:
        """Bring a backup back into a new directory, which appears when all of it is there.

        All of it, or some `pipelines`, or some `checkpoint_ids` with the payloads that these
        need. Every byte is verified. An interrupted pull goes on where it stopped. The remote
        is only read. With `skip_damaged` checkpoints that need what is missing or damaged there
        are left out, and named; without it nothing comes back then. The rows go to a new database
        on a server, if `database_url` names one, as it must then whenever the store is opened.
        With `rebuild` the snapshots are left aside, and the database is made anew from the
        payloads: what comes back is pinned; an encrypted store's needs its key, which nothing else
        here does.

        Raises InvalidInputError if the directory exists and is not empty, or the database on the
        server is not, NotFoundError if there is no backup or it has not what is named,
        CorruptionError if what is needed is damaged, StoreUnavailableError if the remote, the
        directory or the server cannot be used.
        """
        from checkpointdb.backup.pulling import Wanted
        from checkpointdb.backup.remote import remote_at
        from checkpointdb.store.backing import pull_store, rebuild_from

        directory = checked_path(checkpoint_dir).absolute()
        wanted = Wanted(
            checked_names(pipelines, "pipelines"), checked_names(checkpoint_ids, "checkpoint_ids")
        )
        if not rebuild:
            return telling(
                lambda told: pull_store(
                    remote_at(remote),
                    directory,
                    wanted,
                    snapshot=snapshot,
                    skips_damaged=skip_damaged,
                    database_url=database_url,
                    progress=told,
                ),
                progress,
            )
        if not wanted.is_all or snapshot is not None:
            raise InvalidInputError("rebuild brings back all that there is: name nothing else")
        if database_url is not None:
            raise InvalidInputError(
                "rebuild makes a database in the directory: copy the store to a server afterwards, "
                "by copy_into(directory, database_url=…), at the prompt `checkpointdb copy`"
            )
        return telling(
            lambda told: rebuild_from(remote_at(remote), directory, encryption_key, told), progress
        )

    def _remote(self, place: Place | None) -> Remote:
        from checkpointdb.backup.remote import remote_at

        if place is not None:
            return remote_at(place)
        if not _is_meant(self._cloud_backup_config):
            raise InvalidInputError(
                "no backup is configured: pass cloud_backup_config=CloudBackupConfig(True, "
                "url='file:///DIRECTORY'), or say where"
            )
        assert self._cloud_backup_config is not None
        return remote_at(self._cloud_backup_config)


def _is_meant(config: CloudBackupConfig | None) -> bool:
    """Say whether a configuration is of a backup: one that is local only, and where is not said."""
    if config is None or not config.enabled:
        return False
    return config.provider is not CloudBackupProvider.LOCAL_ONLY or config.url is not None
