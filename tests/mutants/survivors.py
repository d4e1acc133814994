"""Bugs that no test of the suite noticed once: each of a branch that is seldom taken."""

from __future__ import annotations

from .mutant import Mutant

SURVIVORS = (
    Mutant(
        "a repair relies on a copy that it has just found damaged",
        "checkpointdb/repair.py",
        "if any((each.kind, each.id) not in self.proof.sound for each in plan.copies.values()):",
        "if False:",
        "test_repair.py",
    ),
    Mutant(
        "what is encrypted anew after a merge is taken for the newest",
        "checkpointdb/store/resealing.py",
        "each._replace(sequence=saved_with if each.sequence is None else each.sequence)",
        "each._replace(sequence=saved_with)",
        "test_resealing.py",
    ),
    Mutant(
        "a rebuild leaves out what it may not read now",
        "checkpointdb/rebuild.py",
        "except StoreUnavailableError:",
        "except ZeroDivisionError:",
        "faults/test_failing_payloads.py",
    ),
    Mutant(
        "a save unlinks what a push is copying",
        "checkpointdb/store/saving.py",
        "return head, [] if place.is_leased else freed",
        "return head, freed",
        "backing/test_backing_meanwhile.py",
    ),
    Mutant(
        "a rebuild goes by the clock",
        "checkpointdb/salvage.py",
        "return self.sequence, each.created_at, not each.is_incremental, self.source",
        "return each.created_at, self.sequence, not each.is_incremental, self.source",
        "test_rebuild.py",
    ),
    Mutant(
        "a push is acknowledged that no pointer names",
        "checkpointdb/backup/pushing.py",
        "if not self._remote.swap(POINTER, seen, encode_pointer(pointer)):",
        "if self._remote.swap(POINTER, seen, encode_pointer(pointer)) is None:",
        "backing/test_backing_meanwhile.py",
    ),
    Mutant(
        "of two payloads of one name a pull takes the older",
        "checkpointdb/backup/pulling.py",
        "chosen[name] = max(blob, other, key=_age)",
        "chosen[name] = min(blob, other, key=_age)",
        "backing/test_backing.py",
    ),
    Mutant(
        "what was pulled of an older snapshot goes on with the backup",
        "checkpointdb/backup/pulling.py",
        "if pointer is None or pointer.snapshot != snapshot:",
        "if pointer is None:",
        "backing/test_backing.py",
    ),
    Mutant(
        "a run goes on from a state that was replaced as it was loaded",
        "checkpointdb/pipeline/resuming.py",
        "if now is None or now.hash_sha256 != found.hash_sha256:",
        "if now is None:",
        "pipeline/test_resumed_runs.py",
    ),
    Mutant(
        "a mount that has just vanished is taken for damage",
        "checkpointdb/store/guarding.py",
        "self._look(now=True)  # not damage, if it is another place, or an empty mount point",
        "self._look()",
        "bucket/test_claims.py",
    ),
    Mutant(
        "what is imported is upon another of its base's id",
        "checkpointdb/store/importing.py",
        "base = None if each.base_id is None else names.get(each.base_id)",
        "base = each.base_id if each.base_id in names else None",
        "test_importing.py",
    ),
    Mutant(
        "what is merged by its rows is taken for the newest",
        "checkpointdb/store/merging.py",
        "sequence=format.sequence_of(place.payload),",
        "sequence=None,",
        "test_merging.py",
    ),
    Mutant(
        "a key is removed though that failed",
        "checkpointdb/store/encryption.py",
        "self._change(change, write_row, check)",
        "self._change(change, lambda c, k: _write_all(self.directory, c, k, self.there), check)",
        "test_encryption.py",
    ),
    Mutant(
        "what could not be unlinked is taken for gone",
        "checkpointdb/store/trash.py",
        "self._spent += [name for name in names if name not in failed]",
        "self._spent += names",
        "faults/test_failing_payloads.py",
    ),
    Mutant(
        "an early flush that the disk refuses is taken for done",
        "checkpointdb/local_payloads.py",
        "os.fdatasync(self._file.fileno())",
        "with suppress(OSError):\n                    os.fdatasync(self._file.fileno())",
        "faults/test_failing_payloads.py",
    ),
    Mutant(
        "an early flush that fails is forgotten",
        "checkpointdb/store/packer.py",
        "future.result()",
        "pass",
        "faults/test_failing_payloads.py",
    ),
)
