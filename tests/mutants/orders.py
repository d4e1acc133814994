"""What is done too early, or not noted before it is done: only who is killed in between notices."""

from __future__ import annotations

from .mutant import Mutant, stopped

ORDERS = (
    Mutant(
        "what snapshots name is pruned before them",
        "checkpointdb/backup/retaining.py",
        "remote.delete(*(each.path for each in gone))",
        "remote.delete(*(blob.path for blob in blobs)), "
        "remote.delete(*(each.path for each in gone))",
        stopped("prune a remote"),
    ),
    Mutant(
        "a compaction unlinks before its commit",
        "checkpointdb/store/compacting.py",
        "freed = _repointed(connection, now, alive, numbers, packer, name)",
        "self._trash.empty(freed := _repointed(connection, now, alive, numbers, packer, name))",
        stopped("compact"),
    ),
    Mutant(
        "a push does not note its snapshot before the pointer names it",
        "checkpointdb/backup/pushing.py",
        "ledger.note(connection, self._remote.url, pending=pointer.snapshot.name)",
        "pass",
        stopped("push"),
    ),
    Mutant(
        "of two pushes that were cut off the first one's snapshot is not known",
        "checkpointdb/backup/pushing.py",
        "note_held(connection, self._remote, seen)",
        "pass",
        "backing/test_backing.py",
    ),
    Mutant(
        "a push that is given up leaves its snapshot",
        "checkpointdb/backup/pushing.py",
        "self._remote.delete(snapshot.path)",
        "pass",
        "backing/test_backing_meanwhile.py",
    ),
)
