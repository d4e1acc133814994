"""What policies are made of: rules, limits, and what they are asked about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from sqlalchemy import CTE, ColumnElement, Connection, Select, and_, false, select

from checkpointdb.custom_metadata import check_path
from checkpointdb.errors import InvalidInputError
from checkpointdb.queries import listed
from checkpointdb.schema import checkpoints

if TYPE_CHECKING:
    from checkpointdb.retention.policy import Policy, Retention


class Question(Protocol):
    """What a save asks: the row ids to forget, in a fixed order."""

    def run(self, connection: Connection) -> list[tuple[Any, ...]]:
        """Ask it, and return rows that begin with the ids."""


class Scope(NamedTuple):
    """What a policy is asked about: one pipeline, at one moment, as if some rows were not there."""

    pipeline_id: int
    now: datetime
    without: tuple[int, ...] = ()
    counts_pinned: bool = False

    def all(self) -> Select[Any]:
        """Return the row ids of the pipeline's checkpoints, the oldest first."""
        return select(checkpoints.c.id).where(self.is_in()).order_by(checkpoints.c.id)

    def is_in(self) -> ColumnElement[bool]:
        """Say whether a checkpoint is one of these."""
        of_pipeline = checkpoints.c.pipeline_id == self.pipeline_id
        if not self.without:
            return of_pipeline
        return and_(of_pipeline, checkpoints.c.id.not_in(select(listed(self.without).c.id)))

    def is_unpinned(self) -> ColumnElement[bool]:
        """Say whether a checkpoint is one of these and not pinned: one that rules count."""
        if self.counts_pinned:
            return self.is_in()
        return and_(self.is_in(), checkpoints.c.pinned == false())


class Part(ABC):
    """A rule or a limit: a policy by itself, and combined with others. `str()` names it."""

    __slots__ = ()

    @abstractmethod
    def reason(self, *facts: Any) -> str:
        """Say why it keeps, or takes, a checkpoint, from the facts in its row."""

    def forgettable(
        self, pipeline_id: int, now: datetime, *, has_damage: bool = False
    ) -> Question | None:
        """Return what a save at `now` asks; None if nothing is ever forgotten.

        `has_damage` says whether the pipeline has payloads that are out of service.
        """
        return self._alone().forgettable(pipeline_id, now, has_damage=has_damage)

    def __or__(self, other: Policy) -> Retention:
        return self._alone() | other

    def __and__(self, limit: Limit) -> Retention:
        return self._alone() & limit

    def _alone(self) -> Retention:
        # Imported here: what combines parts is made of them.
        from checkpointdb.retention.policy import as_retention

        return as_retention(self)


class Rule(Part):
    """What keeps checkpoints."""

    __slots__ = ()
    is_about_metadata: ClassVar[bool] = False  # so that a misspelt field matches nothing

    @abstractmethod
    def kept(self, scope: Scope) -> Select[Any]:
        """Return the row ids of what it keeps, in a fixed order, each with its facts."""


class Limit(Part):
    """What takes away from what rules keep, the oldest first."""

    __slots__ = ()

    @abstractmethod
    def taken(self, scope: Scope, among: CTE) -> Select[Any]:
        """Return the row ids of what it takes of `among`, in a fixed order, with facts."""


def check_integer(value: object, least: int, name: str) -> None:
    """Raise InvalidInputError unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{name} must be an integer of at least {least}, not {value!r}")


def number_text(number: float) -> str:
    """Return a number of the metadata in full, a whole one without a point."""
    return repr(float(number)).removesuffix(".0")


def bound(count: int) -> int:
    """Return a count as databases take it; of more than they number, all are as good as any."""
    return min(count, 2**63 - 1)


def check_field(path: object) -> None:
    """Raise InvalidInputError unless `path` can name a field of the metadata."""
    if not isinstance(path, str) or not path:
        raise InvalidInputError(f"a metadata field is named by its path, not {path!r}")
    check_path(path)
