"""Bugs that lose nothing at once: what is paid twice, and what another writer meets."""

from __future__ import annotations

from .mutant import Mutant

COSTS = (
    Mutant(
        "what is pickled beside an array is looked for",
        "checkpointdb/store/staging.py",
        "_LEAST_SHARED_BYTES = 1 << 10",
        "_LEAST_SHARED_BYTES = 0",
        "counts/test_counts_of_bytes.py",
    ),
    Mutant(
        "the save after a load compares with nothing",
        "checkpointdb/store/saving.py",
        "return origin, load_head(connection, self.pipeline_id, place)",
        "return origin, None",
        "test_deltas.py",
    ),
    Mutant(
        "a payload is flushed twice",
        "checkpointdb/local_payloads.py",
        "sync(self._file.fileno())",
        "sync(self._file.fileno()), sync(self._file.fileno())",
        "counts/test_counts_of_calls.py",
    ),
    Mutant(
        "a save gives up while keys change",
        "checkpointdb/store/saving.py",
        "may_wait = isinstance(error, KeyringChanged) and time.monotonic() < until",
        "may_wait = False",
        "concurrency/test_interleavings.py",
    ),
    Mutant(
        "what was pinned since a plan is pruned",
        "checkpointdb/store/planning.py",
        "elif each.row in exempt:",
        "elif False:",
        "test_pruning.py",
    ),
    Mutant(
        "what an interrupt has left open stays open",
        "checkpointdb/database.py",
        "end_abandoned()",
        "pass",
        "concurrency/test_interrupted_at_each_call.py",
    ),
    Mutant(
        "a server is waited for at each row",
        "checkpointdb/statements.py",
        "cursor.executemany(compiled.text, map(compiled.parameters, rows))",
        "[cursor.execute(compiled.text, compiled.parameters(each)) for each in rows]",
        "counts/test_counts_of_statements.py",
    ),
)
