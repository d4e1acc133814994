"""The methods of a handle about the whole store: checked, swept, made anew."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from checkpointdb.callbacks import Progress, telling
from checkpointdb.store.validation import checked_age, checked_path, checked_scope, checked_share

if TYPE_CHECKING:
    from checkpointdb.keys import Key
    from checkpointdb.records import CloudBackupConfig
    from checkpointdb.reports import (
        CheckReport,
        CompactReport,
        DatabaseInfo,
        MergeReport,
        RebuildReport,
        RepairReport,
        SweepReport,
        UpgradeReport,
    )
    from checkpointdb.store.engine import Engine


class Upkeep:
    """What keeps a store healthy."""

    _engine: Engine
    checkpoint_dir: Path

    def check(
        self,
        *,
        read_data: bool = False,
        share: float = 1.0,
        seconds: float | None = None,
        grace: timedelta = timedelta(0),
        progress: Progress | None = None,
    ) -> CheckReport:
        """Compare rows and files of the whole store, both ways; with `read_data`, every byte.

        Or that `share` of the bytes, or as many as are read in so many `seconds`: those that were
        read longest ago, so that one such pass after another reads them all. While others save,
        their unfinished files are found too: those younger than `grace` are not reported. What is
        read and found damaged is out of service from then on, as after a load. `progress` is called
        with the numbers of payloads that are read and to be read.

        Raises InvalidInputError for a share or a time that makes no sense, or without `read_data`.
        """
        from checkpointdb.check import check

        scope = checked_scope(read_data, share, seconds)
        engine = self._engine
        engine.catch_up()
        return check(
            engine.database,
            engine.payloads,
            cipher=engine.cipher,
            read_data=scope,
            grace=checked_age(grace, "grace"),
            progress=progress,
        )

    @staticmethod
    def check_without_key(
        checkpoint_dir: str | os.PathLike[str],
        *,
        read_data: bool = False,
        share: float = 1.0,
        seconds: float | None = None,
        grace: timedelta = timedelta(0),
        payload_url: str | None = None,
        database_url: str | None = None,
        progress: Progress | None = None,
    ) -> CheckReport:
        """Check a store as `check` does, without the key that an encrypted one needs.

        Every stored byte is verified all the same. What is sealed, the manifests, and what is
        keyed, the digests of states, cannot be compared.

        Raises NotFoundError if there is no store, SchemaVersionError if its schema is an older one.
        """
        from checkpointdb.store.opening import check_directory

        directory, spared = checked_path(checkpoint_dir), checked_age(grace, "grace")
        scope = checked_scope(read_data, share, seconds)
        return check_directory(directory, scope, spared, progress, payload_url, database_url)

    def check_database(self) -> CheckReport:
        """Compare rows with rows, and let SQLite look at its file; payloads are not looked at."""
        from checkpointdb.check import check_rows

        return check_rows(self._engine.database, self._engine.cipher)

    def repair(
        self,
        *,
        read_data: bool = True,
        forget_damaged: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> RepairReport:
        """Take what is damaged in the whole store out of service, and recover what has copies.

        Every stored byte is read; without `read_data`, only payloads that are known to be damaged,
        missing or of another length. Those that are whole again are put back in service. Keys
        whose bytes lie in another payload too load again; the report names those that are lost.
        Their checkpoints stay, with the keys that are whole, unless `forget_damaged`: pinned ones
        stay even then. With `dry_run` the report says what would be done, and nothing is.

        Raises CorruptionError if the database itself is damaged: rebuild it;
        StoreUnavailableError if the store is read-only, or a payload cannot be read now.
        """
        from checkpointdb.repair import Wishes

        return self._engine.repair(Wishes(read_data, forget_damaged, dry_run), progress)

    def sweep(self) -> SweepReport:
        """Remove files of the whole store that a crash left and that are over a day old.

        Payloads that are newer than the rows stay, as somebody put back an older database: a
        rebuild has them. What cannot be removed is named in the log, and stays for the next sweep.
        Raises StoreUnavailableError if the store is read-only, or gone, or a directory of it may
        not be listed.
        """
        from checkpointdb.local_payloads import unavailable
        from checkpointdb.store.backing import ROOM
        from checkpointdb.store.parcel import remove_rooms
        from checkpointdb.sweep import sweep

        report = sweep(self._engine.database, self._engine.payloads)
        directory = self.checkpoint_dir
        try:
            removed = [*remove_rooms(directory), *remove_rooms(directory, ROOM)]
        except OSError as error:
            raise unavailable(error, directory, "listed") from error
        return replace(report, removed_files=(*report.removed_files, *removed))

    def compact(
        self,
        *,
        min_dead: float = 0.5,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> CompactReport:
        """Write payloads of the whole store again of which that share is dead, without what is.

        What is alive of several goes into one, checked on the way, while others save and load;
        nothing of a checkpoint changes. Payloads that are damaged are left as they are, and told;
        what is found so is out of service from then on, as after a load. With `dry_run` the report
        says what would be done, and nothing is. `progress` is called with the numbers of payloads
        that are done and that were to be rewritten.

        Raises InvalidInputError unless `min_dead` is over 0 and at most 1; StoreUnavailableError if
        the store is read-only, or a payload cannot be read now.
        """
        share = checked_share(min_dead, "min_dead")
        return self._engine.compact(share, progress, dry_run=dry_run)

    def merge(self, checkpoint_id: str) -> MergeReport:
        """Make a full of a checkpoint of this pipeline: one file that is enough to restore it.

        Its id, time, metadata, pin and place in the order of saving stay. What was saved upon it
        in its chain has the checkpoint before it for its base from then on, as if it had been
        forgotten. A full is left as it is, unless its payload is marked damaged: where that cannot
        describe the checkpoint any more, the new one does, as the rows say.

        Raises NotFoundError, CorruptionError if what it needs is not whole, StoreUnavailableError
        if that cannot be read now, StoreBusyError if others changed it again and again.
        """
        return self._engine.merge(self._engine.place_of(checkpoint_id))

    @staticmethod
    def rebuild(
        checkpoint_dir: str | os.PathLike[str],
        encryption_key: bytes | str | Key | None = None,
        *,
        payload_url: str | None = None,
        database_url: str | None = None,
        cloud_backup_config: CloudBackupConfig | None = None,
        progress: Progress | None = None,
    ) -> RebuildReport:
        """Make the database of a directory anew from its payloads; all that returns is pinned.

        Those at `payload_url` belong to this database then: another that kept its payloads there is
        refused within a minute. If they are encrypted, so is what is made, by the keyring that lies
        beside them. `database_url` is the server to make it on. `progress` is called with the
        numbers of payloads that are read and in all.

        Raises StoreUnavailableError if there is a database: move it away first, or if a payload
        cannot be read now; InvalidInputError if another store, whose database is beside them, keeps
        the payloads at `payload_url`; EncryptionError if there is a keyring that the key does not
        open.
        """
        from checkpointdb.store.rebuilding import rebuild_directory

        return telling(
            lambda told: rebuild_directory(
                checked_path(checkpoint_dir),
                encryption_key,
                told,
                payload_url,
                database_url,
                cloud_backup_config,
            ),
            progress,
        )

    @staticmethod
    def database_info(
        checkpoint_dir: str | os.PathLike[str], *, database_url: str | None = None
    ) -> DatabaseInfo:
        """Return what the database of a store is, of whatever version; nothing is changed.

        Raises NotFoundError if there is no store, StoreUnavailableError if it is another
        application's.
        """
        from checkpointdb.store.revising import database_info

        return database_info(checked_path(checkpoint_dir), database_url)

    @staticmethod
    def upgrade_database(
        checkpoint_dir: str | os.PathLike[str], *, database_url: str | None = None
    ) -> UpgradeReport:
        """Bring the database of a store up to date, after a backup of it beside it.

        On a server no backup is made, and this is the only thing that upgrades it: stop first what
        uses it.

        Raises NotFoundError if there is no store, SchemaVersionError if it is of a newer version.
        """
        from checkpointdb.store.revising import upgrade_database

        return upgrade_database(checked_path(checkpoint_dir), database_url)

    @staticmethod
    def upgrade_sql(
        checkpoint_dir: str | os.PathLike[str], *, database_url: str | None = None
    ) -> str:
        """Return the SQL that `upgrade_database` would run, to be run by `sqlite3`; nothing is.

        One transaction; empty if the database is up to date. No backup is made by it.

        Raises what `upgrade_database` does.
        """
        from checkpointdb.store.revising import upgrade_sql

        return upgrade_sql(checked_path(checkpoint_dir), database_url)
