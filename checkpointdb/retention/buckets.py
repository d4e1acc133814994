"""Calendar rules: the newest of each of the last hours, days, weeks, months, years, in UTC.

A kind of bucket is a row of the table below: how SQLite and PostgreSQL say where the one begins
that a time falls in. A week begins on Monday.

From a bucket it goes to the newest time before it, and so to the next bucket: by an index, a step
for each that is kept. (To group all checkpoints by bucket costs 0.1 s for 100 000, for each rule.)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    ScalarSelect,
    Select,
    Text,
    and_,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import InternalTraversal

from checkpointdb.retention.parts import Rule, Scope, bound, check_integer
from checkpointdb.schema import UtcDateTime, checkpoints


class Kind(NamedTuple):
    """How a kind of bucket is called; its beginning, by strftime, by date_trunc and to_char."""

    name: str
    strftime: str
    unit: str
    to_char: str
    modifiers: tuple[str, ...] = ()


HOURLY = Kind("hourly", "%Y-%m-%d %H:00", "hour", 'YYYY-MM-DD HH24":00"')
DAILY = Kind("daily", "%Y-%m-%d", "day", "YYYY-MM-DD")
# To the Monday on or before: SQLite knows ISO weeks only since 3.46, and its %W cuts the week
# of New Year in two.
WEEKLY = Kind("weekly", "%Y-%m-%d", "week", "YYYY-MM-DD", ("-6 days", "weekday 1"))
MONTHLY = Kind("monthly", "%Y-%m", "month", "YYYY-MM")
# With a hyphen: times are kept in a column of numeric affinity, for which 2026 is a number.
YEARLY = Kind("yearly", "%Y-", "year", "YYYY")


class Beginning(FunctionElement[Any]):
    """The beginning of the bucket that a time falls in, to be compared with times.

    In SQLite it is the beginning of their text, which sorts before all that begin so.
    """

    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012  # of the cache's key, as SQLAlchemy has it
        *FunctionElement._traverse_internals,
        ("kind", InternalTraversal.dp_plain_obj),  # is written into the text
    ]

    def __init__(self, kind: Kind, time: ColumnElement[Any] | ScalarSelect[Any]) -> None:
        super().__init__(time)
        self.kind = kind


class Name(Beginning):
    """The text of a beginning."""

    inherit_cache = True
    type = Text()


@compiles(Beginning, "sqlite")
def _begin_in_sqlite(beginning: Beginning, compiler: Any, **options: Any) -> str:
    kind = beginning.kind
    time = compiler.process(beginning.clauses, **options)
    # To the second: before 3.43 a modifier rounds, and 23:59:59.9995 would be of the next day.
    second = f"substr({time}, 1, 19)"
    return "strftime(" + ", ".join([f"'{kind.strftime}'", second, *map(repr, kind.modifiers)]) + ")"


@compiles(Name, "sqlite")
def _name_in_sqlite(name: Name, compiler: Any, **options: Any) -> str:
    return f"rtrim({compiler.process(name.clauses, **options)}, '-')"


@compiles(Beginning, "postgresql")
def _begin_in_postgresql(beginning: Beginning, compiler: Any, **options: Any) -> str:
    time = compiler.process(beginning.clauses, **options)
    return f"date_trunc('{beginning.kind.unit}', {time} AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"


@compiles(Name, "postgresql")
def _name_in_postgresql(name: Name, compiler: Any, **options: Any) -> str:
    time = compiler.process(name.clauses, **options)
    return f"to_char({time} AT TIME ZONE 'UTC', '{name.kind.to_char}')"


@dataclass(frozen=True, slots=True)
class CalendarRule(Rule):
    """Keep the newest of each of the last `count` buckets that have one.

    Raises InvalidInputError if `count` is no integer of at least 1.
    """

    kind: ClassVar[Kind]
    count: int

    def __post_init__(self) -> None:
        check_integer(self.count, 1, f"the number of {self.kind.name} checkpoints to keep")

    def kept(self, scope: Scope) -> Select[Any]:
        buckets = self._buckets(scope)
        newest = (
            select(func.max(checkpoints.c.id))
            .where(_is_counted(scope))
            .where(checkpoints.c.created_at >= buckets.c.beginning)
            .where(checkpoints.c.created_at < buckets.c.until)
            .correlate(buckets)
            .scalar_subquery()
        )
        return (
            select(newest.label("id"), Name(self.kind, buckets.c.beginning))
            .where(buckets.c.beginning.is_not(None))
            .order_by(buckets.c.number)
        )

    def _buckets(self, scope: Scope) -> CTE:
        """Return the last buckets that have a checkpoint, newest first: from when until when."""
        # Times have microseconds: before this one are those up to now.
        after_now = literal(scope.now + timedelta(microseconds=1), UtcDateTime)
        last = select(
            literal(1).label("number"),
            Beginning(self.kind, _newest_before(scope, after_now)).label("beginning"),
            after_now.label("until"),
        ).cte("buckets", recursive=True)
        before = Beginning(self.kind, _newest_before(scope, last.c.beginning).correlate(last))
        return last.union_all(
            select(last.c.number + 1, before, last.c.beginning)
            .where(last.c.number < bound(self.count))
            .where(before < last.c.beginning)  # or there is none; and so it ends, whatever else
        )

    def reason(self, *facts: Any) -> str:
        return f"{self.kind.name} {facts[0]}"

    def __str__(self) -> str:
        return f"{self.kind.name} {self.count}"


def _newest_before(scope: Scope, time: ColumnElement[Any]) -> ScalarSelect[Any]:
    return (
        select(checkpoints.c.created_at)
        .where(_is_counted(scope))
        .where(checkpoints.c.created_at < time)
        .order_by(checkpoints.c.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )


def _is_counted(scope: Scope) -> ColumnElement[bool]:
    """Say whether a checkpoint is the pipeline's and not pinned, on the index of its times."""
    pinned = checkpoints.alias()
    return and_(
        scope.is_in(),
        checkpoints.c.id.not_in(
            select(pinned.c.id)
            .where(pinned.c.pipeline_id == scope.pipeline_id)
            .where(pinned.c.pinned == true())
        ),
    )


class KeepHourly(CalendarRule):
    """Keep the newest of each of the last `count` hours that have a checkpoint."""

    __slots__ = ()
    kind = HOURLY


class KeepDaily(CalendarRule):
    """Keep the newest of each of the last `count` days that have a checkpoint."""

    __slots__ = ()
    kind = DAILY


class KeepWeekly(CalendarRule):
    """Keep the newest of each of the last `count` weeks (from Monday) that have a checkpoint."""

    __slots__ = ()
    kind = WEEKLY


class KeepMonthly(CalendarRule):
    """Keep the newest of each of the last `count` months that have a checkpoint."""

    __slots__ = ()
    kind = MONTHLY


class KeepYearly(CalendarRule):
    """Keep the newest of each of the last `count` years that have a checkpoint."""

    __slots__ = ()
    kind = YEARLY
