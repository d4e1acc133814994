"""Payloads that are mostly dead written again without what is dead, several into one.

    read      what is alive in them, by their rows                        (no lock)
    carry     its chunks into a file nobody sees, each checked            (no lock)
    move      lock, see that the same is alive, let its rows name the new payload, delete the old
              members and payloads, give the file its name, commit        (the lock)
    unlink    the old files                                               (no lock)

The rename comes last, as in a save: killed at any moment, it leaves at worst an orphan. Chunks and
values keep their ids, so that what writers know of them holds.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection

from checkpointdb import queries, recording
from checkpointdb.batches import batches
from checkpointdb.callbacks import Progress
from checkpointdb.database_errors import LostRace
from checkpointdb.errors import CorruptionError
from checkpointdb.forgetting import Touched, collect
from checkpointdb.inventory import first_name, free_name
from checkpointdb.manifest import Checkpoint, Manifest, Value
from checkpointdb.marks import note_damage
from checkpointdb.repointing import Moved, Places, repoint
from checkpointdb.reports import CompactReport
from checkpointdb.rows import typed
from checkpointdb.sealing import check_epoch
from checkpointdb.store.carrying import (
    Cargo,
    Rewriter,
    Spot,
    Tools,
    cargo_of_chunk,
    cargo_of_value,
    carry,
    layout_of,
    manifest_of,
    members_of,
    spots_of,
    typed_values,
)
from checkpointdb.store.loading import PayloadGoneError
from checkpointdb.store.packer import Packer

log = logging.getLogger("checkpointdb")


_TRIES = 5
# What one new payload takes: its rows are changed under the writers' lock.
_GROUP_PAYLOADS = 100
_GROUP_BYTES = 64 << 20
_GROUP_NAMES = 50_000


_Place = tuple[int, str, int]  # a payload, and the chain and depth of a checkpoint in it


class _Alive(NamedTuple):
    """What is alive in payloads, as their rows say it: equal if it is the same."""

    payload_ids: list[int]
    chunks: list[Any]
    values: list[Any]
    refs: list[Any]  # the chunks of those values that do not carry their place
    entries: list[Any]
    checkpoints: list[Any]

    @property
    def cargo(self) -> list[Cargo]:
        placed = (row for row in self.values if row.member_id is not None)
        return [*map(cargo_of_chunk, self.chunks), *map(cargo_of_value, placed)]

    @property
    def names(self) -> set[Any]:
        """What a manifest may have once: digests of values, and places of checkpoints."""
        places = {(row.uuid, row.from_depth) for row in self.entries}
        places |= {(row.uuid, row.depth) for row in self.checkpoints}
        return places | {row.digest for row in self.values}


def _alive_in(connection: Connection, rows: Sequence[Any]) -> _Alive:
    ids = [row.id for row in rows]
    values = typed_values(connection.execute(queries.values_defined(ids)))
    spread = [row.id for row in values if row.member_id is None]
    return _Alive(
        ids,
        list(connection.execute(queries.chunks_stored(ids))),
        values,
        [
            row
            for batch in batches(sorted(spread))
            for row in connection.execute(queries.chunks_of_defined(batch))
        ],
        list(connection.execute(queries.entries_opened(ids))),
        list(connection.execute(queries.checkpoints_saved(ids))),
    )


class Compactor(Rewriter):
    """One pass over the payloads of a store that are mostly dead."""

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools)
        self._rewritten: list[str] = []
        self._written = 0
        self._freed_bytes = 0
        self._left: list[tuple[str, str]] = []
        self._not_smaller: list[str] = []

    def plan(self, min_dead: float) -> CompactReport:
        """Say which payloads would be rewritten, and about how many bytes that frees."""
        rows = self._chosen(min_dead)
        for row in rows:
            dead_bytes = row.raw_bytes - int(row.alive_bytes)
            self._freed_bytes += row.stored_bytes * dead_bytes // row.raw_bytes
        self._rewritten = [row.name for row in rows]
        return self._report(is_dry_run=True)

    def run(self, min_dead: float, progress: Progress | None) -> CompactReport:
        """Rewrite them, while others save and load."""
        rows = self._chosen(min_dead)
        done = 0
        for group in self._groups(rows):
            self._rewrite(group)
            done += len(group)
            if progress is not None:
                progress(done, len(rows))
        return self._report(is_dry_run=False)

    def _report(self, *, is_dry_run: bool) -> CompactReport:
        return CompactReport(
            is_dry_run,
            tuple(self._rewritten),
            self._written,
            self._freed_bytes,
            tuple(self._left),
            tuple(self._not_smaller),
        )

    # --- choosing

    def _chosen(self, min_dead: float) -> list[Any]:
        with self._database.read() as connection:
            found = connection.execute(queries.mostly_dead(min_dead))
            kinds = (int, int, str, int, int, (int, Decimal), int)  # the sum of a server is Decimal
            rows = [typed(row, *kinds) for row in found]
        self._left += [(row.name, "it is marked as damaged") for row in rows if row.is_damaged]
        return [row for row in rows if not row.is_damaged]

    def _groups(self, rows: Iterable[Any]) -> Iterator[list[Any]]:
        """Gather payloads, in their order, that may share a manifest, up to some size."""
        group: list[Any] = []
        names: set[Any] = set()
        raw_bytes = 0
        for row in rows:
            with self._database.read() as connection:
                more = _alive_in(connection, [row]).names
            is_full = (
                len(group) == _GROUP_PAYLOADS
                or raw_bytes + row.alive_bytes > _GROUP_BYTES
                or len(names) + len(more) > _GROUP_NAMES
            )
            if group and (is_full or names & more or row.pipeline_id != group[0].pipeline_id):
                yield group
                group, names, raw_bytes = [], set(), 0
            group.append(row)
            names |= more
            raw_bytes += row.alive_bytes
        if group:
            yield group

    # --- one group

    def _rewrite(self, group: list[Any]) -> None:
        """Rewrite payloads into one; one that is damaged is left, and the others go on."""
        names = {row.id: row.name for row in group}
        tries = 0
        while names and tries < _TRIES:
            try:
                self._try(names)
                return
            except LostRace:  # somebody changed what is alive, or where
                tries += 1
                self._cipher.renew()
            except PayloadGoneError as error:
                tries += 1
                if error.name in self._names(names):  # nobody removed it or wrote it again
                    self._mark(group, names, error.name)
                    self._leave(names, error.name, "its file is missing: run repair")
            except CorruptionError as error:
                self._mark(group, names, error.payload)
                self._leave(names, error.payload, str(error))
        reason = "it was changed again and again meanwhile"
        self._left += [(name, reason) for name in names.values()]

    def _mark(self, group: list[Any], names: dict[int, str], name: str | None) -> None:
        """Take a payload out of service, as a load does that finds it damaged."""
        write = partial(self._database.write, pipeline=group[0].pipeline_id)
        note_damage(write, [each for each in names.values() if each == name])

    def _leave(self, names: dict[int, str], name: str | None, reason: str) -> None:
        """Take a payload out of a group; all of it, if none of it is to blame."""
        for each in [each for each in names if names[each] == name] or list(names):
            self._left.append((names.pop(each), reason))

    def _names(self, payload_ids: Iterable[int]) -> set[str]:
        with self._database.read() as connection:
            rows = connection.execute(queries.payloads_by_id(list(payload_ids)))
            return {row.name for row in rows}

    def _try(self, names: dict[int, str]) -> None:
        with self._database.read() as connection:
            found = connection.execute(queries.payloads_by_id(list(names)))
            rows = [typed(row, int, int, str, int, datetime) for row in found]
            alive = _alive_in(connection, rows)
            cargo = alive.cargo
            members = members_of(connection, cargo)
        if not rows:
            return
        names.update((row.id, row.name) for row in rows)  # a re-encryption gives others
        # Under the name of the newest: that is what a sealed file's key is derived from.
        begun_as = first_name(self._database, self._payloads, rows[-1].pipeline_id, rows[-1].name)
        packer = Packer(self._payloads, self._level, self._pool, self._cipher, begun_as)
        try:
            numbers = carry(cargo, members, self._payloads, self._cipher, packer)
            kept = self._checkpoints(rows, alive)
            packer.finish(Manifest(packer.flush(), _values(alive, numbers), kept))
            if packer.stored_bytes < sum(row.stored_bytes for row in rows):
                self._move(rows, alive, numbers, packer, begun_as)
            else:
                self._not_smaller += [row.name for row in rows]
        finally:
            packer.discard()

    def _checkpoints(self, rows: Sequence[Any], alive: _Alive) -> tuple[Checkpoint, ...]:
        """Return what the payloads say of checkpoints, with the entries that are alive.

        Of checkpoints that were forgotten too: entries are told with them. Raises CorruptionError
        if a manifest lacks what the rows say.
        """
        opened: dict[_Place, set[str]] = defaultdict(set)
        for row in alive.checkpoints:
            opened[tuple(row)] = set()
        for payload_id, chain, depth, key in alive.entries:
            opened[payload_id, chain, depth].add(key)
        kept: list[Checkpoint] = []
        for row in rows:
            found = manifest_of(self._payloads, row.name, self._cipher).checkpoints
            for each in found:
                keys = opened.pop((row.id, each.chain, each.depth), None)
                if keys is not None:
                    kept.append(_trimmed(each, keys))
                    missing = keys - {entry.key for entry in kept[-1].entries}
                    opened.update({(row.id, each.chain, each.depth): missing} if missing else {})
            if any(place[0] == row.id for place in opened):
                raise CorruptionError(
                    "its manifest lacks what its rows say: run check", payload=row.name
                )
        # Without one, nothing would say of which pipeline the payload is.
        return tuple(kept) or (_trimmed(found[-1], set()),)

    def _move(
        self,
        rows: Sequence[Any],
        alive: _Alive,
        numbers: dict[Spot, int],
        packer: Packer,
        begun_as: str,
    ) -> None:
        with self._database.write(pipeline=rows[-1].pipeline_id, retried=True) as connection:
            name = free_name(connection, self._payloads, rows[-1].pipeline_id, begun_as)
            check_epoch(self._cipher, packer.epoch, connection.scalar(queries.keyring_generation()))
            now = list(connection.execute(queries.payloads_by_id(alive.payload_ids)))
            if _alive_in(connection, now) != alive:
                raise LostRace("what is alive in the payloads changed meanwhile")
            freed = _repointed(connection, now, alive, numbers, packer, name)
            self._trash.clear_spent(connection)
            self._payloads.publish(packer.writer, name)
        self._trash.empty(freed)
        self._rewritten += [row.name for row in now]
        self._written += 1
        self._freed_bytes += sum(row.stored_bytes for row in now) - packer.stored_bytes


def _repointed(
    connection: Connection,
    rows: Sequence[Any],
    alive: _Alive,
    numbers: dict[Spot, int],
    packer: Packer,
    name: str,
) -> list[str]:
    """Let the rows name a new payload, delete the old ones, and return the files to unlink."""
    made = recording.record_payload(
        connection,
        rows[-1].pipeline_id,
        name,
        packer.sha256,
        packer.stored_bytes,
        max(row.created_at for row in rows),
        [member._replace(chunks=()) for member in packer.members],  # chunks have rows already
        packer.epoch,
    )
    spots = spots_of(packer.members, made.member_ids)
    placed = [row for row in alive.values if row.member_id is not None]

    def moved(these: Sequence[Any]) -> Places:
        return {row.id: spots[numbers[row.member_id, row.offset]] for row in these}

    target = Moved(made.payload_id, packer.stored_bytes, moved(alive.chunks), moved(placed))
    repoint(connection, alive.payload_ids, target)
    members = {each.spot[0] for each in alive.cargo}
    return collect(connection, Touched(members=members, payloads=set(alive.payload_ids)))


def _trimmed(each: Checkpoint, keys: set[str]) -> Checkpoint:
    """Return a checkpoint with these of its entries; of some alone no state is restored."""
    entries = tuple(entry for entry in each.entries if entry.key in keys)
    if len(entries) == len(each.entries):
        return each
    return each._replace(entries=entries, is_incremental=True, since_full=max(each.since_full, 1))


def _values(alive: _Alive, numbers: dict[Spot, int]) -> tuple[Value, ...]:
    """Return the values as the new manifest defines them: chunks by number where it has them."""
    refs: dict[int, list[int | bytes]] = {row.id: [] for row in alive.values}
    for ref in alive.refs:
        number = numbers.get((ref.member_id, ref.offset))
        refs[ref.value_id].append(ref.digest if number is None else number)
    for row in alive.values:
        if row.member_id is not None:
            refs[row.id] = [numbers[row.member_id, row.offset]]
    return tuple(
        Value(row.digest, row.type_name, row.serializer, layout_of(row.layout), tuple(refs[row.id]))
        for row in alive.values
    )
