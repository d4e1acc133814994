"""Saving: a state staged without a lock, then one short write transaction for its rows.

    stage     serialize, compare by digest, write and flush a file nobody sees    (no lock)
    commit    lock, check what it was compared with, insert rows, collect what
              retention forgets, give the file its name, commit                  (the lock)
    unlink    what the commit freed                                               (no lock)

The rename comes last before the commit, under the lock: a transaction that fails on a foreign
key leaves no file, and a crash between the two leaves an orphan, never a row without its file.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection

from checkpointdb import format, queries
from checkpointdb.contexts import contextmanager
from checkpointdb.database import Database
from checkpointdb.database_errors import KeyringChanged, LostRace, put_back
from checkpointdb.errors import (
    InvalidInputError,
    NotFoundError,
    StoreBusyError,
    UnknownOutcomeError,
)
from checkpointdb.forgetting import collect, remove_checkpoints
from checkpointdb.inventory import first_name, free_name
from checkpointdb.payloads import PayloadStore
from checkpointdb.rows import typed
from checkpointdb.sealing import Cipher, check_epoch
from checkpointdb.statements import Prepared
from checkpointdb.store.errand import Errand
from checkpointdb.store.finding import Place, find_place, find_row, time_of
from checkpointdb.store.head import Head, Origin, load_head
from checkpointdb.store.outcome import was_saved
from checkpointdb.store.packer import Packer
from checkpointdb.store.pool import Pool
from checkpointdb.store.request import SaveRequest, SaveSettings, Writer
from checkpointdb.store.saved import Placement, Saved, current_time, describe
from checkpointdb.store.staging import Staged
from checkpointdb.store.trash import Trash

_TRIES = 6


@dataclass(slots=True)
class Saver:
    """Saves into one pipeline."""

    database: Database
    payloads: PayloadStore
    cipher: Cipher
    pool: Pool
    pipeline_id: int
    pipeline: str
    settings: SaveSettings
    trash: Trash

    def save(self, writer: Writer, request: SaveRequest) -> None:
        """Save a checkpoint; when this returns it is acknowledged.

        A try that lost a race (what it relied on is gone) starts again; after some it is a full,
        which relies on nothing but the keyring: where that is changed again and again, it goes on
        as long as it may wait. Raises StoreBusyError if even that failed.
        """
        until = time.monotonic() + self.database.busy_seconds
        for attempt in itertools.count():
            is_last = attempt >= _TRIES - 1
            try:
                self._try(writer, request, is_last=is_last)
                return
            except LostRace as error:
                writer.head = None  # whatever happened, this writer's chain ends here
                may_wait = isinstance(error, KeyringChanged) and time.monotonic() < until
                if is_last and not may_wait:
                    raise self._busy(request, attempt + 1) from error
                self.cipher.renew()
                time.sleep(random.uniform(0, 0.01) * min(attempt, _TRIES))  # noqa: S311 - no secret
            except BaseException:
                writer.head = None
                raise

    def _busy(self, request: SaveRequest, tries: int) -> StoreBusyError:
        return StoreBusyError(
            f"checkpoint {request.checkpoint_id!r} was not saved: other writers changed what it "
            f"was compared with, {tries} times; try again (and if nobody else writes to "
            f"{self.database.where!r}, look at it with check())"
        )

    def _try(self, writer: Writer, request: SaveRequest, *, is_last: bool) -> None:
        must_be_full = request.force_full or is_last or not self.settings.is_incremental
        origin, head = self._base(writer, request.base, is_compared=not must_be_full)
        unnumbered = format.payload_name(self.pipeline, 0, request.checkpoint_id)
        level = self.settings.compression_level
        name = first_name(self.database, self.payloads, self.pipeline_id, unnumbered)
        packer = Packer(self.payloads, level, self.pool, self.cipher, name)
        try:
            saved = self._stage(writer, request, packer, origin, head)
            packer.finish(saved.manifest, aside=True)
            writer.head, freed = self._commit(saved, request, name)
        except BaseException:
            packer.discard()
            raise
        writer.base = writer.head.row
        if freed:
            self.pool.send(partial(self.trash.unlink, freed))

    def _stage(
        self,
        writer: Writer,
        request: SaveRequest,
        packer: Packer,
        origin: Origin | None,
        head: Head | None,
    ) -> Saved:
        items = request.state
        staged = Staged(
            self.database,
            self.pipeline_id,
            self.settings.serializer,
            self.cipher,
            self.pool,
            packer,
            head,
            head is None,
        )
        staged.stage(items)
        return describe(
            staged,
            writer.head,
            origin,
            list(items),
            self.pipeline,
            request.checkpoint_id,
            request.custom_metadata,
            request.created_at,
            request.state_version,
        )

    def _base(
        self, writer: Writer, base: str | None, *, is_compared: bool
    ) -> tuple[Origin | None, Head | None]:
        """Choose what to build on, `base`, what the writer had last, or the newest.

        And return its head, to be compared with; None if a full is asked for, or due.
        """
        own = writer.head
        if base is None and own is not None and own.row == writer.base:
            return own.origin, own if is_compared and self._may_follow(own) else None
        with self.database.read() as connection:
            place = self._place(connection, writer, base)
            if place is None:
                return None, None
            origin = Origin(place.row, *typed((place.uuid, place.depth), str, int))
            if not is_compared or not self._may_follow(place):
                return origin, None
            if own is not None and own.row == place.row:
                return origin, own
            return origin, load_head(connection, self.pipeline_id, place)

    def _may_follow(self, place: Any) -> bool:
        """Say whether an incremental may follow; after so many, a full is due."""
        return bool(place.since_full + 1 < self.settings.full_every)

    def _place(self, connection: Connection, writer: Writer, base: str | None) -> Place | None:
        pipeline = {"pipeline_id": self.pipeline_id}
        if base is not None:
            where = {**pipeline, "checkpoint_id": base}
            place = find_place(connection, queries.place_by_checkpoint_id, where)
            if place is None:
                raise NotFoundError(f"the base {base!r} is not in the store", checkpoint_id=base)
            return place
        if writer.base is not None:
            place = find_row(connection, writer.base)
            if place is not None:
                return place
        return find_place(connection, queries.newest_place, pipeline)

    # --- the transaction

    def _commit(self, saved: Saved, request: SaveRequest, begun_as: str) -> tuple[Head, list[str]]:
        try:
            with self.database.write(pipeline=self.pipeline_id, retried=True) as connection:
                name = free_name(connection, self.payloads, self.pipeline_id, begun_as)
                head, freed = self._insert(connection, saved, request, name)
        except UnknownOutcomeError as lost:
            if not was_saved(self.database, self.payloads, self.pipeline_id, name, lost):
                raise LostRace("the connection was lost before the commit") from lost
        return head, freed

    def _insert(
        self, connection: Connection, saved: Saved, request: SaveRequest, name: str
    ) -> tuple[Head, list[str]]:
        # A statement of its own: in PostgreSQL the one that waited for the lock would still see
        # what was there before it.
        where = {
            "pipeline_id": self.pipeline_id,
            "checkpoint_id": request.checkpoint_id,
            "base_id": saved.origin.row.id if saved.origin else None,
            "now": current_time(),
        }
        place = _Ground(*_PLACE.run(connection, where)[0])
        _check_origin(saved, place, connection)
        check_epoch(self.cipher, saved.staged.packer.epoch, place.keyring)
        _check_base(saved, place)
        if place.replaced_id is not None and not request.replaces:
            raise _exists(request)
        replaced = [] if place.replaced_id is None else [place.replaced_id]
        touched = remove_checkpoints(connection, replaced)
        under = Placement(
            self.pipeline_id,
            name,
            pinned=bool(place.was_pinned if request.pinned is None else request.pinned),
            damaged=place.damaged,
            has_origin=place.next_depth is not None and place.replaced_id != place.base_id,
        )
        head = saved.insert(connection, under, touched)
        with self._named(saved, name):
            # Not the time of this checkpoint: others that were begun later may be in already, and
            # would lie in the future.
            now = max(saved.checkpoint.created_at, current_time())
            forgotten = self._forgettable(connection, head, now, has_damage=place.damaged > 0)
            touched.update(remove_checkpoints(connection, forgotten))
            freed = collect(connection, touched)
            self.trash.clear_spent(connection)
        return head, [] if place.is_leased else freed

    @contextmanager
    def _named(self, saved: Saved, name: str) -> Iterator[None]:
        """Give the payload its name, which is flushed while the block runs."""
        packer = saved.staged.packer
        packer.settle()
        try:
            self.payloads.give_name(packer.writer, name)
            flush = partial(self.payloads.flush_name, name)
            flushing = self.pool.send(flush) if self.payloads.flushes_unnamed else Errand(flush)
            yield
            flushing.result()
        except BaseException:
            # Nothing was committed, and the lock is still held: no row will ever name it.
            self.payloads.delete_all([name])
            raise

    def _forgettable(
        self, connection: Connection, head: Head, now: datetime, *, has_damage: bool
    ) -> list[int]:
        query = self.settings.forgettable(self.pipeline_id, now, has_damage=has_damage)
        if query is None:
            return []
        return [row_id for (row_id,) in query.run(connection) if row_id != head.row.id]


_PLACE = Prepared(queries.place_of_save())


class _Ground(NamedTuple):
    """A row of it."""

    pipeline: str
    damaged: int
    replaced_id: int | None
    was_pinned: bool | None
    next_depth: int | None
    base_id: int | None
    base_created_at: Any
    keyring: int | None
    base_chain: int | None
    is_leased: bool


def _exists(request: SaveRequest) -> InvalidInputError:
    return InvalidInputError(
        f"checkpoint {request.checkpoint_id!r} was saved by another writer meanwhile: it was not "
        "replaced; call again"
    )


def _check_origin(saved: Saved, place: _Ground, connection: Connection) -> None:
    """Raise LostRace or StoreUnavailableError where a row's number is another's by now."""
    if place.pipeline != saved.checkpoint.pipeline:
        raise put_back(connection.engine.url.database)
    if saved.origin is None or place.base_created_at is None:
        return
    if time_of(place.base_created_at) != saved.origin.row.created_at:
        raise LostRace("the database was put back to an older state meanwhile")


def _check_base(saved: Saved, place: _Ground) -> None:
    """Raise LostRace unless what was compared with is as it was."""
    if saved.base is None:
        return
    if place.next_depth is None:
        raise LostRace("the checkpoint that was compared with is gone")
    if place.base_chain != saved.base.chain_id:  # its old values may be gone, its chain another's
        raise LostRace("the checkpoint that was compared with was merged meanwhile")
    if place.damaged != saved.base.damaged:
        raise LostRace("payloads were marked damaged meanwhile")
    if saved.appends and place.next_depth != saved.checkpoint.depth:
        raise LostRace("the chain has another writer")
