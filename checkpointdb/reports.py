"""What questions and maintenance answer with: frozen values that users receive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One value that a key had: from `checkpoint_id` on, in one chain.

    `change` is "set" or "removed"; the other fields are None for a removal.
    """

    key: str
    checkpoint_id: str
    created_at: datetime
    chain: str
    change: str
    type_name: str | None
    raw_bytes: int | None
    digest: str | None


@dataclass(frozen=True, slots=True)
class KeyChange:
    """How one key differs between two states; sizes are raw bytes, None where it is absent."""

    key: str
    old_bytes: int | None
    new_bytes: int | None
    old_type: str | None
    new_type: str | None


@dataclass(frozen=True, slots=True)
class StateDiff:
    """What changed from one checkpoint to another, by key, in the order of the keys."""

    added: tuple[KeyChange, ...]
    removed: tuple[KeyChange, ...]
    changed: tuple[KeyChange, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckpointPlace:
    """Where a checkpoint stands: `parent_id` is what it was saved upon, while that exists."""

    checkpoint_id: str
    parent_id: str | None
    chain: str
    depth: int
    created_at: datetime
    is_incremental: bool
    stored_bytes: int
    pinned: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement found; `is_cut` says that there is more than was asked for."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """A store's database, and what this version of the library makes of it.

    `state` is "current", "older" (to be upgraded), "newer" (upgrade checkpointdb) or "empty".
    `readable_since` is the first version of checkpointdb that reads this schema; None where this
    one does not know it. `engine` is what runs it, with its version.
    """

    path: str
    state: str
    schema: str | None
    library_schema: str
    library_version: str
    engine: str
    database_bytes: int
    log_bytes: int
    readable_since: str | None


@dataclass(frozen=True, slots=True)
class UpgradeReport:
    """From which schema to which a database was brought, and the backup made before."""

    before: str | None
    after: str
    backup: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that `check` found: what, where, and the checkpoints that it affects."""

    kind: str
    subject: str
    detail: str
    checkpoint_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` looked at and found; `read_payloads` of the payloads were read."""

    checkpoints: int
    payloads: int
    verified_bytes: int
    problems: tuple[Problem, ...]
    read_payloads: int = 0

    @property
    def is_ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What `rebuild` brought back.

    `left_out` are checkpoints that payloads still mention but whose state is no longer whole
    (they had been forgotten, or bytes are missing); `unreadable` are files and why.
    """

    checkpoints: tuple[str, ...]
    left_out: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DamagedCheckpoint:
    """Keys of one checkpoint that were lost, or recovered; of a lost one, those that load still."""

    pipeline: str
    checkpoint_id: str
    pinned: bool
    keys: tuple[str, ...]
    whole_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What `repair` found and did, or would do.

    `damaged` are payloads out of service, and why; `restored` are back in service. `recovered` and
    `lost` are checkpoints with their keys. `only_in_database` (pairs of pipeline and id) load, but
    a rebuild would lose them: the file that describes them is damaged. `forgotten` are those that
    were asked for, pairs too; `removed_files` nothing needs. `orphans` are files without a row, and
    `problems` are those of the rows: for sweep and rebuild.
    """

    is_dry_run: bool
    read_payloads: int
    damaged: tuple[tuple[str, str], ...]
    restored: tuple[str, ...]
    recovered: tuple[DamagedCheckpoint, ...]
    lost: tuple[DamagedCheckpoint, ...]
    only_in_database: tuple[tuple[str, str], ...]
    forgotten: tuple[tuple[str, str], ...]
    removed_files: tuple[str, ...]
    orphans: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def is_ok(self) -> bool:
        return not (self.lost or self.only_in_database or self.problems)


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What `sweep` removed, and rows whose file is missing (it leaves these alone)."""

    removed_files: tuple[str, ...]
    freed_bytes: int
    missing_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompactReport:
    """Which payloads `compact` rewrote, or would rewrite, and what that frees.

    `rewritten` are their old names, `written` how many new files hold what was alive in them; of a
    dry run `freed_bytes` is an estimate, and `written` is 0. `left` are payloads that were left as
    they are, and why: something is wrong with them. `not_smaller` stay, since what is alive in them
    would take as much room in a new one.
    """

    is_dry_run: bool
    rewritten: tuple[str, ...]
    written: int
    freed_bytes: int
    left: tuple[tuple[str, str], ...]
    not_smaller: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What `merge` did: not `is_merged` if the checkpoint was a full already.

    `stored_bytes` are those of its new payload; `freed_bytes` those of the payloads that it alone
    had kept.
    """

    checkpoint_id: str
    is_merged: bool
    stored_bytes: int = 0
    freed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did with each checkpoint that it found.

    `imported` are the ids of those that were saved; of these `replaced` took the place of
    another, and `renamed` have a new id (pairs of old and new). `present` had been imported
    before; `skipped` were not imported, since their id is another's; `unreadable` are ids or
    files, and why.
    """

    imported: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()

    @property
    def is_ok(self) -> bool:
        return not self.unreadable


class PlannedCheckpoint(NamedTuple):
    """One checkpoint of a plan: kept or forgotten, and why.

    `stored_bytes` are those of the file that was written when it was saved; `row` is the row
    that the plan is about, which a checkpoint that replaces this one does not have.
    """

    checkpoint_id: str
    created_at: datetime
    stored_bytes: int
    is_kept: bool
    reasons: tuple[str, ...]
    row: int


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What a policy keeps and forgets in a pipeline, in the order of saving.

    `freed_bytes` are those of the `freed_payloads` files that nothing needs when it is done.
    """

    store: str
    pipeline: str
    policy: str
    planned_at: datetime
    checkpoints: tuple[PlannedCheckpoint, ...]
    freed_payloads: int
    freed_bytes: int

    @property
    def kept(self) -> tuple[PlannedCheckpoint, ...]:
        return tuple(each for each in self.checkpoints if each.is_kept)

    @property
    def forgotten(self) -> tuple[PlannedCheckpoint, ...]:
        return tuple(each for each in self.checkpoints if not each.is_kept)


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What `prune` did, or would do: the ids that are forgotten, and the bytes that are freed.

    `spared` are checkpoints of a plan that had changed since it was made, each with how.
    """

    plan: RetentionPlan
    is_dry_run: bool
    forgotten: tuple[str, ...]
    spared: tuple[tuple[str, str], ...]
    freed_payloads: int
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push copied, and what the remote had already.

    `unreadable` names payloads of the store that are damaged and that the remote does not have
    either, each with why: all else was backed up, but for the checkpoints that need them.
    """

    remote: str
    snapshot: str
    checkpoints: int
    payloads: int
    copied_payloads: int
    copied_bytes: int
    unreadable: tuple[tuple[str, str], ...]

    @property
    def is_ok(self) -> bool:
        """Whether all that the store holds is backed up."""
        return not self.unreadable


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull brought back, and into which directory.

    `snapshot` is None where the database was made anew from the payloads; `left_out` are the
    checkpoints that did not come back whole, and then payloads, too, that are damaged.
    """

    remote: str
    snapshot: str | None
    directory: str
    checkpoints: int
    payloads: int
    fetched_bytes: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackupSnapshot:
    """A copy of the database at a remote; a pull takes the latest unless told otherwise."""

    name: str
    created_at: datetime
    stored_bytes: int
    is_latest: bool


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was found when a remote was compared with one of its snapshots.

    A problem's `checkpoint_ids` are those that the snapshot cannot bring back whole.
    """

    remote: str
    snapshot: str
    checkpoints: int
    payloads: int
    verified_bytes: int
    problems: tuple[Problem, ...]

    @property
    def is_ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class PlannedSnapshot:
    """What becomes of a snapshot at a remote, and why."""

    name: str
    created_at: datetime
    stored_bytes: int
    is_kept: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackupPruneReport:
    """What was deleted at a remote, or by a dry run would be."""

    remote: str
    policy: str
    is_dry_run: bool
    snapshots: tuple[PlannedSnapshot, ...]
    deleted_payloads: int
    freed_bytes: int
