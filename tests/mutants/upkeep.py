"""Bugs of what is done beside saving and loading: keys, copies, backups, repairs, plans."""

from __future__ import annotations

from .mutant import Mutant

UPKEEP = (
    Mutant(
        "a compaction commits what a dropped master key seals",
        "checkpointdb/store/compacting.py",
        "check_epoch(self._cipher, packer.epoch, connection.scalar(queries.keyring_generation()))",
        "pass",
        "test_resealing.py",
    ),
    Mutant(
        "a merge commits what a dropped master key seals",
        "checkpointdb/store/merging.py",
        "check_epoch(self._cipher, packer.epoch, connection.scalar(queries.keyring_generation()))",
        "pass",
        "test_resealing.py",
    ),
    Mutant(
        "what another thread's renewed keys no longer seal is committed",
        "checkpointdb/sealing.py",
        "if epoch != cipher.epoch:",
        "if False:",
        "test_resealing.py",
    ),
    Mutant(
        "a key that another handle adds meanwhile is lost",
        "checkpointdb/store/encryption.py",
        "if now.generation == before.generation:",
        "if True:",
        "test_encryption.py",
    ),
    Mutant(
        "what was just saved is forgotten, once it is of no age",
        "checkpointdb/store/saving.py",
        "return [row_id for (row_id,) in query.run(connection) if row_id != head.row_id]",
        "return [row_id for (row_id,) in query.run(connection)]",
        "test_store_retention.py",
    ),
    Mutant(
        "a copy replaces what another has saved under its id",
        "checkpointdb/store/copying.py",
        "replaces=replaces,",
        "replaces=True,",
        "test_copying.py",
    ),
    Mutant(
        "a save relies on a chunk in a damaged file",
        "checkpointdb/store/head.py",
        "if any(is_damaged for _, _, is_damaged in members):",
        "if False:",
        "test_corruption.py",
    ),
    Mutant(
        "what an interrupted pull left is not read",
        "checkpointdb/backup/pulling.py",
        "return _is_it(_hash(reader), wanted)",
        "return True",
        "backing/test_backing_damaged.py",
    ),
    Mutant(
        "another snapshot is taken for the latest",
        "checkpointdb/backup/snapshots.py",
        "if receive(reader, packed, moved) != snapshot.sha256:",
        "if not receive(reader, packed, moved):",
        "backing/test_backing_damaged.py",
    ),
    Mutant(
        "the latest snapshot is pruned after a clock was put back",
        "checkpointdb/backup/retaining.py",
        "order = sorted(found, key=lambda each: (each == pointer.snapshot, each))",
        "order = sorted(found)",
        "backing/test_remote_retention.py",
    ),
    Mutant(
        "a durable commit is what a server is set to",
        "checkpointdb/postgres.py",
        '_FLUSHED if durable else "SET LOCAL synchronous_commit = off",',
        '"SET LOCAL synchronous_commit = off",',
        "test_on_a_server.py",
    ),
    Mutant(
        "of those forgotten at once only the last may have metadata",
        "checkpointdb/forgetting.py",
        "has_metadata |= bool(is_described)",
        "has_metadata = bool(is_described)",
        "test_pruning.py",
    ),
    Mutant(
        "a repair forgets what a save has just made good",
        "checkpointdb/repair.py",
        "now = plan_copies(connection, self.lost_members, self.proof.refused)",
        "now = plan",
        "test_repair.py",
    ),
    Mutant(
        "rows that are another state are merged",
        "checkpointdb/store/merging.py",
        "if digest != place.state_digest:",
        "if False:",
        "test_merging.py",
    ),
    Mutant(
        "a compaction carries bytes that are not those of their row",
        "checkpointdb/store/carrying.py",
        "if found != each.digest or len(data) != each.raw_bytes:",
        "if len(data) != each.raw_bytes:",
        "test_compacting.py",
    ),
    Mutant(
        "what a short write left is not written",
        "checkpointdb/local_payloads.py",
        'rest = memoryview(b"".join(pieces))[written:]',
        'rest = memoryview(b"".join(pieces))[:0]',
        "contracts/test_payload_stores.py",
    ),
    Mutant(
        "a rebuild takes a place after its rows are there",
        "checkpointdb/rebuild.py",
        "before_commit()",
        "pass",
        "bucket/test_claims.py",
    ),
    Mutant(
        "a push does not renew its lease while it reads and sends",
        "checkpointdb/backup/meter.py",
        "self._step()",
        "pass",
        "backing/test_backing_meanwhile.py",
    ),
)
