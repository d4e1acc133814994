"""An incremental checkpoint becomes a full of its own, with a payload that is enough for it.

    read      its state, by its rows                                      (no lock)
    carry     all of its chunks into a file nobody sees, each checked     (no lock)
    move      lock, see that it stands where it stood, insert what a full has, give its row the new
              place, collect what its old place alone held, name the file, commit   (the lock)
    unlink    what that freed                                             (no lock)

The row keeps its id, and so its age, for retention counts by rows; the manifest keeps the
sequence, which is the age that a rebuild sees.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, update

from checkpointdb import format, queries, recording
from checkpointdb.batches import batches
from checkpointdb.database_errors import LostRace
from checkpointdb.digests import merged_chain
from checkpointdb.errors import CorruptionError, StoreBusyError
from checkpointdb.forgetting import Touched, collect
from checkpointdb.inventory import first_name, free_name
from checkpointdb.manifest import (
    Checkpoint,
    Entry,
    Manifest,
    Value,
    decode_manifest,
    encode_manifest,
)
from checkpointdb.reports import MergeReport
from checkpointdb.rows import typed
from checkpointdb.schema import checkpoints
from checkpointdb.sealing import check_epoch
from checkpointdb.store.carrying import (
    Cargo,
    Rewriter,
    Spot,
    cargo_of_chunk,
    cargo_of_value,
    carry,
    layout_of,
    manifest_of,
    members_of,
    typed_values,
)
from checkpointdb.store.loading import PayloadGoneError
from checkpointdb.store.packer import Packer

_TRIES = 6


class _State(NamedTuple):
    """A checkpoint that is to be merged: its row, its origin's, and those of its state."""

    place: Any
    origin: Any | None
    keys: list[Any]
    chunks: dict[int, list[Any]]  # of the values that do not carry their place
    members: list[Any]

    @property
    def values(self) -> dict[bytes, Any]:
        """Each value once: keys may share one, and there may be two rows of a digest."""
        found: dict[bytes, Any] = {}
        for row in self.keys:
            found.setdefault(row.digest, row)
        return found

    @property
    def cargo(self) -> list[Cargo]:
        return _cargo(self.values, self.chunks)


def _cargo(values: dict[bytes, Any], chunks: dict[int, list[Any]]) -> list[Cargo]:
    """Return what is to be stored: a chunk that several values have only once."""
    placed = [cargo_of_value(row) for row in values.values() if row.member_id is not None]
    shared: dict[bytes, Cargo] = {}
    for row in values.values():
        for chunk in chunks.get(row.id, ()):
            shared.setdefault(chunk.digest, cargo_of_chunk(chunk))
    return [*placed, *shared.values()]


class Merger(Rewriter):
    """Makes fulls of checkpoints."""

    def merge(self, find: Callable[[Connection], Any]) -> MergeReport:
        """Make a full of the checkpoint that `find` finds, unless it is one in a whole file.

        Raises what `find` raises, CorruptionError if what it needs is not whole, StoreBusyError if
        others changed it again and again.
        """
        gone: PayloadGoneError | None = None
        for _ in range(_TRIES):
            try:
                return self._try(find)
            except LostRace:
                gone = None
                self._cipher.renew()
            except PayloadGoneError as error:  # compacted or forgotten meanwhile: ask again
                gone = error
        if gone is not None:
            raise CorruptionError(
                f"the payload {self._payloads.locate(gone.name)!r}, which the checkpoint needs, is "
                "gone: restore it from a backup",
                payload=gone.name,
            ) from gone
        raise StoreBusyError(
            f"others changed the checkpoint again and again, or its rows in {self._where!r} "
            "contradict one another: try again, and run check"
        )

    @property
    def _where(self) -> str | None:
        return self._database.url.database

    def _try(self, find: Callable[[Connection], Any]) -> MergeReport:
        with self._database.read() as connection:
            row_id = find(connection).id
            place = connection.execute(queries.whole_place(), {"id": row_id}).one()
            if not place.is_incremental and not place.is_marked:
                return MergeReport(place.checkpoint_id, False)
            state = _read_state(connection, place)
        self._check(state)
        unnumbered = format.payload_name(place.pipeline, 0, place.checkpoint_id)
        begun_as = first_name(self._database, self._payloads, place.pipeline_id, unnumbered)
        packer = Packer(self._payloads, self._level, self._pool, self._cipher, begun_as)
        try:
            cargo = state.cargo
            numbers = carry(cargo, state.members, self._payloads, self._cipher, packer)
            values = tuple(_values(state, numbers))
            manifest = Manifest(packer.flush(), values, (self._described(state),))
            packer.finish(manifest)
            freed_bytes, freed = self._move(state, manifest, packer, begun_as)
        finally:
            packer.discard()
        self._trash.empty(freed)
        return MergeReport(place.checkpoint_id, True, packer.stored_bytes, freed_bytes)

    def _check(self, state: _State) -> None:
        place = state.place
        pairs = ((row.key, row.digest) for row in state.keys)
        digest = self._cipher.digests.state(
            place.pipeline, place.checkpoint_id, pairs, place.state_version
        )
        if digest != place.state_digest:
            raise CorruptionError(
                f"checkpoint {place.checkpoint_id!r} was not merged: its rows in {self._where!r} "
                "do not give the state that was saved; rebuild the database",
                checkpoint_id=place.checkpoint_id,
            )

    def _described(self, state: _State) -> Checkpoint:
        """Return what the new manifest says: what the old one said, in the new place.

        Where the payload is marked damaged, and its manifest with it, what the rows say.
        """
        place = state.place
        try:
            found = self._told(place)
        except (CorruptionError, PayloadGoneError):
            if not place.is_marked:
                raise
            found = self._as_rows_say(place)
        return found._replace(
            chain=merged_chain(place.uuid, place.depth),
            depth=0,
            is_incremental=False,
            since_full=0,
            forked_from=state.origin and (state.origin.uuid, state.origin.depth),
            entries=tuple(Entry(row.key, row.position, row.digest) for row in state.keys),
        )

    def _as_rows_say(self, place: Any) -> Checkpoint:
        """Describe a checkpoint whose manifest is lost.

        Read as a manifest is, since a rebuild must be able to. Raises CorruptionError if it cannot.
        """
        try:
            raw = encode_manifest(Manifest(checkpoints=(_described_by(place),)))
            return decode_manifest(raw).checkpoints[0]
        except CorruptionError as error:
            raise CorruptionError(
                f"checkpoint {place.checkpoint_id!r} was not merged: its payload is damaged, and "
                f"its rows in {self._where!r} do not describe it ({error}); restore a backup",
                checkpoint_id=place.checkpoint_id,
                payload=place.payload,
            ) from error

    def _told(self, place: Any) -> Checkpoint:
        """Return what a checkpoint's own payload says of it."""
        for each in manifest_of(self._payloads, place.payload, self._cipher).checkpoints:
            if (each.chain, each.depth) == (place.uuid, place.depth):
                return each
        raise CorruptionError(
            f"the payload {self._payloads.locate(place.payload)!r} does not describe checkpoint "
            f"{place.checkpoint_id!r}, which was saved with it: run check",
            checkpoint_id=place.checkpoint_id,
            payload=place.payload,
        )

    def _move(
        self, state: _State, manifest: Manifest, packer: Packer, begun_as: str
    ) -> tuple[int, list[str]]:
        """Give the checkpoint's row its new place; return the bytes and the files that it frees."""
        before = state.place
        size = queries.stored_bytes(before.pipeline)
        with self._database.write(pipeline=before.pipeline_id, retried=True) as connection:
            name = free_name(connection, self._payloads, before.pipeline_id, begun_as)
            check_epoch(self._cipher, packer.epoch, connection.scalar(queries.keyring_generation()))
            now = connection.execute(queries.whole_place(), {"id": before.id}).one_or_none()
            if now is None or (now.chain_id, now.depth) != (before.chain_id, before.depth):
                raise LostRace("the checkpoint was forgotten, replaced or merged meanwhile")
            had_bytes = connection.execute(size).one().stored_bytes
            _insert(connection, state, manifest, packer, name)
            touched = Touched(depths={now.chain_id: {now.depth}}, payloads={now.payload_id})
            freed = collect(connection, touched)
            has_bytes = connection.execute(size).one().stored_bytes - packer.stored_bytes
            freed_bytes = int(had_bytes - has_bytes)  # here, where no number is told as damage
            self._trash.clear_spent(connection)
            self._payloads.publish(packer.writer, name)
        return freed_bytes, freed


def _described_by(place: Any) -> Checkpoint:
    """Return what rows say of a checkpoint.

    Its sequence was in that manifest too if the payload had been written again. That of the file
    is then later than it was, which a rebuild may see in the order of saving.
    """
    return Checkpoint(
        pipeline=place.pipeline,
        checkpoint_id=place.checkpoint_id,
        chain=place.uuid,
        depth=0,
        created_at=place.created_at,
        is_incremental=False,
        since_full=0,
        forked_from=None,
        state_digest=place.state_digest,
        state_bytes=place.state_bytes,
        key_count=place.key_count,
        custom_metadata=place.custom_metadata,
        entries=(),
        sequence=format.sequence_of(place.payload),
        state_version=place.state_version,
    )


def _read_state(connection: Connection, place: Any) -> _State:
    where = {"chain_id": place.chain_id, "depth": place.depth}
    keys = typed_values(connection.execute(queries.whole_state(), where))
    typed((place.state_version,), (int, type(None)))
    told = (place.created_at, place.state_bytes, place.key_count, place.custom_metadata)
    typed(told, datetime, int, int, dict)
    chunks: dict[int, list[Any]] = {row.id: [] for row in keys if row.member_id is None}
    for batch in batches(sorted(chunks)):
        for chunk in connection.execute(queries.chunks_of_defined(batch)):
            chunks[chunk.value_id].append(chunk)
    origin = connection.execute(queries.origin_of(), where).one_or_none()
    state = _State(place, origin, keys, chunks, [])
    return state._replace(members=members_of(connection, state.cargo))


def _values(state: _State, numbers: dict[Spot, int]) -> list[Value]:
    """Return the values as the new payload defines them, all of their chunks its own."""
    by_digest = {each.digest: numbers[each.spot] for each in state.cargo if each.owner is None}
    found = []
    for row in state.values.values():
        refs: tuple[int | bytes, ...]
        if row.member_id is None:
            refs = tuple(by_digest[chunk.digest] for chunk in state.chunks[row.id])
        else:
            refs = (numbers[row.member_id, row.offset],)
        layout = layout_of(row.layout)
        found.append(Value(row.digest, row.type_name, row.serializer, layout, refs))
    return found


def _insert(
    connection: Connection, state: _State, manifest: Manifest, packer: Packer, name: str
) -> None:
    """Insert what a full has, and give it to the checkpoint's row."""
    place, [checkpoint] = state.place, manifest.checkpoints
    rows = recording.record_payload(
        connection,
        place.pipeline_id,
        name,
        packer.sha256,
        packer.stored_bytes,
        checkpoint.created_at,
        manifest.members,
        packer.epoch,
    )
    value_ids = recording.record_values(
        connection, place.pipeline_id, rows, manifest.values, _no_chunk_elsewhere
    )
    ids = {value.digest: row for value, row in zip(manifest.values, value_ids, strict=True)}
    chain_id = recording.record_chain(
        connection, place.pipeline_id, checkpoint.chain, _origin_now(connection, state), 1
    )
    opened = [each for each in checkpoint.entries if each.value is not None]
    value_ids = [ids[each.value] for each in opened if each.value is not None]
    recording.record_entries(connection, chain_id, 0, rows.payload_id, opened, value_ids)
    full = {
        "chain_id": chain_id,
        "depth": 0,
        "payload_id": rows.payload_id,
        "is_incremental": False,
        "since_full": 0,
        "stored_bytes": packer.stored_bytes,
    }
    connection.execute(update(checkpoints).where(checkpoints.c.id == place.id).values(full))


def _no_chunk_elsewhere(digest: bytes) -> int:
    raise AssertionError(f"a full names chunk {digest.hex()} of another payload")


def _origin_now(connection: Connection, state: _State) -> int | None:
    """Return the row of what the checkpoint was saved upon, if that is as the manifest says."""
    where = {"chain_id": state.place.chain_id, "depth": state.place.depth}
    now = connection.execute(queries.origin_of(), where).one_or_none()
    return now.id if now is not None and now == state.origin else None
