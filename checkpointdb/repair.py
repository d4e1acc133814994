"""Repairing a store after damage to its files: what is whole stays, what has a copy comes back.

    mark      damaged payloads are taken out of service, so that no save relies on them from then
              on; those that are whole again are put back
    replace   what lies in lost members is replaced by copies elsewhere, each read before
    report    what is lost, by checkpoint and key; it stays, for a file may come back from a backup

Nothing is deleted but what nothing alive needs then. Rows are repaired by a rebuild, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import Connection

from checkpointdb import queries
from checkpointdb.batches import batches
from checkpointdb.callbacks import Progress
from checkpointdb.check import check_rows
from checkpointdb.copies import Proof, Replacing, plan_copies, replace
from checkpointdb.damage import Damage, examine, suspects
from checkpointdb.database import Database
from checkpointdb.database_errors import LostRace
from checkpointdb.errors import CorruptionError
from checkpointdb.forgetting import collect, remove_checkpoints
from checkpointdb.inventory import named_files, orphans, payload_rows, under_lock
from checkpointdb.marks import mark, unmark
from checkpointdb.payloads import PayloadStore
from checkpointdb.reports import DamagedCheckpoint, Problem, RepairReport
from checkpointdb.sealing import PLAIN, Cipher


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a repair shall do."""

    read_data: bool = True
    forget_damaged: bool = False
    dry_run: bool = False


def repair(
    database: Database,
    payloads: PayloadStore,
    wishes: Wishes,
    *,
    discard: Callable[[list[str]], object],
    cipher: Cipher = PLAIN,
    progress: Progress | None = None,
) -> RepairReport:
    """Take what is damaged out of service, and recover what has copies elsewhere.

    `discard` unlinks payloads whose removal is committed. Raises CorruptionError if the database
    itself is damaged, StoreUnavailableError if a payload cannot be read now.
    """
    problems = _row_problems(database, cipher)
    work = _Repair(database, payloads, cipher, wishes, discard)
    work.problems += problems
    work.orphans = _orphans(database, payloads)
    work.look(progress)
    plan = work.recover()
    return work.rehearse(plan) if wishes.dry_run else work.finish(plan)


def _row_problems(database: Database, cipher: Cipher) -> tuple[Problem, ...]:
    """Return what is wrong with the rows. Raises CorruptionError if it is the database."""
    problems = check_rows(database, cipher).problems
    broken = next((each for each in problems if each.kind == "database"), None)
    if broken is not None:
        raise CorruptionError(
            f"the database {database.where!r} itself is damaged ({broken.subject}: "
            f"{broken.detail}), and a repair goes by its rows; nothing was changed. Restore a "
            "backup of it, or move it away and run rebuild, which makes it anew from the payloads"
        )
    return problems


class _RehearsedError(Exception):
    """A rehearsal is over, and is rolled back. Internal."""


@dataclass(slots=True)
class _Repair:
    """One repair, and what it found so far."""

    database: Database
    payloads: PayloadStore
    cipher: Cipher
    wishes: Wishes
    discard: Callable[[list[str]], object]
    damages: dict[int, Damage] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    recovered: dict[int, DamagedCheckpoint] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    forgotten: list[tuple[str, str]] = field(default_factory=list)
    orphans: tuple[str, ...] = ()
    read_payloads: int = 0
    proof: Proof = field(init=False)

    def __post_init__(self) -> None:
        self.proof = Proof(self.database, self.payloads, self.cipher)

    @property
    def lost_members(self) -> frozenset[int]:
        return frozenset().union(*(each.lost for each in self.damages.values()))

    # --- what is damaged

    def look(self, progress: Progress | None) -> None:
        """Read payloads; mark those that are damaged, and unmark those that are whole again."""
        with self.database.read() as connection:
            marked = connection.execute(queries.marked_payloads()).all()
            chosen = [row.id for row in payload_rows(connection)]
        if not self.wishes.read_data:
            chosen = suspects(self.database, self.payloads)
        sound = set()
        for number, payload_id in enumerate(chosen, 1):
            if self._examine(payload_id):
                sound.add(payload_id)
            if progress is not None:
                progress(number, len(chosen))
        self.read_payloads = len(chosen)
        self._mark(self.damages.values())
        self._unmark([row for row in marked if row.id in sound])

    def _examine(self, payload_id: int) -> bool:
        """Read a payload and keep what is wrong; say whether nothing is."""
        found = examine(self.database, self.payloads, self.cipher, payload_id)
        self.problems += found.problems
        if found.damage is not None:
            self.damages[payload_id] = found.damage
        return found.damage is None and not found.problems

    def _mark(self, damages: Iterable[Damage]) -> None:
        if not self.wishes.dry_run:
            for batch in batches(damages):
                with under_lock(self.database) as connection:
                    mark(connection, [each.name for each in batch])

    def _unmark(self, rows: list[Any]) -> None:
        if self.wishes.dry_run:
            self.restored = [row.name for row in rows]
            return
        for batch in batches(rows):
            with under_lock(self.database) as connection:
                self.restored += [row.name for row in batch if unmark(connection, row)]

    # --- what has copies

    def recover(self) -> Replacing:
        """Replace what has copies, until nothing lost has one, and return what is lost then.

        A copy that turns out to be damaged is damage like other: it is marked, and the next plan
        does without it. Of a dry run, the plan that would be executed first is returned.
        """
        while True:
            with self.database.read() as connection:
                plan = plan_copies(connection, self.lost_members, self.proof.refused)
                keys = connection.execute(queries.keys_with(plan.recovered)).all()
            for payload_id in self.proof.read(plan.copies.values()):
                self._examine(payload_id)
                self._mark(
                    [each for each in self.damages.values() if each.payload_id == payload_id]
                )
            if any((each.kind, each.id) not in self.proof.sound for each in plan.copies.values()):
                continue
            self._note_recovered(keys)
            if self.wishes.dry_run or not plan.copies:
                return plan
            self._replace(plan)

    def _note_recovered(self, keys: Iterable[Any]) -> None:
        for row_id, group in groupby(keys, key=lambda row: row.id):
            rows = list(group)
            before = self.recovered.get(row_id)
            names = (*(before.keys if before else ()), *(row.key for row in rows))
            self.recovered[row_id] = _checkpoint(rows[0], dict.fromkeys(names), ())

    def _replace(self, plan: Replacing) -> None:
        for batch in batches(plan.copies.items()):
            try:
                with under_lock(self.database, retried=True) as connection:
                    freed = replace(connection, dict(batch))
            except LostRace:  # of a server: a copy was forgotten meanwhile
                continue
            self._unlink(freed)

    def _unlink(self, freed: list[str]) -> None:
        self.removed += freed
        self.discard(freed)

    # --- what is lost

    def finish(self, plan: Replacing) -> RepairReport:
        """Forget what is lost, if that was asked for, and say what was done."""
        if self.wishes.forget_damaged and self._look_again():
            with self.database.read() as connection:
                plan = plan_copies(connection, self.lost_members, self.proof.refused)
        with self.database.read() as connection:
            lost = _lost(connection, plan)
        if self.wishes.forget_damaged:
            with under_lock(self.database) as connection:
                # Planned again under the lock: a save may have stored a copy in between.
                now = plan_copies(connection, self.lost_members, self.proof.refused)
                freed = self._forget(connection, now)
            self._unlink(freed)
        with self.database.read() as connection:
            return self._report(connection, lost)

    def _look_again(self) -> bool:
        """Read what is damaged once more, and say whether any of it is whole by now.

        To read the others may have taken hours, in which somebody brought files back.
        """
        sound = {
            payload_id
            for payload_id in self.damages
            if not any(examine(self.database, self.payloads, self.cipher, payload_id))
        }
        for payload_id in sound:
            del self.damages[payload_id]
        with self.database.read() as connection:
            marked = connection.execute(queries.marked_payloads()).all()
        self._unmark([row for row in marked if row.id in sound])
        return bool(sound)

    def _forget(self, connection: Connection, plan: Replacing) -> list[str]:
        rows = connection.execute(queries.keys_with(plan.lost)).all()
        named = {row.id: (row.pipeline, row.checkpoint_id) for row in rows if not row.pinned}
        freed = collect(connection, remove_checkpoints(connection, named))
        self.forgotten += named.values()
        return freed

    def rehearse(self, plan: Replacing) -> RepairReport:
        """Say what would be done: it is done, and rolled back (unless nothing can be written)."""
        report: RepairReport | None = None
        if self.database.read_only:
            with self.database.read() as connection:
                return self._report(connection, _lost(connection, plan))
        try:
            with under_lock(self.database) as connection:
                lost = _lost(connection, plan)
                self.removed += replace(connection, plan.copies)
                if self.wishes.forget_damaged:
                    self.removed += self._forget(connection, plan)
                report = self._report(connection, lost)
                raise _RehearsedError  # noqa: TRY301 - what rolls the transaction back
        except _RehearsedError:
            assert report is not None
        return report

    def _report(self, connection: Connection, lost: list[DamagedCheckpoint]) -> RepairReport:
        gone = [each for each in self.damages.values() if not each.is_described]
        whole = frozenset().union(*(each.whole for each in gone))
        needed = connection.execute(queries.described_by([each.payload_id for each in gone], whole))
        named = {(each.pipeline, each.checkpoint_id) for each in lost}
        return RepairReport(
            self.wishes.dry_run,
            self.read_payloads,
            tuple(sorted((each.name, each.reason) for each in self.damages.values())),
            tuple(self.restored),
            tuple(each for _, each in sorted(self.recovered.items())),
            tuple(lost),
            tuple(
                (row.pipeline, row.checkpoint_id)
                for row in needed
                if (row.pipeline, row.checkpoint_id) not in named
            ),
            tuple(self.forgotten),
            tuple(sorted(self.removed)),
            self.orphans,
            tuple(self.problems),
        )


def _lost(connection: Connection, plan: Replacing) -> list[DamagedCheckpoint]:
    """Return what cannot be loaded, and of the same checkpoints what can."""
    rows = connection.execute(queries.keys_with(plan.lost)).all()
    lost = {row_id: list(group) for row_id, group in groupby(rows, key=lambda row: row.id)}
    whole: dict[int, list[str]] = {row_id: [] for row_id in lost}
    for batch in batches(lost):
        for row_id, key in connection.execute(queries.state_keys(), {"rows": queries.array(batch)}):
            whole[row_id].append(key)
    return [
        _checkpoint(group[0], keys := [row.key for row in group], set(whole[row_id]) - set(keys))
        for row_id, group in lost.items()
    ]


def _checkpoint(row: Any, keys: Iterable[str], others: Iterable[str]) -> DamagedCheckpoint:
    return DamagedCheckpoint(
        row.pipeline, row.checkpoint_id, bool(row.pinned), tuple(keys), tuple(sorted(others))
    )


def _orphans(database: Database, payloads: PayloadStore) -> tuple[str, ...]:
    """Return the files without a row, asked again under the lock."""
    files = list(payloads.files())
    with database.read() as connection:
        named = named_files(connection, [file.name for file in files])
    strangers = [file for file in files if file.name not in named]
    if not strangers:
        return ()
    with under_lock(database) as connection:
        return tuple(file.name for file in orphans(connection, payloads, strangers))
