"""The methods of a handle about runs of stages: where each stands, what took long, what failed."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from checkpointdb import queries
from checkpointdb.statements import Prepared

if TYPE_CHECKING:
    from checkpointdb.runs import Failure, RunStatus, StageTime
    from checkpointdb.store.encryption import Unlocked
    from checkpointdb.store.engine import Engine


@cache
def _attempts() -> Prepared:
    """Prepared, since it is asked before each save of a run."""
    return Prepared(queries.attempts_of_run())


class Running:
    """What `checkpointdb.pipeline` tells and asks a store, and so may anybody."""

    _engine: Engine
    _unlocked: Unlocked | None

    def record_failure(self, failure: Failure) -> None:
        """Keep a row of a stage that did not end well, after all that this thread has saved.

        In an encrypted store without the message, which may hold what the state holds: rows are in
        the clear.

        Raises InvalidInputError for what a database cannot hold, such as a NUL in a name, or
        seconds that are no number; StoreUnavailableError and StoreBusyError if it cannot be
        written.
        """
        from checkpointdb.store.standing import row_of

        row = row_of(failure, has_message=self._unlocked is None)
        self._engine.record_failures([row])

    def failures(
        self,
        workflow: str | None = None,
        run_id: str | None = None,
        *,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Failure]:
        """Return what failed or was interrupted, newest first: of a workflow, of a run, or all.

        With `after`, the id of a checkpoint, only what did since that was saved.

        Raises InvalidInputError for a limit that makes no sense.
        """
        from checkpointdb.store.standing import failure_of
        from checkpointdb.store.validation import checked_count

        if limit is not None:
            checked_count(limit, "limit", least=0)
        query = queries.failures_of(self._engine.pipeline, workflow, run_id, limit, after)
        with self._engine.database.read() as connection:
            return [failure_of(row) for row in connection.execute(query)]

    def forget_failures(
        self,
        workflow: str | None = None,
        run_id: str | None = None,
        *,
        before: datetime | None = None,
    ) -> int:
        """Forget what failed: of a workflow, of a run, before a time, or all; return how many rows.

        Retention does not: rows are small. A run that is known by its failures alone is then not
        known any more, one that stood as failed is "unfinished".

        Raises InvalidInputError for a time that is none, StoreUnavailableError and StoreBusyError
        if it cannot be written.
        """
        from checkpointdb.forgetting import remove_failures
        from checkpointdb.store.validation import checked_time

        before = None if before is None else checked_time(before, "before")
        with self._engine.writing() as connection:
            pipeline_id = connection.scalar(queries.pipeline_id(self._engine.pipeline))
            if pipeline_id is None:
                return 0
            return remove_failures(connection, pipeline_id, workflow, run_id, before)

    def runs(self, workflow: str | None = None) -> list[RunStatus]:
        """Return where each run stands, that which moved last first.

        A run whose checkpoints were all forgotten, and that never failed, is not known any more.
        """
        from checkpointdb.store.standing import statuses

        pipeline = self._engine.pipeline
        with self._engine.database.read() as connection:
            newest = connection.execute(queries.newest_of_runs(pipeline, workflow)).all()
            stopped = connection.execute(queries.newest_failures(pipeline, workflow)).all()
        return statuses(newest, stopped)

    def attempts(self, workflow: str, run_id: str) -> set[str]:
        """Return the tokens of the attempts at a run that have saved what still exists."""
        run = {"pipeline": self._engine.pipeline, "run": run_id}
        with self._engine.database.read() as connection:
            rows = _attempts().run(connection, run)
        return {str(token) for of, token in rows if of == workflow}

    def stage_times(self, workflow: str | None = None) -> list[StageTime]:
        """Return how long each stage took, over the runs whose checkpoints still exist."""
        from checkpointdb.runs import StageTime

        query = queries.stage_times(self._engine.pipeline, workflow)
        with self._engine.database.read() as connection:
            return [StageTime(int(row.stage), *row[1:]) for row in connection.execute(query)]
