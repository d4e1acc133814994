"""Planning: which condition of an expression the database should begin with, if any.

Measured on a million checkpoints with SQLite 3.40 (tests/benchmarks/bench_filters.py), for the
newest 50 that match a condition on metadata, in milliseconds:

| form      | what SQLite does                                     | 0.01 % | 0.3 % |  1 % | 90 % |
|-----------|------------------------------------------------------|--------|-------|------|------|
| id IN (…) | visits the matches alone, sorts them                 |    0.1 |     3 |   16 |  680 |
| EXISTS    | walks past the newest, asks for the metadata of each |    125 |     4 |  1.3 | 0.03 |

So matches are counted, up to a bound, and the form that costs less is chosen. PostgreSQL does
the same with each (10 % of 300 000: 65 ms and 1 ms), and gains by the same choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BooleanClauseList, Grouping

from checkpointdb.filters.conditions import Condition
from checkpointdb.schema import checkpoints

# Executes a statement and returns the integer in its only row.
Count: TypeAlias = Callable[[Select[int]], int]

# Microseconds, measured as above.
_VISIT = 1.0  # a match: its checkpoint is anywhere in the table
_ASK_THERE = 2.0  # a match, of another condition: its row is anywhere as well
_ASK_NEXT = 0.25  # a checkpoint walked past, and its row of metadata
_SMALL = 1_000  # checkpoints that are all walked past in less time than one count takes
_MANY = 20_000  # matches that are counted in a millisecond


def planned(
    where: ColumnElement[bool], count: Count, wanted: int | None = None
) -> ColumnElement[bool]:
    """Return `where` with each condition in the form that suits how many it matches.

    The first `wanted` are asked for, in an order that an index gives; None if all are, or if
    they have to be sorted.
    """
    total = count(_estimated_total())
    parts: list[ColumnElement[bool]] = list(_parts(where))
    candidates = [part for part in parts if _alternatives(part)]
    first: ColumnElement[bool] | None = None
    if candidates and total > _SMALL:
        guessed = 2 ** (len(parts) - len(candidates))  # of other parts: that half pass each
        all_wanted = total if wanted is None else max(wanted, 1)
        first = _first(candidates, count, total, all_wanted * guessed)
    return and_(*(part if part is first else _asked(part) for part in parts))


def begins_with_matches(where: ColumnElement[bool]) -> bool:
    """Say whether some condition of `where` lists its matches, with every match of `where`."""
    return any(_alternatives(part) for part in _parts(where))


@cache
def _estimated_total() -> Select[int]:
    """Estimate the number of checkpoints, from both ends: to count a million takes 30 ms."""
    first = select(func.min(checkpoints.c.id)).scalar_subquery()
    last = select(func.max(checkpoints.c.id)).scalar_subquery()
    return select(func.coalesce(last - first + 1, 0))


def _first(
    candidates: Sequence[ColumnElement[bool]], count: Count, total: int, wanted: int
) -> ColumnElement[bool] | None:
    """Return the part whose matches are to be visited; None to walk past the checkpoints.

    `wanted` are to pass the candidates.
    """
    # To visit a quarter of all costs more than to walk past all, and `even` of them as much as to
    # walk until `wanted` are found. Where conditions meet, exact counts tell how far that is.
    even = math.sqrt(wanted * total * _ASK_NEXT / _VISIT)
    bound = min(total // 4, math.ceil(even * (1 if len(candidates) == 1 else 2 * len(candidates))))
    if len(candidates) > 1 and bound > _MANY:
        # To walk on until as many are found costs more than to visit a thousand, whatever share of
        # them the other conditions match: these need not be counted.
        matches = _counted(candidates, count, _SMALL)
        if min(matches) < _SMALL:
            return candidates[matches.index(min(matches))]
    matches = _counted(candidates, count, bound)
    least = min(matches)
    # As if they were independent; of a count that stopped, the middle by magnitude.
    shares = (max(n, 1) / total if n < bound else math.sqrt(bound / total) for n in matches)
    walked = min(total, wanted / math.prod(shares))
    walking = walked * _ASK_NEXT * len(candidates)
    visiting = least * (_VISIT + _ASK_THERE * (len(candidates) - 1))
    return candidates[matches.index(least)] if least < bound and visiting < walking else None


def _counted(parts: Sequence[ColumnElement[bool]], count: Count, bound: int) -> list[int]:
    """Return how many match each part, where they are fewer than `bound`."""
    return [sum(count(each.counting(bound)) for each in _alternatives(part)) for part in parts]


def _parts(where: Any) -> Iterator[Any]:
    """Yield the parts that `where` joins by AND."""
    opened = _opened(where)
    if isinstance(opened, BooleanClauseList) and opened.operator is operators.and_:
        for each in opened.clauses:
            yield from _parts(each)
    else:
        yield where  # in its parentheses, which raw SQL needs


def _alternatives(part: Any) -> list[Condition]:
    """Return the conditions that `part` joins by OR; none if it has anything else in it."""
    part = _opened(part)
    if isinstance(part, Condition):
        return [part]
    if not isinstance(part, BooleanClauseList) or part.operator is not operators.or_:
        return []
    found = [_alternatives(each) for each in part.clauses]
    return list(chain(*found)) if all(found) else []


def _opened(element: Any) -> Any:
    """Return what is in the parentheses."""
    while isinstance(element, Grouping) and not isinstance(element, Condition):
        element = element.element
    return element


def _asked(part: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return `part` with every condition as an EXISTS."""

    def replacement(element: Any, **_: Any) -> Any:
        return element.asked if isinstance(element, Condition) else None

    return visitors.replacement_traverse(part, {}, replacement)
