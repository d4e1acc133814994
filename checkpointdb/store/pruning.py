"""The methods of a handle that plan what to forget, and forget it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from checkpointdb.errors import InvalidInputError

if TYPE_CHECKING:
    from checkpointdb.reports import PruneReport, RetentionPlan
    from checkpointdb.retention import Policy
    from checkpointdb.store.engine import Engine


class Pruning:
    """Retention by hand: a plan, and its execution."""

    checkpoint_dir: Path
    pipeline: str
    _engine: Engine
    _policy: Policy

    @property
    def _store(self) -> str:
        return str(self.checkpoint_dir.resolve())

    def plan_retention(self, policy: Policy | None = None) -> RetentionPlan:
        """Return which checkpoints a policy keeps and forgets now, why, and what that frees.

        Without a policy, the one that the handle was opened with. Nothing is changed.

        Raises InvalidInputError if `policy` is none.
        """
        from checkpointdb.retention import as_retention
        from checkpointdb.store.planning import make_plan

        chosen = as_retention(self._policy if policy is None else policy)
        with self._engine.database.read() as connection:
            return make_plan(connection, self._store, self.pipeline, chosen, datetime.now(UTC))

    def prune(
        self, plan_or_policy: RetentionPlan | Policy | None = None, *, dry_run: bool = False
    ) -> PruneReport:
        """Forget what a plan says, in one transaction, and unlink what nothing needs any more.

        A policy, or None for the handle's own, is planned first. Only what the plan forgets is
        forgotten. What changed since it was made is spared and reported: what was pinned,
        replaced or forgotten meanwhile, and what has become the checkpoint saved last. With
        `dry_run` the report says what would be done, and nothing is.

        Raises InvalidInputError for the plan of another pipeline or for what is no policy.
        """
        from checkpointdb.reports import RetentionPlan

        self._engine.catch_up()
        plan = plan_or_policy
        if not isinstance(plan, RetentionPlan):
            plan = self.plan_retention(plan)
        if (plan.store, plan.pipeline) != (self._store, self.pipeline):
            raise InvalidInputError(
                f"the plan is of pipeline {plan.pipeline!r} in {plan.store!r}, the handle of "
                f"{self.pipeline!r} in {self._store!r}: plan again, by this handle"
            )
        if dry_run:
            from checkpointdb.store.planning import rehearse

            with self._engine.database.read() as connection:
                return rehearse(connection, plan)
        return self._engine.prune(plan)
