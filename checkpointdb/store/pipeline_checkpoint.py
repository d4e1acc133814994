"""PipelineCheckpoint, the public face: a handle of one pipeline in a store."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import URL, ColumnElement, Connection, update

from checkpointdb import queries, schema
from checkpointdb.contexts import contextmanager
from checkpointdb.errors import CheckpointError, NotFoundError
from checkpointdb.gate import passing
from checkpointdb.records import (
    CheckpointIndex,
    CheckpointMetadata,
    CloudBackupConfig,
    RetentionPolicy,
)
from checkpointdb.schema import checkpoints
from checkpointdb.store import listing
from checkpointdb.store.cloud import CloudBackup, SyncSlot
from checkpointdb.store.inspecting import Inspecting
from checkpointdb.store.lazy import LazyState
from checkpointdb.store.preloading import import_all
from checkpointdb.store.pruning import Pruning
from checkpointdb.store.request import SaveSettings
from checkpointdb.store.running import Running
from checkpointdb.store.saves import Saves
from checkpointdb.store.transfer import Transfer
from checkpointdb.store.upkeep import Upkeep
from checkpointdb.store.validation import (
    checked_count,
    checked_id,
    checked_keys,
    checked_level,
    checked_page,
    checked_path,
    checked_seconds,
)

log = logging.getLogger("checkpointdb")

if TYPE_CHECKING:
    from checkpointdb.filters import Field
    from checkpointdb.format import CompressionLevel
    from checkpointdb.keys import Key
    from checkpointdb.retention import Policy
    from checkpointdb.store.engine import Engine
    from checkpointdb.store.state_versions import Upgrade


class PipelineCheckpoint(Saves, Running, Inspecting, Pruning, Upkeep, Transfer, CloudBackup):
    """A handle of one pipeline's checkpoints in the store at `checkpoint_dir`.

    Any number of threads may use a handle, and any number of processes and handles a store;
    after a fork a handle works in both. Each thread of a handle is a writer of its own: what it
    saves is compared with what it saved or wholly loaded last. Tasks of one event loop are one
    writer: to each its own line by `base=`, or a handle for each.

    `retention_policy`, of the enum or made of rules such as KeepNewest(10) | KeepDaily(7), is
    applied after each save, to this pipeline; pinned checkpoints are exempt.
    `durable=False` leaves out the flushes to the medium: a killed process still loses
    nothing, a power loss may take the last saves and undo the last forgetting, whose files are
    gone. At least every `full_every`-th save in a row is a full. `compression_level` is one of
    stored, fastest, fast, small, smallest; whatever it is, the files are gzip. `upgrade=False`
    refuses a store of an older schema instead of bringing it up to date. `serializer` makes bytes
    of what is saved: pickle5, json, or one by `register_serializer`. `trusted_globals` restricts
    what a pickle may name when it is loaded: full names, and patterns such as "myapp.models.*".
    `enable_encryption=None` opens a store that exists, encrypted or not, and never makes one.
    `payload_url`, such as "s3://bucket/prefix", is where a new store keeps its payloads: the
    database remembers it. A `cloud_backup_config` that names the same bucket says how to reach it.
    `state_version` is recorded with what is saved; a state of an older version is brought up to
    it when it is loaded, by `state_upgrades`: each takes the state of the version it stands under,
    and returns that of the next. What was saved without a version is of version 0.
    `database_url`, such as "postgresql://host/database?schema=runs", is the server that has the
    rows, for writers on many machines; without it they are in the directory.

    Raises InvalidInputError for arguments that make no sense, StoreUnavailableError if the
    directory can be neither made nor read, SchemaVersionError for a store of a newer version,
    EncryptionError if the store is encrypted and the key missing or wrong, or the other way round,
    NotFoundError if it has to exist and does not.
    """

    def __init__(
        self,
        checkpoint_dir: str | os.PathLike[str] = "./checkpoints",
        encryption_key: bytes | str | Key | None = None,
        enable_encryption: bool | None = False,
        enable_incremental: bool = True,
        retention_policy: RetentionPolicy | Policy | str = RetentionPolicy.KEEP_N_RECENT,
        retention_count: int = 10,
        retention_age_days: int = 30,
        cloud_backup_config: CloudBackupConfig | None = None,
        *,
        pipeline: str = "default",
        durable: bool = True,
        full_every: int = 200,
        compression_level: CompressionLevel = "fast",
        busy_seconds: float = 60.0,
        upgrade: bool = True,
        serializer: str = "pickle5",
        trusted_globals: Iterable[str] | None = None,
        payload_url: str | None = None,
        state_version: int | None = None,
        state_upgrades: Mapping[int, Upgrade] | None = None,
        database_url: str | URL | None = None,
    ) -> None:
        import_all()
        from checkpointdb.retention import policy_of
        from checkpointdb.serialize import find_serializer
        from checkpointdb.store.engine import Engine
        from checkpointdb.store.key_sources import key_for
        from checkpointdb.store.opening import closed_on_error, open_directory
        from checkpointdb.store.state_versions import checked_versions
        from checkpointdb.trusted_globals import TrustedGlobals

        key = key_for(encryption_key, enable_encryption)
        self._policy = policy_of(retention_policy, retention_count, retention_age_days)
        settings = SaveSettings(
            self._policy.forgettable,
            checked_count(full_every, "full_every"),
            checked_level(compression_level),
            is_incremental=bool(enable_incremental),
            serializer=find_serializer(serializer),
        )
        trusted = None if trusted_globals is None else TrustedGlobals(trusted_globals)
        versions = checked_versions(state_version, state_upgrades)
        self.pipeline = checked_id(pipeline, "the pipeline's name")
        busy_seconds = checked_seconds(busy_seconds, "busy_seconds")
        self.configure_cloud_backup(cloud_backup_config)
        with passing():  # it may import something yet, such as a server's driver
            opened = open_directory(
                checked_path(checkpoint_dir),
                durable=durable,
                busy_seconds=busy_seconds,
                upgrade=upgrade,
                is_encrypted=None if enable_encryption is None else bool(enable_encryption),
                key=key,
                payload_url=payload_url,
                database_url=database_url,
                config=cloud_backup_config,
            )
        self.checkpoint_dir = opened.directory
        self.payload_url = opened.claim.url if opened.claim else None
        self._unlocked = opened.unlocked
        with closed_on_error(opened.database):
            self._engine = Engine(
                opened.database,
                opened.payloads,
                opened.cipher,
                self.pipeline,
                settings,
                trusted,
                versions,
                opened.claim,
            )
        slot = SyncSlot()
        self._end = partial(_end, slot, self._engine)
        weakref.finalize(self, self._end)
        try:
            self._start_syncing(slot)
        except BaseException:
            self._end()
            raise

    def __repr__(self) -> str:
        return f"PipelineCheckpoint({str(self.checkpoint_dir)!r}, pipeline={self.pipeline!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a handle is neither pickled nor copied: give the directory, and open the store there"
        )

    def __enter__(self) -> PipelineCheckpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except CheckpointError as unheard:
            if error is None:
                raise
            error.add_note(f"and a save in the background had failed: {unheard!r}")

    def close(self) -> None:
        """Wait for saves in the background, then close the handle's connections and threads.

        What `save` has returned from needs no closing. The handle may be used again; it then opens
        what it needs. Raises the error of a save in the background that nobody has asked for; the
        handle is closed all the same.
        """
        self._engine.background.wait()
        self._engine.finish()
        self._end()  # each time: it may have been used since the last
        self._engine.background.raise_unheard()

    # --- loading

    def load(
        self,
        checkpoint_id: str,
        verify_hash: bool = True,
        *,
        keys: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        """Return the state of a checkpoint, or the values of `keys` alone, byte for byte.

        Every byte is checked before anything is unpickled; `verify_hash=False` leaves out the
        SHA-256 of stored bytes and the digest of the state (which `keys` leaves out too), never
        the digests of values.
        Arrays come back writable. An older state is upgraded, and for that read whole. The bytes of
        a StreamedValue are read, and checked, when they are asked for.

        Raises NotFoundError if there is no such checkpoint or key, CorruptionError if stored
        bytes are missing or changed, UntrustedGlobalError if a pickle names what is not trusted,
        UnknownSerializerError; StateVersionError if the state is newer than this code, or an
        upgrade is missing or fails; whatever unpickling a value raises passes through.
        """
        chosen = None if keys is None else checked_keys(keys)
        place = self._engine.place_of(checkpoint_id)
        return self._engine.load(place, chosen, verify_hash=verify_hash)[1]

    def load_latest(self) -> tuple[CheckpointMetadata, dict[str, Any]] | None:
        """Return the newest checkpoint's metadata and state; None if there is no checkpoint.

        Raises what `load` raises.
        """
        newest = self._engine.newest_place()
        found: list[CheckpointMetadata] = []

        def find(connection: Connection) -> Any:
            found.clear()
            place = newest(connection)
            found[:] = self._describe(connection, [place.id])
            return place

        try:
            _, state = self._engine.load(find, None, verify_hash=True)
        except NotFoundError:
            if found:  # there is one: whatever restores a value of it did not find something else
                raise
            return None
        return found[0], state

    def lazy(self, checkpoint_id: str) -> LazyState:
        """Return a checkpoint's state as a read-only mapping that reads a key when touched.

        An older state is read and upgraded here, whole. Raises NotFoundError, here and at each
        first touch, if the checkpoint is gone; what `load` raises.
        """
        engine = self._engine
        engine.catch_up()
        with engine.database.read() as connection:
            place = engine.place_of(checkpoint_id)(connection)
            found = connection.execute(queries.state_keys(), {"rows": queries.array([place.id])})
            keys = [key for _, key in found]
        find = engine.place_of_row(place.row, checkpoint_id)
        if engine.versions.is_older(place):
            state = engine.peek(find, None)[1]
            return LazyState(checkpoint_id, list(state), state.__getitem__)
        return LazyState(checkpoint_id, keys, lambda key: engine.peek(find, [key])[1][key])

    # --- asking

    def list_checkpoints(
        self,
        sort_by: str | Field | ColumnElement[Any] = "timestamp",
        reverse: bool = True,
        filter_fn: Callable[[CheckpointMetadata], bool] | None = None,
        *,
        where: ColumnElement[bool] | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[CheckpointMetadata]:
        """Return the metadata of checkpoints, newest first.

        `where` is answered by SQL: any combination of `meta("…")` comparisons, `has_key("…")`
        and columns of `checkpoints`. `sort_by` is "timestamp", "size", "id", "state_version", a
        column, or a `meta("…")`. `filter_fn` is called for each that `where` leaves.

        Raises InvalidInputError for a sort key, a limit or a filter_fn that make no sense.
        """
        checked_page(limit, offset, filter_fn)
        in_sql = filter_fn is None
        with self._engine.database.read() as connection:
            rows = listing.find_rows(
                connection,
                self.pipeline,
                where,
                sort_by,
                reverse,
                limit if in_sql else None,
                offset if in_sql else None,
            )
            found = self._describe(connection, rows)
        if filter_fn is None:
            return found
        start = offset or 0
        chosen = [each for each in found if filter_fn(each)]
        return chosen[start : None if limit is None else start + limit]

    def get_checkpoint_info(self, checkpoint_id: str) -> CheckpointMetadata | None:
        """Return the metadata of a checkpoint, None if there is none of this id."""
        try:
            find = self._engine.place_of(checkpoint_id)
            with self._engine.database.read() as connection:
                return self._describe(connection, [find(connection).id])[0]
        except NotFoundError:
            return None

    def get_statistics(self) -> dict[str, Any]:
        """Return counts and sizes of the pipeline's checkpoints (docs/reference/api.md)."""
        with self._engine.database.read() as connection:
            return listing.statistics(connection, self.pipeline)

    def index(self) -> CheckpointIndex:
        """Return the whole index in its exported form."""
        found = self.list_checkpoints(reverse=False)
        fulls = [each.checkpoint_id for each in found if not each.is_incremental]
        return CheckpointIndex(
            {each.checkpoint_id: each for each in found}, fulls[-1] if fulls else None
        )

    def pipelines(self) -> list[str]:
        """Return the names of all pipelines in the store."""
        with self._engine.database.read() as connection:
            return list(connection.scalars(queries.pipeline_names()))

    @property
    def tables(self) -> ModuleType:
        """The SQLAlchemy tables to ask with `query()`, such as `tables.checkpoints`."""
        return schema

    @contextmanager
    def query(self) -> Iterator[Connection]:
        """Open a read-only SQLAlchemy connection that sees one state of the whole store.

        Ask with `tables`, or in SQL; tables and views are described in docs/reference/schema.md.
        It is for one thread at a time: none may still read when it ends.
        """
        with self._engine.database.read_only_connection() as connection:
            yield connection

    # --- keeping and forgetting

    def delete_checkpoint(self, checkpoint_id: str, *, missing_ok: bool = True) -> None:
        """Forget a checkpoint; every other loads as before.

        An unknown id logs a warning, or raises NotFoundError if not `missing_ok`.
        """
        try:
            self._engine.forget(self._engine.place_of(checkpoint_id))
        except NotFoundError as error:
            if not missing_ok:
                raise
            log.warning("nothing was deleted: %s", error)

    def pin(self, checkpoint_id: str) -> None:
        """Exempt a checkpoint from retention. Raises NotFoundError if it does not exist."""
        self._set_pinned(checkpoint_id, True)

    def unpin(self, checkpoint_id: str) -> None:
        """Let retention have a checkpoint again. Raises NotFoundError if it does not exist."""
        self._set_pinned(checkpoint_id, False)

    def _set_pinned(self, checkpoint_id: str, pinned: bool) -> None:
        from checkpointdb.store.outcome import found_out

        find = self._engine.place_of(checkpoint_id)

        def act(connection: Connection) -> None:
            row = find(connection).id
            connection.execute(
                update(checkpoints).where(checkpoints.c.id == row).values(pinned=pinned)
            )

        self._engine.catch_up()
        # Done twice, it is as if done once.
        found_out(self._engine.writing, self._engine.database.busy_seconds, act, lambda *_: False)

    def _describe(self, connection: Connection, rows: list[int]) -> list[CheckpointMetadata]:
        return listing.describe_rows(connection, rows, self._engine.payloads.locate)


def _end(slot: SyncSlot, engine: Engine) -> None:
    """Push what is new, if that is done by itself, and close what a handle runs on."""
    slot.close()
    engine.end()
