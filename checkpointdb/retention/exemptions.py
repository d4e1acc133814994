"""Exemptions: the rules that are part of every policy, and from which no limit takes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select, true

from checkpointdb.retention.parts import Rule, Scope
from checkpointdb.schema import checkpoints


class Pinned(Rule):
    """Somebody asked for it."""

    __slots__ = ()

    def kept(self, scope: Scope) -> Select[Any]:
        return scope.all().where(checkpoints.c.pinned == true())

    def reason(self, *facts: Any) -> str:
        return "pinned"


class InTheFuture(Rule):
    """Its time is after now: some clock is wrong, and its age is unknown."""

    __slots__ = ()

    def kept(self, scope: Scope) -> Select[Any]:
        return scope.all().where(checkpoints.c.created_at > scope.now)

    def reason(self, *facts: Any) -> str:
        return "in the future"


class SavedLast(Rule):
    """It is what the pipeline goes on from: by row, never by the clock."""

    __slots__ = ()

    def kept(self, scope: Scope) -> Select[Any]:
        return (
            select(checkpoints.c.id).where(scope.is_in()).order_by(checkpoints.c.id.desc()).limit(1)
        )

    def reason(self, *facts: Any) -> str:
        return "saved last"


PINNED = Pinned()
EXEMPTIONS = (PINNED, InTheFuture(), SavedLast())
