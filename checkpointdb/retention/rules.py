"""Rules: keep all, the newest, the young, the best, what matches, what is not backed up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    bindparam,
    exists,
    false,
    func,
    select,
)
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import Grouping

from checkpointdb.errors import InvalidInputError
from checkpointdb.retention.parts import (
    Question,
    Rule,
    Scope,
    bound,
    check_field,
    check_integer,
    number_text,
)
from checkpointdb.schema import backed_up, checkpoint_metadata, checkpoints
from checkpointdb.statements import Bound, Prepared


@dataclass(frozen=True, slots=True)
class KeepAll(Rule):
    """Forget nothing, unless a limit takes it."""

    def kept(self, scope: Scope) -> Select[Any]:
        return scope.all().where(scope.is_unpinned())

    def reason(self, *facts: Any) -> str:
        return str(self)

    def forgettable(self, pipeline_id: int, now: datetime, *, has_damage: bool = False) -> None:
        return None

    def __str__(self) -> str:
        return "all"


@dataclass(frozen=True, slots=True)
class KeepNewest(Rule):
    """Keep the `count` checkpoints saved last.

    Last by row id: a machine whose clock lags must not lose what it just saved.

    Raises InvalidInputError if `count` is no integer of at least 1.
    """

    count: int

    def __post_init__(self) -> None:
        check_integer(self.count, 1, "the number of newest to keep")

    def kept(self, scope: Scope) -> Select[Any]:
        newest = (
            select(checkpoints.c.id)
            .where(scope.is_unpinned())
            .order_by(checkpoints.c.id.desc())
            .limit(bound(self.count))
            .subquery()
        )
        rank = func.row_number().over(order_by=newest.c.id.desc())
        return select(newest.c.id, rank).order_by(newest.c.id.desc())

    def reason(self, *facts: Any) -> str:
        return f"newest {facts[0]} of {self.count}"

    def forgettable(self, pipeline_id: int, now: datetime, *, has_damage: bool = False) -> Question:
        if has_damage:
            return self._alone().forgettable(pipeline_id, now, has_damage=True)
        count = bound(self.count)
        return Bound(_BEYOND, {"pipeline_id": pipeline_id, "count": count, "now": now})

    def __str__(self) -> str:
        return f"newest {self.count}"


@dataclass(frozen=True, slots=True)
class KeepWithin(Rule):
    """Keep what was created within the last `age`: so many days, or a timedelta.

    Raises InvalidInputError if it is neither, or negative.
    """

    age: timedelta | int

    def __post_init__(self) -> None:
        if isinstance(self.age, timedelta):
            if self.age < timedelta(0):
                raise InvalidInputError(f"the age to keep must not be negative: {self.age}")
        else:
            check_integer(self.age, 0, "the days to keep")

    def kept(self, scope: Scope) -> Select[Any]:
        young = scope.all().where(scope.is_unpinned()).where(checkpoints.c.created_at <= scope.now)
        oldest = self._oldest(scope.now)
        if oldest is not None:
            young = young.where(checkpoints.c.created_at >= oldest)
        return young

    def reason(self, *facts: Any) -> str:
        return str(self)

    def forgettable(
        self, pipeline_id: int, now: datetime, *, has_damage: bool = False
    ) -> Bound | None:
        oldest = self._oldest(now)
        if oldest is None:
            return None
        return Bound(_OLDER, {"pipeline_id": pipeline_id, "oldest": oldest})

    def _oldest(self, now: datetime) -> datetime | None:
        try:
            age = self.age if isinstance(self.age, timedelta) else timedelta(days=self.age)
            return now - age
        except OverflowError:  # before the year 1: nothing is that old
            return None

    def __str__(self) -> str:
        if isinstance(self.age, int):
            return f"within {self.age} day{'' if self.age == 1 else 's'}"
        # "30 days, 0:00:00": reasons are listed with commas.
        return f"within {self.age}".removesuffix(", 0:00:00").replace(",", "")


@dataclass(frozen=True, slots=True)
class KeepBest(Rule):
    """Keep the `count` checkpoints whose metadata field `by` is the highest number, or `lowest`.

    `by` is a path as `meta` takes it. Checkpoints that have no number there are no candidates;
    of equal ones the newer is better.

    Raises InvalidInputError if `count` is no integer of at least 1, or `by` no such text.
    """

    is_about_metadata: ClassVar[bool] = True
    count: int
    by: str
    lowest: bool = False

    def __post_init__(self) -> None:
        check_integer(self.count, 1, "the number of best to keep")
        check_field(self.by)

    def kept(self, scope: Scope) -> Select[Any]:
        number = checkpoint_metadata.c.number
        return (
            select(checkpoints.c.id, number)
            .join(checkpoint_metadata, checkpoint_metadata.c.checkpoint_id == checkpoints.c.id)
            .where(scope.is_unpinned())
            .where(checkpoint_metadata.c.key == self.by)
            .where(number.is_not(None))
            .order_by(number.asc() if self.lowest else number.desc(), checkpoints.c.id.desc())
            .limit(bound(self.count))
        )

    def reason(self, *facts: Any) -> str:
        return f"best {self.by} {number_text(facts[0])}"

    def __str__(self) -> str:
        return f"best {self.count} by {'lowest' if self.lowest else 'highest'} {self.by}"


@dataclass(frozen=True, slots=True, eq=False)
class KeepWhere(Rule):
    """Keep what a condition matches, as `list_checkpoints` takes it: `meta("tag") == "x"`.

    `name` is what plans call it. Two of them are equal only if they are the same: whether two
    expressions are is not known here.

    Raises InvalidInputError if `where` is no expression that is true or false, or `name` no text.
    """

    is_about_metadata: ClassVar[bool] = True
    where: ColumnElement[bool]
    name: str = "matches the condition"

    def __post_init__(self) -> None:
        where: object = self.where
        if not _is_condition(where):
            raise InvalidInputError(
                f'KeepWhere takes an expression such as meta("tag") == "x", not {self.where!r}'
            )
        if not isinstance(self.name, str):
            raise InvalidInputError(f"the name of KeepWhere must be text, not {self.name!r}")

    def kept(self, scope: Scope) -> Select[Any]:
        return scope.all().where(scope.is_unpinned()).where(self.where)

    def reason(self, *facts: Any) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class KeepUntilBackedUp(Rule):
    """Keep what no backup has yet: a push to any remote lets it go.

    What keeps it after that is for other rules to say: `KeepNewest(10) | KeepUntilBackedUp()`.
    While no push succeeds nothing new is forgotten.
    """

    def kept(self, scope: Scope) -> Select[Any]:
        in_backup = exists().where(backed_up.c.checkpoint_row == checkpoints.c.id)
        return scope.all().where(scope.is_unpinned()).where(~in_backup)

    def reason(self, *facts: Any) -> str:
        return str(self)

    def __str__(self) -> str:
        return "not backed up yet"


def _is_condition(where: Any) -> bool:
    """Say whether it is true or false; SQLAlchemy gives `~(a & b)` no type."""
    if isinstance(where, Grouping) or getattr(where, "operator", None) is operators.inv:
        return _is_condition(where.element)
    return isinstance(where, ColumnElement) and isinstance(where.type, Boolean)


# --- what each save asks for the policies that have a name, prepared once

_unpinned = (
    select(checkpoints.c.id)
    .where(checkpoints.c.pipeline_id == bindparam("pipeline_id"))
    .where(checkpoints.c.pinned == false())
)
# Looked up by id: the index that lists what is beyond the newest does not know the times.
_BEYOND = Prepared(
    select(checkpoints.c.id)
    .where(
        checkpoints.c.id.in_(
            _unpinned.order_by(checkpoints.c.id.desc()).offset(bindparam("count")).correlate(None)
        )
    )
    .where(checkpoints.c.created_at <= bindparam("now"))
    .order_by(checkpoints.c.id)
)
_OLDER = Prepared(
    _unpinned.where(checkpoints.c.created_at < bindparam("oldest")).order_by(
        checkpoints.c.created_at, checkpoints.c.id
    )
)
