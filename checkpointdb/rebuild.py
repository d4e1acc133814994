"""Making the database anew from the payload files, which describe themselves.

What comes back is decided in `salvage`; here files are read, and rows written as a save would
have. Nothing is ever deleted: files that nothing alive needs stay, for a sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, update

from checkpointdb import format, recording
from checkpointdb.callbacks import Progress
from checkpointdb.damage import only_damage
from checkpointdb.database import Database
from checkpointdb.database_errors import LostRace
from checkpointdb.digests import merged_chain
from checkpointdb.errors import CorruptionError, InvalidInputError, StoreUnavailableError
from checkpointdb.forgetting import Touched, collect
from checkpointdb.inventory import directory_of
from checkpointdb.manifests import hash_payload, part_of, read_manifest
from checkpointdb.payloads import PayloadFile, PayloadStore
from checkpointdb.recording import ChunkPlace, PayloadRows
from checkpointdb.reports import RebuildReport
from checkpointdb.row_copies import filled_table
from checkpointdb.salvage import Opening, Salvaged, Source, salvage
from checkpointdb.schema import chains, keyring
from checkpointdb.schema import place as place_table
from checkpointdb.sealing import PLAIN, Cipher


def rebuild(
    database: Database,
    payloads: PayloadStore,
    *,
    cipher: Cipher = PLAIN,
    progress: Progress | None = None,
    before_commit: Callable[[], None] | None = None,
) -> RebuildReport:
    """Fill an empty, prepared database from the payload files, in one transaction.

    Every byte is read and verified; what is damaged is skipped and reported. All that comes
    back is pinned, since pins are not in the files. `before_commit` is called once all rows are
    in. Raises InvalidInputError if the database
    is not empty, CorruptionError if payloads contradict one another, StoreUnavailableError if one
    cannot be read now: a sweep would take for an orphan what is left out.
    """
    files = list(payloads.files())
    log = _Log(len(files), progress)
    try:
        with database.write(retried=True) as connection:
            _check_empty(connection)
            for directory, group in groupby(files, key=lambda file: directory_of(file.name)):
                _rebuild_pipeline(connection, payloads, cipher, directory, list(group), log)
            if before_commit is not None:
                before_commit()
    except LostRace as error:
        raise CorruptionError(f"the payloads contradict one another: {error}") from error
    return RebuildReport(tuple(log.checkpoints), tuple(log.left_out), tuple(log.unreadable))


@dataclass(slots=True)
class _Log:
    """The report in the making."""

    total: int
    progress: Progress | None
    done: int = 0
    checkpoints: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    chains: dict[str, str] = field(default_factory=dict)  # each chain, and a payload of it

    def claim(self, source: Source) -> None:
        """Raise CorruptionError if a payload's chain is that of another pipeline."""
        for each in source.manifest.checkpoints:
            other = self.chains.setdefault(each.chain, source.name)
            if directory_of(other) != directory_of(source.name):
                raise CorruptionError(
                    f"the payloads {other!r} and {source.name!r} contradict one another: both "
                    "claim one chain for their pipeline. Move away the one that is forged",
                    payload=source.name,
                )

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _check_empty(connection: Connection) -> None:
    found = filled_table(connection, [keyring, place_table])  # which opening it brought
    if found is not None:
        raise InvalidInputError(
            f"the database is not empty (it has {found}): rebuild into a new one"
        )


def _rebuild_pipeline(
    connection: Connection,
    payloads: PayloadStore,
    cipher: Cipher,
    directory: str,
    files: list[PayloadFile],
    log: _Log,
) -> None:
    sources = _read_sources(payloads, cipher, directory, files, log)
    if not sources:
        return
    for source in sources:
        log.claim(source)
    pipeline = sources[0].manifest.checkpoints[0].pipeline
    last = max(sequence for file in files if (sequence := _sequence(file.name)) is not None)
    pipeline_id = recording.record_pipeline(connection, pipeline, last + 1)
    found = salvage(sources, cipher.digests)
    _Rows(connection, pipeline_id, sources, found).insert()
    log.checkpoints += [item.checkpoint.checkpoint_id for item in found.checkpoints]
    log.left_out += found.left_out


# --- reading


def _sequence(name: str) -> int | None:
    try:
        return format.sequence_of(name)
    except CorruptionError:
        return None


def _read_sources(
    payloads: PayloadStore,
    cipher: Cipher,
    directory: str,
    files: Iterable[PayloadFile],
    log: _Log,
) -> list[Source]:
    """Read the payloads of a directory, from oldest to newest."""
    sources = []
    for file in files:
        try:
            with only_damage(payloads, file.name):
                source = _read_source(payloads, cipher, file.name)
            _check_pipeline(source, directory)
        except StoreUnavailableError:
            raise  # no damage: what is left out now would seem to be lost, and be swept
        except (CorruptionError, OSError) as error:
            log.unreadable.append((file.name, str(error)))
        else:
            sources.append(source)
            if source.damaged:
                offsets = [str(source.manifest.members[n].offset) for n in sorted(source.damaged)]
                reason = f"members are not what its manifest names, at {', '.join(offsets)}"
                log.unreadable.append((file.name, reason))
        log.step()
    return sorted(sources, key=_age)


def _age(source: Source) -> tuple[int, datetime, str]:
    """What orders payloads; a save that died may have left its sequence to the next."""
    return source.sequence, _created_at(source), source.name


def _created_at(source: Source) -> datetime:
    return max(each.created_at for each in source.manifest.checkpoints)


def _read_source(payloads: PayloadStore, cipher: Cipher, name: str) -> Source:
    sequence = format.sequence_of(name)
    reader = payloads.open(name)
    try:
        manifest = read_manifest(reader, name, cipher)
        epoch = cipher.open(name, reader).epoch
        parts = [part_of(each.offset, each.stored_bytes) for each in manifest.members]
        hashes = hash_payload(reader, parts)
        damaged = frozenset(
            number
            for number, (part, member) in enumerate(zip(parts, manifest.members, strict=True))
            if hashes.parts.get(part) != member.sha256
        )
        return Source(name, sequence, hashes.whole, reader.stored_bytes, manifest, damaged, epoch)
    finally:
        reader.close()


def _check_pipeline(source: Source, directory: str) -> None:
    """Refuse a payload that describes nothing, or whose directory is another pipeline's."""
    named = {each.pipeline for each in source.manifest.checkpoints}
    if not named:
        raise CorruptionError("the manifest describes no checkpoint", payload=source.name)
    expected = {directory_of(format.payload_name(each, 0, "")) for each in named}
    if len(named) > 1 or expected != {directory}:
        raise CorruptionError(
            f"it is a payload of pipeline {min(named)!r}, whose directory is {min(expected)!r}",
            payload=source.name,
        )


# --- writing


@dataclass(slots=True)
class _Rows:
    """The rows of one pipeline, written in the order in which saves would have."""

    connection: Connection
    pipeline_id: int
    sources: list[Source]
    found: Salvaged
    payloads: dict[int, PayloadRows] = field(default_factory=dict)
    values: dict[tuple[int, bytes], int] = field(default_factory=dict)
    chains: dict[str, int] = field(default_factory=dict)
    places: dict[tuple[str, int], int] = field(default_factory=dict)

    def insert(self) -> None:
        needed = self.found.sources()
        for number in needed:
            self.payloads[number] = self._insert_payload(number)
        for number in needed:
            self._insert_values(number)
        self._insert_checkpoints()
        self._insert_openings()
        self._insert_origins()
        self._collect_chunks()

    def _insert_payload(self, number: int) -> PayloadRows:
        source = self.sources[number]
        every = source.manifest.members
        kept = sorted(self.found.members.get(number, ()))
        rows = recording.record_payload(
            self.connection,
            self.pipeline_id,
            source.name,
            source.sha256,
            source.stored_bytes,
            _created_at(source),
            [every[each] for each in kept],
            source.key_epoch,
            sum(member.raw_bytes for member in every),
        )
        # Chunks are numbered through all members; nothing asks for those of members left out.
        found = iter(rows.places)
        nowhere = ChunkPlace(0, 0, None)
        places = [
            next(found) if each in kept else nowhere
            for each, member in enumerate(every)
            for _ in member.chunks
        ]
        return PayloadRows(rows.payload_id, rows.member_ids, places)

    def _insert_values(self, number: int) -> None:
        values = self.found.values.get(number, {})
        ids = recording.record_values(
            self.connection,
            self.pipeline_id,
            self.payloads[number],
            list(values.values()),
            self._chunk_id,
        )
        self.values.update(zip(((number, digest) for digest in values), ids, strict=True))

    def _chunk_id(self, digest: bytes) -> int:
        source, chunk = self.found.chunks[digest]
        chunk_id = self.payloads[source].places[chunk].chunk_id
        assert chunk_id is not None
        return chunk_id

    def _insert_checkpoints(self) -> None:
        """Insert checkpoints from oldest to newest: the newest is the one with the last row."""
        for item in self.found.checkpoints:
            each = item.checkpoint
            if each.chain not in self.chains:
                self.chains[each.chain] = recording.record_chain(
                    self.connection,
                    self.pipeline_id,
                    each.chain,
                    None,
                    self.found.next_depths[each.chain],
                )
            self.places[each.chain, each.depth] = recording.record_checkpoint(
                self.connection,
                self.pipeline_id,
                self.chains[each.chain],
                self.payloads[item.source].payload_id,
                self.sources[item.source].stored_bytes,
                each,
                is_encrypted=self.sources[item.source].key_epoch is not None,
                pinned=True,
            )

    def _insert_openings(self) -> None:
        def place(opening: Opening) -> tuple[str, int, int]:
            return opening.chain, opening.depth, opening.source

        for (chain, depth, source), group in groupby(self.found.openings, key=place):
            openings = list(group)
            recording.record_entries(
                self.connection,
                self.chains[chain],
                depth,
                self.payloads[source].payload_id,
                [opening.entry for opening in openings],
                map(self._value_id, openings),
            )

    def _value_id(self, opening: Opening) -> int | None:
        if opening.defined_in is None or opening.entry.value is None:
            return None
        return self.values[opening.defined_in, opening.entry.value]

    def _insert_origins(self) -> None:
        """Note what chains were forked from, where that checkpoint is back."""
        for source in self.sources:
            for each in source.manifest.checkpoints:
                origin = self._origin(each.forked_from)
                if origin is not None and each.chain in self.chains:
                    self.connection.execute(
                        update(chains)
                        .where(chains.c.id == self.chains[each.chain])
                        .values(forked_from=origin)
                    )

    def _origin(self, place: tuple[str, int] | None) -> int | None:
        """Return the checkpoint at a place, or the one that stood there until it was merged."""
        if place is None:
            return None
        return self.places.get(place, self.places.get((merged_chain(*place), 0)))

    def _collect_chunks(self) -> None:
        """Delete the rows of chunks that lie in a member beside others that are needed."""
        inserted = {
            place.chunk_id
            for rows in self.payloads.values()
            for place in rows.places
            if place.chunk_id is not None
        }
        collect(self.connection, Touched(chunks=inserted))
