"""What a handle runs on: its threads' writers, its pool, loading with retries, forgetting."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from checkpointdb import queries
from checkpointdb.callbacks import Progress
from checkpointdb.database import Database
from checkpointdb.errors import (
    CheckpointError,
    CorruptionError,
    StoreUnavailableError,
)
from checkpointdb.gate import follow_fork
from checkpointdb.marks import note_damage
from checkpointdb.payloads import PayloadStore
from checkpointdb.sealing import Cipher
from checkpointdb.store.claims import Claim, expect_place
from checkpointdb.store.finding import Find, Finding
from checkpointdb.store.outcome import Forgotten, are_gone, found_out
from checkpointdb.store.pool import Pool
from checkpointdb.store.request import SaveRequest, SaveSettings, Writer
from checkpointdb.store.trash import Trash
from checkpointdb.trusted_globals import TrustedGlobals

if TYPE_CHECKING:
    from checkpointdb.repair import Wishes
    from checkpointdb.reports import (
        CompactReport,
        MergeReport,
        PruneReport,
        RepairReport,
        RetentionPlan,
    )
    from checkpointdb.serialize import Serialized
    from checkpointdb.store.background import Background, PendingSave
    from checkpointdb.store.carrying import Tools
    from checkpointdb.store.load_plan import Plan
    from checkpointdb.store.state_versions import StateVersions
    from checkpointdb.streamed import StreamedValue

log = logging.getLogger("checkpointdb")


class Engine(Finding):
    """One pipeline of one store, for one handle."""

    def __init__(
        self,
        database: Database,
        payloads: PayloadStore,
        cipher: Cipher,
        pipeline: str,
        settings: SaveSettings,
        trusted: TrustedGlobals | None,
        versions: StateVersions,
        claim: Claim | None = None,
    ) -> None:
        self.database = database
        self.payloads = payloads
        self.cipher = cipher
        super().__init__(pipeline)
        self._settings = settings
        self.trusted = trusted
        self.versions = versions
        self._claim = claim
        self._pipeline_id: int | None = None
        self._pid = os.getpid()
        self._start()
        if not database.read_only:
            self._trash.empty_leftovers()

    @property
    def background(self) -> Background:
        """The saves that nobody waits for."""
        self.follow_fork()
        return self._background

    def _start(self) -> None:
        """Begin without threads and writers: a forked child must not go on with its parent's."""
        from checkpointdb.store.background import Background

        self._lock = threading.RLock()
        self._local = threading.local()
        self._trash = Trash(self.payloads, self.database)
        self.pool = Pool()
        self._background = Background(self._save)

    def finish(self) -> None:
        """Wait until what saves freed is unlinked, and end the threads."""
        if self._pid == os.getpid():
            self.pool.close()

    def end(self) -> None:
        """Stop the threads and close the connections, also where the garbage collector came by."""
        if self._pid == os.getpid():
            self.pool.end()
        self.database.close()

    # --- saving

    def save(self, request: SaveRequest) -> None:
        """Save a checkpoint by this thread's writer."""
        self._begin_writing()
        self.background.raise_unheard(self._writer)
        self._save(self._writer, request)

    def save_later(self, request: SaveRequest, handle: object) -> PendingSave:
        """Save a checkpoint as it is now by this thread's writer, and return before that is done.

        The handle is kept open until then.
        """
        from checkpointdb.store.background import PendingSave
        from checkpointdb.store.capturing import capture, held_bytes
        from checkpointdb.store.saved import current_time

        self._check_writable()
        self.background.raise_unheard(self._writer)
        state = capture(request.state, self._settings.serializer)
        captured = request._replace(state=state, created_at=current_time())
        pending = PendingSave(self._writer, captured, held_bytes(state), handle)
        self.background.add(pending)
        return pending

    def _save(self, writer: Writer, request: SaveRequest) -> None:
        from checkpointdb.store.saving import Saver
        from checkpointdb.store.spool import repeatable

        saver = Saver(
            self.database,
            self.payloads,
            self.cipher,
            self.pool,
            self._make_pipeline(),
            self.pipeline,
            self._settings,
            self._trash,
        )
        with repeatable(self, request, writer) as repeated:
            saver.save(writer, repeated)

    @property
    def _writer(self) -> Writer:
        """What this thread knows of what it saved and loaded."""
        self.follow_fork()
        if not hasattr(self._local, "writer"):
            self._local.writer = Writer()
        writer: Writer = self._local.writer
        return writer

    def _begin_writing(self) -> None:
        """Begin what comes after all that this thread has saved before."""
        self._check_writable()
        self.catch_up()

    def catch_up(self) -> None:
        """Wait for what this thread has saved before and did not wait for."""
        self.background.wait(self._writer)

    def _check_writable(self) -> None:
        self.follow_fork()
        if self.database.read_only:
            raise StoreUnavailableError(
                f"the store {self.database.where!r} was opened read-only: its directory "
                "cannot be written"
            )

    def follow_fork(self) -> None:
        follow_fork(self, self._start)

    def _make_pipeline(self) -> int:
        with self._lock:
            if self._pipeline_id is None:
                self._pipeline_id = self._known_pipeline() or self._new_pipeline()
            return self._pipeline_id

    def _new_pipeline(self) -> int:
        from checkpointdb.recording import record_pipeline

        with self.database.write() as connection:
            expect_place(connection, self._claim)
            found: int | None = connection.scalar(queries.pipeline_id(self.pipeline))
            return found or record_pipeline(connection, self.pipeline)

    def _known_pipeline(self) -> int | None:
        with self.database.read() as connection:
            found: int | None = connection.scalar(queries.pipeline_id(self.pipeline))
            if found is not None:
                expect_place(connection, self._claim)
        return found

    def writing(self) -> AbstractContextManager[Connection]:
        """Open a write transaction on the rows of this pipeline, if there are any yet."""
        self._check_writable()
        with self._lock:
            if self._pipeline_id is None:
                self._pipeline_id = self._known_pipeline()
            return self.database.write(pipeline=self._pipeline_id)

    def record_failures(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert failures of stages, in their order."""
        from checkpointdb.recording import record_failure

        self._begin_writing()
        pipeline_id = self._make_pipeline()
        with self.database.write(pipeline=pipeline_id) as connection:
            for values in rows:
                record_failure(connection, pipeline_id, values)

    # --- loading

    def load(
        self, find: Find, keys: Collection[str] | None, *, verify_hash: bool
    ) -> tuple[Any, dict[str, Any]]:
        """Load a state, or some keys of it, and return its place and it."""
        place, state = self.peek(find, keys, verify_hash=verify_hash)
        if keys is None:
            self._writer.base = place.row
        return place, state

    def peek(
        self, find: Find, keys: Collection[str] | None, *, verify_hash: bool = True
    ) -> tuple[Any, dict[str, Any]]:
        """Load as `load` does; what this thread saves next is compared with what it was."""
        from checkpointdb.store.restoring import restore
        from checkpointdb.store.stored_stream import bound

        self.catch_up()
        place, plan, _ = self._read(find, keys, self.versions, verify_hash=verify_hash)
        state = restore(plan, self.trusted, partial(bound, self, place))
        return place, self.versions.upgraded(place, state, keys)

    def load_serialized(self, find: Find) -> dict[str, Serialized | StreamedValue]:
        """Load a state as it is stored; nothing is unpickled."""
        from checkpointdb.store.state_versions import StateVersions
        from checkpointdb.store.stored_stream import bound

        as_it_is = StateVersions()
        place, plan, types = self._read(find, None, as_it_is, verify_hash=True, with_types=True)
        state: dict[str, Any] = dict.fromkeys(plan.keys)
        state.update((row.key, bound(self, place, row)) for row in plan.streamed)
        return state | plan.serialized(types)

    def _read(
        self,
        find: Find,
        keys: Collection[str] | None,
        versions: StateVersions,
        *,
        verify_hash: bool,
        with_types: bool = False,
    ) -> tuple[Any, Plan, dict[str, str]]:
        """Find a place, and read and check what it needs.

        A payload that is gone is looked for in the rows again: if they say something else now
        (replaced, forgotten, compacted meanwhile), that is loaded.
        """
        from checkpointdb.store import load_plan, loading

        self.follow_fork()
        reading = load_plan.Reading(self.pipeline, self.cipher, verify_hash)
        before: Plan | None = None
        while True:
            with self.database.read() as connection:
                place = find(connection)
                needed = versions.keys_to_read(place, keys)
                plan = load_plan.plan_load(connection, place, needed, reading)
                types = load_plan.types_of(connection, place) if with_types else {}
            try:
                loading.read(plan, self.payloads, self.pool, reading)
            except loading.PayloadGoneError as error:
                if before is None or not plan.is_same_as(before):
                    before = plan
                    continue
                self.mark_damaged(error.name)
                raise CorruptionError(
                    f"checkpoint {plan.checkpoint_id!r} cannot be loaded: the payload "
                    f"{self.payloads.locate(error.name)!r} is gone; restore it from a backup",
                    checkpoint_id=plan.checkpoint_id,
                    payload=error.name,
                ) from error
            except CorruptionError as error:
                if error.payload is not None:
                    self.mark_damaged(error.payload)
                raise
            return place, plan, types

    def mark_damaged(self, name: str) -> None:
        """Note that a payload cannot be relied on: the next save stores again what was in it."""
        if not self.database.read_only:
            note_damage(self.writing, [name])

    # --- forgetting

    def forget(self, find: Find) -> None:
        """Forget a checkpoint and unlink what nothing else needs."""
        from checkpointdb.forgetting import collect, remove_checkpoints

        def act(connection: Connection) -> Forgotten:
            row: int = find(connection).id
            freed = collect(connection, remove_checkpoints(connection, [row]))
            self._trash.clear_spent(connection)
            return Forgotten([row], freed)

        self._begin_writing()
        self._forget(act)

    def prune(self, plan: RetentionPlan) -> PruneReport:
        """Forget what a plan says, as far as it still holds."""
        from checkpointdb.store.planning import execute

        self._begin_writing()
        report = self._forget(lambda connection: execute(connection, plan)).report
        self._tidy()
        assert report is not None
        return report

    def _forget(self, act: Callable[[Connection], Forgotten]) -> Forgotten:
        """Forget in one transaction, and unlink what nothing needs any more."""
        begin, seconds = self.writing, self.database.busy_seconds
        did, is_lost = found_out(begin, seconds, act, lambda found, did: are_gone(found, did.rows))
        if not is_lost:
            self._trash.empty(did.freed)
            return did
        # They may have been forgotten by another, after which some of what we freed lives on.
        self._trash.empty_leftovers()
        return did

    def repair(self, wishes: Wishes, progress: Progress | None) -> RepairReport:
        """Repair the whole store, or rehearse it."""
        from checkpointdb.repair import repair

        self.catch_up()
        if not wishes.dry_run:
            self._check_writable()
        return repair(
            self.database,
            self.payloads,
            wishes,
            discard=self._trash.empty,
            cipher=self.cipher,
            progress=progress,
        )

    # --- writing again

    def compact(
        self, min_dead: float, progress: Progress | None, *, dry_run: bool
    ) -> CompactReport:
        """Rewrite the payloads of the whole store that are mostly dead, or say which."""
        from checkpointdb.store.compacting import Compactor

        self.catch_up()
        if not dry_run:
            self._check_writable()
        with self._tools() as tools:
            compactor = Compactor(tools)
            return compactor.plan(min_dead) if dry_run else compactor.run(min_dead, progress)

    def merge(self, find: Find) -> MergeReport:
        """Make a full of a checkpoint."""
        from checkpointdb.store.merging import Merger

        self._begin_writing()
        with self._tools() as tools:
            return Merger(tools).merge(find)

    def _tools(self) -> AbstractContextManager[Tools]:
        from checkpointdb.store.carrying import flushing_tools

        tools = self.database, self.payloads, self.cipher, self.pool, self._trash
        return flushing_tools(*tools, self._settings.compression_level)

    def _tidy(self) -> None:
        """Do what a prune leaves to do, if it can be: what was asked for is done."""
        try:
            with self.writing() as connection:  # there may be no save to do it
                self._trash.clear_spent(connection)
        except CheckpointError as error:
            log.warning("that removed payloads are gone is not noted for now: %s", error)
        try:
            self.database.give_back_pages()
        except CheckpointError as error:
            log.warning("the database keeps its free pages for now: %s", error)
