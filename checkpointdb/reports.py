"""What questions and maintenance answer with: frozen values that users receive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


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
class Problem:
    """Something that `check` found: what, where, and the checkpoints that it affects."""

    kind: str
    subject: str
    detail: str
    checkpoint_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` looked at and found."""

    checkpoints: int
    payloads: int
    verified_bytes: int
    problems: tuple[Problem, ...]

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
class SweepReport:
    """What `sweep` removed, and rows whose file is missing (it leaves these alone)."""

    removed_files: tuple[str, ...]
    freed_bytes: int
    missing_files: tuple[str, ...]


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
