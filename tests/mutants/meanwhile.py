"""Bugs in what heeds others: a database put back, a clock that is ahead, a place taken over."""

from __future__ import annotations

from .mutant import Mutant

MEANWHILE = (
    Mutant(
        "a row of a database that was put back is taken for the checkpoint that had its number",
        "checkpointdb/store/finding.py",
        "return place if place is not None and place.row == row else None",
        "return place",
        "test_put_back.py",
    ),
    Mutant(
        "what is compared with is another checkpoint by now",
        "checkpointdb/store/saving.py",
        "if time_of(place.base_created_at) != saved.origin.row.created_at:",
        "if False:",
        "test_put_back.py",
    ),
    Mutant(
        "a save goes into the pipeline that came into the row of its own",
        "checkpointdb/store/saving.py",
        "if place.pipeline != saved.checkpoint.pipeline:",
        "if False:",
        "test_put_back.py",
    ),
    Mutant(
        "a sweep removes what is newer than the rows",
        "checkpointdb/sweep.py",
        "unnamed -= newer_than_rows(connection, unnamed)",
        "pass",
        "test_put_back.py",
    ),
    Mutant(
        "a lease is judged by the clock of each machine",
        "checkpointdb/queries/leases.py",
        'return f"clock_timestamp() + make_interval(secs => '
        '{compiler.process(seconds, **options)})"',
        "return _given(clock, compiler, **options)",
        "backing/test_backing_on_a_server.py",
    ),
    Mutant(
        "a save whose file a push holds back after it was forgotten is done again",
        "checkpointdb/store/outcome.py",
        "if named_files(connection, [name]):",
        "if False:",
        "faults/test_lost_connections.py",
    ),
    Mutant(
        "a database whose place was taken over deletes there for a minute",
        "checkpointdb/store/guarding.py",
        "self._look(now=True, in_haste=True)",
        "self._look()",
        "bucket/test_claims.py",
    ),
    Mutant(
        "a compaction flushes only if its handle does",
        "checkpointdb/store/carrying.py",
        "if database.durable:",
        "if True:",
        "crash/test_stopped_anywhere.py",
    ),
    Mutant(
        "a connection goes on reading in the next transaction",
        "checkpointdb/sqlite_connection.py",
        "cursor.close()",
        "_ = cursor",
        "concurrency/test_interrupted_at_each_call.py",
    ),
    Mutant(
        "a file is closed while its flush goes on",
        "checkpointdb/store/packer.py",
        "self._finishing.leave()",
        "_ = self._finishing",
        "faults/test_failing_payloads.py",
    ),
    Mutant(
        "a store that is refused when it is nearly open stays open",
        "checkpointdb/store/pipeline_checkpoint.py",
        "with closed_on_error(opened.database):",
        "if opened.database:",
        "hostile/test_forged_schema.py",
    ),
    Mutant(
        "a store that another makes and saves in while this one opens it seems to be without rows",
        "checkpointdb/store/opening.py",
        "if (has_payloads or claimed is not None) and _has_rows(database):",
        "if False:",
        "concurrency/test_openings_meanwhile.py",
    ),
    Mutant(
        "a store that another saves in first while this one opens it seems to have lost its rows",
        "checkpointdb/store/opening.py",
        "if _is_empty(database):  # still: no other process has begun to save meanwhile",
        "if True:",
        "concurrency/test_openings_meanwhile.py",
    ),
    Mutant(
        "a place that another notes and claims for the same store seems to be another's",
        "checkpointdb/store/claims.py",
        "if found := _noted(connection, wanted):",
        "if found := None:",
        "concurrency/test_openings_meanwhile.py",
    ),
    Mutant(
        "leftovers are unlinked while their names are read",
        "checkpointdb/store/trash.py",
        "names = connection.scalars(names_to_remove()).all()",
        "self.empty(names := connection.scalars(names_to_remove()).all())",
        "concurrency/test_openings_meanwhile.py",
    ),
    Mutant(
        "a pull does not look again whether another has ended",
        "checkpointdb/store/backing.py",
        "_refuse_existing(directory)  # another pull may have ended meanwhile",
        "pass",
        "backing/test_pulling_meanwhile.py",
    ),
    Mutant(
        "a handle saves where another has changed the place of a store that was not used yet",
        "checkpointdb/store/claims.py",
        "if (found and found.claim) != (claim and claim.place.claim):",
        "if False:",
        "concurrency/test_openings_meanwhile.py",
    ),
)
