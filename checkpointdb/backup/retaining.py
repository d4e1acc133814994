"""The remote's own retention: which snapshots stay, and the payloads that none of them names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert, select
from sqlalchemy.pool import StaticPool

from checkpointdb.backup import ledger
from checkpointdb.backup.layout import (
    PAYLOADS,
    POINTER,
    Snapshot,
    hash_digits,
    is_pushed,
    payload_name,
    payload_path,
    snapshot_of,
)
from checkpointdb.backup.lease import Lease, leased
from checkpointdb.backup.ownership import expect_ours, overtaken
from checkpointdb.backup.remote import Blob, Remote
from checkpointdb.backup.snapshots import fetch, opened, pointer_of, snapshots_of
from checkpointdb.database import Database
from checkpointdb.errors import InvalidInputError, NotFoundError
from checkpointdb.inventory import payload_rows
from checkpointdb.reports import BackupPruneReport, PlannedSnapshot
from checkpointdb.retention import (
    KeepAll,
    KeepDaily,
    KeepHourly,
    KeepMonthly,
    KeepNewest,
    KeepWeekly,
    KeepWithin,
    KeepYearly,
    Retention,
    Scope,
    as_retention,
)
from checkpointdb.schema import backups, checkpoints, metadata

# Those that are about times alone: a snapshot has no metadata and no state.
_RULES = (
    KeepAll,
    KeepNewest,
    KeepWithin,
    KeepHourly,
    KeepDaily,
    KeepWeekly,
    KeepMonthly,
    KeepYearly,
)
# What is kept of snapshots that were made by themselves, unless told otherwise.
KEPT_BY_DEFAULT = KeepHourly(24) | KeepDaily(7) | KeepWeekly(8) | KeepMonthly(12)
# What a write that is under way, or ended a moment ago, may have left. Politeness: a lease and the
# pointer keep others away.
GRACE = timedelta(days=1)


def prune(
    database: Database,
    remote: Remote,
    policy: Any,
    room: Path,
    *,
    only_snapshots: bool = False,
    dry_run: bool = False,
) -> BackupPruneReport:
    """Delete the snapshots that a policy does not keep, and what only they named.

    Every snapshot that stays is read, to know what it names, unless `only_snapshots` are deleted.
    Raises CorruptionError if one of them is damaged: then nothing is deleted; and what a push
    raises of a remote that is not ours.
    """
    retention = checked_policy(policy)
    with leased(database, f"backup to {remote.url}") as lease:
        seen = expect_ours(database, remote)
        planned = _plan(remote, retention, datetime.now(UTC))
        blobs = [] if only_snapshots else _unneeded(remote, planned, room, lease)
        report = _report(remote, retention, planned, blobs, dry_run=dry_run)
        if not dry_run:
            if remote.small(POINTER) != seen:
                raise overtaken(remote)  # by a store that took over, and may name what would go
            with database.write() as connection:
                lease.confirm(connection)  # else a push may rely on what would go
            _delete(remote, planned, blobs)
            with database.write() as connection:
                _forget_copies(connection, remote.url, blobs)
    return report


def checked_policy(policy: Any) -> Retention:
    """Return a policy that is about times alone. Raises InvalidInputError for another."""
    retention = as_retention(policy)
    strange = [each for each in retention.rules if not isinstance(each, _RULES)]
    if retention.limits or strange:
        shown = (*retention.limits, *strange)[0]
        raise InvalidInputError(
            f"{shown!r} is not about times: what a remote keeps is said by rules such as "
            "KeepNewest(7) | KeepWeekly(8)"
        )
    return retention


# --- the plan


def _plan(remote: Remote, retention: Retention, now: datetime) -> list[PlannedSnapshot]:
    pointer = pointer_of(remote)
    if pointer is None:
        raise NotFoundError(f"there is no backup at {remote.url!r}")
    found = dict(snapshots_of(remote))
    found.setdefault(pointer.snapshot, pointer.stored_bytes)  # if it is gone, reading it tells
    # The one that holds comes last, as what was saved last: no policy forgets that.
    order = sorted(found, key=lambda each: (each == pointer.snapshot, each))
    kept = _decide(order, retention, now)
    return [
        PlannedSnapshot(
            each.name,
            each.created_at,
            found[each],
            number in kept,
            tuple(kept.get(number) or (f"not {rule}" for rule in retention.rules)),
        )
        for number, each in enumerate(order, 1)
    ]


def _decide(order: Sequence[Snapshot], retention: Retention, now: datetime) -> dict[int, list[str]]:
    """Return the numbers of what is kept, each with why.

    Policies are SQL about checkpoints. So each snapshot is made one, in a database that is gone
    afterwards: a second implementation of every rule would be a second truth.
    """
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        metadata.create_all(connection, [checkpoints])
        for number, each in enumerate(order, 1):
            connection.execute(insert(checkpoints), _as_checkpoint(number, each.created_at))
        kept = retention.decide(Scope(1, now), connection.execute).kept
    engine.dispose()
    return kept


def _as_checkpoint(number: int, created_at: datetime) -> dict[str, Any]:
    zero = dict.fromkeys(("format_version", "payload_id", "since_full", "key_count"), 0)
    sizes = dict.fromkeys(("state_bytes", "stored_bytes"), 0)
    never = dict.fromkeys(("is_incremental", "is_encrypted", "pinned"), False)
    return {
        **zero,
        **sizes,
        **never,
        "id": number,
        "pipeline_id": 1,
        "checkpoint_id": str(number),
        "chain_id": 1,
        "depth": number,
        "created_at": created_at,
        "state_digest": b"",
        "custom_metadata": {},
    }


def _unneeded(
    remote: Remote, planned: list[PlannedSnapshot], room: Path, lease: Lease
) -> list[Blob]:
    """Return old payloads that no snapshot names that stays, and what writes have left."""
    named = _named(remote, [each for each in planned if each.is_kept], room, lease)
    return _unnamed(remote, named, datetime.now(UTC) - GRACE)


def _named(remote: Remote, kept: list[PlannedSnapshot], room: Path, lease: Lease) -> set[str]:
    """Return the paths of all payloads that snapshots name."""
    found: set[str] = set()
    for each in kept:
        lease.renew()
        snapshot = snapshot_of(each.name)
        assert snapshot is not None
        database = opened(fetch(remote, snapshot, room, lambda _: lease.renew()))
        try:
            with database.read() as connection:
                rows = payload_rows(connection)
        finally:
            database.close()
        found.update(payload_path(row.name, row.sha256) for row in rows)
    return found


def _unnamed(remote: Remote, named: set[str], latest: datetime) -> list[Blob]:
    """Return old payloads that no snapshot names, and what interrupted writes have left.

    Only what has a name that pushes give: a store may lie there, too, this one or another.
    """
    return [
        blob
        for blobs in (remote.blobs(PAYLOADS), remote.unfinished())
        for blob in blobs
        if blob.path not in named and blob.modified_at <= latest and is_pushed(blob.path)
    ]


def _report(
    remote: Remote,
    retention: Retention,
    planned: list[PlannedSnapshot],
    blobs: list[Blob],
    *,
    dry_run: bool,
) -> BackupPruneReport:
    freed = sum(each.stored_bytes for each in planned if not each.is_kept)
    return BackupPruneReport(
        remote.url,
        str(retention),
        dry_run,
        tuple(planned),
        sum(1 for blob in blobs if payload_name(blob.path)),
        freed + sum(blob.stored_bytes for blob in blobs),
    )


# --- its execution


def _delete(remote: Remote, planned: list[PlannedSnapshot], blobs: list[Blob]) -> None:
    """Delete the snapshots first: none that is still there may lack what it names."""
    gone = [Snapshot(each.name, each.created_at, "") for each in planned if not each.is_kept]
    remote.delete(*(each.path for each in gone))
    remote.delete(*(blob.path for blob in blobs))


def _forget_copies(connection: Any, url: str, blobs: list[Blob]) -> None:
    """Note that payloads are no longer there; of one name there may be others."""
    deleted = {(payload_name(blob.path), hash_digits(blob.path)) for blob in blobs}
    number = ledger.remote_id(connection, url)
    query = select(backups.c.name, backups.c.sha256).where(backups.c.remote_id == number)
    gone = [
        row.name
        for row in connection.execute(query)
        if (row.name, row.sha256.hex()[:16]) in deleted
    ]
    ledger.drop_copied(connection, url, gone)
