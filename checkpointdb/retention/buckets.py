"""Calendar rules: the newest of each of the last hours, days, weeks, months, years, in UTC.

A kind of bucket is a row of the table below: how SQLite and PostgreSQL name the one that a time
falls in, so that the names sort as the times do. A week is named by its Monday.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import ColumnElement, Select, Text, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from checkpointdb.retention.parts import Rule, Scope, check_integer
from checkpointdb.schema import checkpoints


class Kind(NamedTuple):
    """How a kind of bucket is called, and named: by strftime, by date_trunc and to_char."""

    name: str
    strftime: str
    to_char: str
    unit: str
    modifiers: tuple[str, ...] = ()


HOURLY = Kind("hourly", "%Y-%m-%d %H:00", 'YYYY-MM-DD HH24":00"', "hour")
DAILY = Kind("daily", "%Y-%m-%d", "YYYY-MM-DD", "day")
# To the Monday on or before: SQLite knows ISO weeks only since 3.46, and its %W cuts the week
# of New Year in two.
WEEKLY = Kind("weekly", "%Y-%m-%d", "YYYY-MM-DD", "week", ("-6 days", "weekday 1"))
MONTHLY = Kind("monthly", "%Y-%m", "YYYY-MM", "month")
YEARLY = Kind("yearly", "%Y", "YYYY", "year")


class Bucket(FunctionElement[str]):
    """The name of the bucket that a checkpoint's time falls in."""

    type = Text()
    inherit_cache = False  # the kind is written into the text

    def __init__(self, kind: Kind) -> None:
        super().__init__(checkpoints.c.created_at)
        self.kind = kind


@compiles(Bucket, "sqlite")
def _in_sqlite(bucket: Bucket, compiler: Any, **options: Any) -> str:
    time = compiler.process(checkpoints.c.created_at, **options)
    kind = bucket.kind
    return "strftime(" + ", ".join([f"'{kind.strftime}'", time, *map(repr, kind.modifiers)]) + ")"


@compiles(Bucket, "postgresql")
def _in_postgresql(bucket: Bucket, compiler: Any, **options: Any) -> str:
    time = compiler.process(checkpoints.c.created_at, **options)
    kind = bucket.kind
    return f"to_char(date_trunc('{kind.unit}', {time} AT TIME ZONE 'UTC'), '{kind.to_char}')"


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
        bucket: ColumnElement[Any] = Bucket(self.kind).label("bucket")
        return (
            select(func.max(checkpoints.c.id).label("id"), bucket)
            .where(scope.is_unpinned())
            .where(checkpoints.c.created_at <= scope.now)
            .group_by(bucket)
            .order_by(bucket.desc())
            .limit(self.count)
        )

    def reason(self, *facts: Any) -> str:
        return f"{self.kind.name} {facts[0]}"

    def __str__(self) -> str:
        return f"{self.kind.name} {self.count}"


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
