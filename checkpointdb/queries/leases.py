"""Who holds payloads back."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select

from checkpointdb.schema import leases


@cache
def open_leases() -> Select[Any]:
    """Return the purposes of the leases that have not expired at `now`, bound as a time."""
    now = bindparam("now", type_=leases.c.expires_at.type)
    return select(leases.c.purpose).where(leases.c.expires_at > now).order_by(leases.c.purpose)
