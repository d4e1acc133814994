"""Retention policies: frozen values that say which checkpoints to forget, as SQL; pure.

The statement runs in the transaction of every save. Pinned checkpoints are never forgotten and
do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import bindparam, false, select

from checkpointdb.errors import InvalidInputError
from checkpointdb.records import RetentionPolicy
from checkpointdb.schema import checkpoints
from checkpointdb.statements import Bound, Prepared

__all__ = ["KeepAll", "KeepNewest", "KeepYoungerThan", "Policy", "policy_of"]


class Policy(Protocol):
    """What a pipeline forgets after each save."""

    def forgettable(self, pipeline_id: int, now: datetime) -> Bound | None:
        """Return a query of the row ids to forget, in a fixed order; None if that is nothing.

        `now` is the time of the checkpoint just saved, so that this one is never too old.
        """


@dataclass(frozen=True, slots=True)
class KeepAll:
    """Forget nothing."""

    def forgettable(self, pipeline_id: int, now: datetime) -> None:
        return None


@dataclass(frozen=True, slots=True)
class KeepNewest:
    """Keep the `count` checkpoints saved last.

    Last by row id: a machine whose clock lags must not lose what it just saved.
    """

    count: int

    def __post_init__(self) -> None:
        _check_integer(self.count, 1, "retention_count")

    def forgettable(self, pipeline_id: int, now: datetime) -> Bound:
        return Bound(_BEYOND, {"pipeline_id": pipeline_id, "count": self.count})


@dataclass(frozen=True, slots=True)
class KeepYoungerThan:
    """Keep what was created within the last `days`; what lies in the future is younger still."""

    days: int

    def __post_init__(self) -> None:
        _check_integer(self.days, 0, "retention_age_days")

    def forgettable(self, pipeline_id: int, now: datetime) -> Bound | None:
        try:
            oldest = now - timedelta(days=self.days)
        except OverflowError:  # before the year 1: nothing is that old
            return None
        return Bound(_OLDER, {"pipeline_id": pipeline_id, "oldest": oldest})


def policy_of(
    retention_policy: RetentionPolicy | str, retention_count: int, retention_age_days: int
) -> Policy:
    """Return the policy that the three arguments of PipelineCheckpoint describe.

    Raises InvalidInputError if there is no such policy or its number is none that it can use;
    a number that the policy does not use is not looked at.
    """
    try:
        chosen = RetentionPolicy(retention_policy)
    except ValueError as error:
        names = ", ".join(repr(each.value) for each in RetentionPolicy)
        raise InvalidInputError(
            f"retention_policy={retention_policy!r} is unknown: use RetentionPolicy or {names}"
        ) from error
    if chosen is RetentionPolicy.KEEP_N_RECENT:
        return KeepNewest(retention_count)
    if chosen is RetentionPolicy.DELETE_OLDER_THAN:
        return KeepYoungerThan(retention_age_days)
    return KeepAll()


_unpinned = (
    select(checkpoints.c.id)
    .where(checkpoints.c.pipeline_id == bindparam("pipeline_id"))
    .where(checkpoints.c.pinned == false())
)
_BEYOND = Prepared(_unpinned.order_by(checkpoints.c.id.desc()).offset(bindparam("count")))
_OLDER = Prepared(
    _unpinned.where(checkpoints.c.created_at < bindparam("oldest")).order_by(
        checkpoints.c.created_at, checkpoints.c.id
    )
)


def _check_integer(value: object, least: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{name} must be an integer of at least {least}, not {value!r}")
