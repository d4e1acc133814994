"""Who holds payloads back, and until when: by one clock for all who share the rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from checkpointdb.schema import UtcDateTime, leases


class _Clock(FunctionElement[datetime]):
    """The time in so many seconds: a server's own, whose machines may not agree; else as given."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(_Clock)
def _given(clock: _Clock, compiler: Any, **options: Any) -> str:
    given, _ = clock.clauses
    return str(compiler.process(given, **options))


@compiles(_Clock, "postgresql")
def _of_the_server(clock: _Clock, compiler: Any, **options: Any) -> str:
    _, seconds = clock.clauses
    return f"clock_timestamp() + make_interval(secs => {compiler.process(seconds, **options)})"


def clock(now: datetime, *, in_seconds: float = 0.0) -> _Clock:
    """Return the time in so many seconds, `now` being this machine's."""
    later = now + timedelta(seconds=in_seconds)
    return _Clock(literal(later, UtcDateTime()), literal(in_seconds))


@cache
def open_leases() -> Select[Any]:
    """Return the purposes of the leases that have not expired at `now`, bound as a time."""
    now = _Clock(bindparam("now", type_=UtcDateTime()), literal(0.0))
    return select(leases.c.purpose).where(leases.c.expires_at > now).order_by(leases.c.purpose)
