"""Policies: rules united, and limits on what they keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, Select

from checkpointdb import queries
from checkpointdb.database_errors import asking
from checkpointdb.errors import InvalidInputError
from checkpointdb.retention.exemptions import EXEMPTIONS, PINNED
from checkpointdb.retention.parts import Limit, Part, Rule, Scope
from checkpointdb.retention.rules import KeepAll

# Executes a statement and returns its rows.
Ask: TypeAlias = Callable[[Select[Any]], Iterable[Any]]
Reasons: TypeAlias = dict[int, list[str]]


class Decision(NamedTuple):
    """The row ids of what is kept, and of what limits took, each with the reasons."""

    kept: Reasons
    taken: Reasons


@dataclass(frozen=True, slots=True)
class Retention:
    """Keep what any of `rules` keeps, less what `limits` take of it, one after the other.

    Written `(KeepNewest(10) | KeepDaily(7)) & AtMostBytes(10**9)`. Limits alone take from
    everything. No policy ever forgets what is pinned, what is dated in the future, and the
    checkpoint saved last: limits do not take them. Pinned ones count for neither rules nor
    limits; the others count for limits, also where no rule keeps them.

    Rules about metadata alone that match no checkpoint, pinned ones included, keep all: a misspelt
    field would forget everything.

    What needs a payload that is marked damaged pushes nothing out: kept is what the policy keeps,
    and what it would keep if those checkpoints were not there.

    Raises InvalidInputError if there is neither rule nor limit, or something is none.
    """

    rules: tuple[Rule, ...] = ()
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        # As tuples, whatever list they come in: policies are compared and hashed.
        object.__setattr__(self, "rules", _all_of(self.rules, Rule))
        object.__setattr__(self, "limits", _all_of(self.limits, Limit))
        if not self.rules and not self.limits:
            raise InvalidInputError(
                "an empty policy would keep nothing: give it a rule, such as KeepNewest(10)"
            )

    def __or__(self, other: Policy) -> Retention:
        """Keep also what `other` keeps.

        Raises InvalidInputError if one of them has a limit: `a | b & limit`, which Python reads
        as `a | (b & limit)`, is seldom meant.
        """
        other = as_retention(other)
        if self.limits or other.limits:
            raise InvalidInputError(
                "a limit holds for a whole policy: unite the rules first, (… | …) & limit"
            )
        return Retention(self.rules + other.rules)

    def __and__(self, limit: Limit) -> Retention:
        """Let `limit` take from what is kept. Raises InvalidInputError if it is no limit."""
        if not isinstance(limit, Limit):
            raise InvalidInputError(f"& takes a limit, such as AtMostBytes(10**9), not {limit!r}")
        return Retention(self.rules, (*self.limits, limit))

    def __str__(self) -> str:
        rules = " or ".join(map(str, self.rules)) or "all"
        return ", ".join([rules, *map(str, self.limits)])

    def decide(self, scope: Scope, ask: Ask, damaged: Collection[int] = ()) -> Decision:
        """Return what is kept and what limits take, and why; all else is forgotten too.

        `damaged` are the rows that push nothing out (see `damaged_in`).
        """
        kept, taken = self._decide(scope, ask)
        if damaged:
            # Asked twice, and not by rules that pass over what is damaged: this holds for any rule
            # and limit, and what is damaged is kept no longer, and no shorter, than if it were not.
            beside = self._decide(scope._replace(without=tuple(damaged)), ask).kept
            for row in beside.keys() - kept.keys():
                kept[row] = [f"{reason}, damaged ones not counted" for reason in beside[row]]
                taken.pop(row, None)
        return Decision(kept, taken)

    def _decide(self, scope: Scope, ask: Ask) -> Decision:
        """Decide rule by rule, not in one statement: each is asked once, for ids and reasons."""
        kept = self._kept(scope, ask)
        exempt = exemptions(scope, ask)
        counted = {row for row, reasons in exempt.items() if PINNED.reason() not in reasons}
        taken: Reasons = {}
        for limit in self.limits:
            among = queries.listed(sorted(kept.keys() | counted))
            for row, reasons in _reasons(ask, [(limit, limit.taken(scope, among))]).items():
                kept.pop(row, None)
                if row not in exempt:
                    taken[row] = reasons
        for row, reasons in exempt.items():
            kept[row] = reasons + kept.get(row, [])
        return Decision(kept, taken)

    def _kept(self, scope: Scope, ask: Ask) -> Reasons:
        """Return what the rules keep: all, where they go by metadata that no checkpoint has."""
        rules = self.rules or (KeepAll(),)
        kept = _reasons(ask, ((each, each.kept(scope)) for each in rules))
        if kept or not all(each.is_about_metadata for each in rules):
            return kept
        counted = scope._replace(counts_pinned=True)
        if _reasons(ask, ((each, each.kept(counted)) for each in rules)):
            return kept
        unpinned = scope.all().where(scope.is_unpinned())
        return {row.id: ["no checkpoint matches any rule"] for row in ask(unpinned)}

    def forgettable(
        self, pipeline_id: int, now: datetime, *, has_damage: bool = False
    ) -> Forgettable:
        """Return what a save at `now` asks."""
        return Forgettable(self, Scope(pipeline_id, now), has_damage)


Policy: TypeAlias = Retention | Part


class Forgettable(NamedTuple):
    """The question what a policy forgets."""

    policy: Retention
    scope: Scope
    has_damage: bool

    def run(self, connection: Connection) -> list[tuple[int]]:
        """Ask it, and return the row ids, oldest first."""
        damaged = damaged_in(self.scope, connection.execute) if self.has_damage else ()
        kept = self.policy.decide(self.scope, connection.execute, damaged).kept
        return [(row,) for row in connection.scalars(self.scope.all()) if row not in kept]


def as_retention(policy: object) -> Retention:
    """Return a rule or a limit as a policy. Raises InvalidInputError if it is neither."""
    if isinstance(policy, Retention):
        return policy
    if isinstance(policy, Rule):
        return Retention((policy,))
    if isinstance(policy, Limit):
        return Retention((), (policy,))
    raise InvalidInputError(
        f"{policy!r} is no policy: use rules and limits, such as KeepNewest(10) | KeepDaily(7)"
    )


def damaged_in(scope: Scope, ask: Ask) -> tuple[int, ...]:
    """Return the rows of a pipeline that need a payload which is marked damaged."""
    marked = [row.id for row in ask(queries.marked_in(scope.pipeline_id))]
    if not marked:
        return ()
    return tuple(row.id for row in ask(queries.checkpoints_that_need(marked)))


def exemptions(scope: Scope, ask: Ask) -> Reasons:
    """Return what no policy forgets, each with why."""
    return _reasons(ask, ((each, each.kept(scope)) for each in EXEMPTIONS))


def _all_of(parts: object, kind: type) -> tuple[Any, ...]:
    name = kind.__name__.lower()
    if not isinstance(parts, Iterable):
        raise InvalidInputError(f"a policy takes a list of {name}s, not {parts!r}")
    listed = tuple(parts)
    for each in listed:
        if not isinstance(each, kind):
            raise InvalidInputError(f"{each!r} is no {name} of retention")
    return listed


def _reasons(ask: Ask, asked: Iterable[tuple[Part, Select[Any]]]) -> Reasons:
    found: Reasons = defaultdict(list)
    for part, statement in asked:
        with asking():
            rows = ask(statement)
        for row, *facts in rows:
            reason = part.reason(*facts)
            if reason not in found[row]:
                found[row].append(reason)
    return found
