"""Planning: which condition of an expression SQLite should begin with, if any.

Measured on a million checkpoints with SQLite 3.40 (tests/benchmarks/bench_filters.py), for the
newest 50 that match a condition on metadata:

| form          | what SQLite does                                    | 0.01 % | 0.3 % | 1 %  | 90 % |
|---------------|-----------------------------------------------------|--------|-------|------|------|
| id IN (…)     | visits the matches alone, sorts them                | 0.1 ms | 3     | 16   | 680  |
| EXISTS (…)    | walks the newest, asks for the metadata row of each | 125    | 4     | 1.3  | 0.03 |

So matches are counted, up to a bound, and the form that costs less is chosen. PostgreSQL has
statistics and makes the same plan of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BooleanClauseList, Grouping

from checkpointdb.filters.conditions import Condition
from checkpointdb.schema import checkpoints

Count: TypeAlias = Callable[[Select[int]], int]  # executes a statement, returns its one integer

# Microseconds, measured as above.
_VISIT = 1.0  # a match: its checkpoint is anywhere in the table
_ASK_ANYWHERE = 2.0  # a match, and another condition's row of it
_ASK_NEXT = 0.25  # a checkpoint walked past, and its row of metadata
_SMALL = 1_000  # checkpoints that are all walked past in less time than one count takes


def planned(
    where: ColumnElement[bool], count: Count, total: int, wanted: int | None = None
) -> ColumnElement[bool]:
    """Return `where` with each condition in the form that suits how many of `total` it matches.

    The first `wanted` are asked for, in an order that an index gives; None if all are, or if
    they have to be sorted. What is left as `id IN (matches)` is what SQLite begins with.
    """
    parts = list(_parts(where))
    candidates = [part for part in parts if _alternatives(part)]
    first = None
    if candidates and total > _SMALL:
        first = _first(candidates, len(parts) - len(candidates), count, total, wanted or total)
    return and_(*(part if part is first else _asked(part) for part in parts))


def begins_with_matches(where: ColumnElement[bool]) -> bool:
    """Say whether some condition of `where` has every match among its own, and lists them."""
    return any(_alternatives(part) for part in _parts(where))


def estimated_total() -> Select[int]:
    """Estimate the number of checkpoints, from both ends: to count a million takes 30 ms."""
    first = select(func.min(checkpoints.c.id)).scalar_subquery()
    last = select(func.max(checkpoints.c.id)).scalar_subquery()
    return select(func.coalesce(last - first + 1, 0))


def _first(
    candidates: Sequence[ColumnElement[bool]], others: int, count: Count, total: int, wanted: int
) -> ColumnElement[bool] | None:
    """Return the part whose matches are to be visited; None to walk past all checkpoints."""
    # Beyond it, to walk costs less than to visit so many: even a quarter, if all are walked past.
    bound = min(total // 4, math.ceil(2 * math.sqrt(wanted * total)))
    conditions = [_alternatives(part) for part in candidates]
    counts = [sum(count(each.counting(bound)) for each in part) for part in conditions]
    least = min(counts)
    if least >= bound:
        return None
    asked = len(list(chain(*conditions)))
    # As if they were independent; of a count that stopped, the middle by magnitude.
    shares = [max(n, 1) / total if n < bound else math.sqrt(bound / total) for n in counts]
    walked = min(total, wanted / math.prod(shares) * 2**others)
    visiting = least * (_VISIT + _ASK_ANYWHERE * (len(candidates) - 1))
    return candidates[counts.index(least)] if visiting < walked * _ASK_NEXT * asked else None


def _parts(where: ColumnElement[bool]) -> Iterator[ColumnElement[bool]]:
    """Yield the parts that `where` joins by AND."""
    opened = _opened(where)
    if isinstance(opened, BooleanClauseList) and opened.operator is operators.and_:
        for each in opened.clauses:
            yield from _parts(each)
    else:
        yield opened


def _alternatives(part: ColumnElement[bool]) -> list[Condition]:
    """Return the conditions that `part` joins by OR; none if it has anything else in it."""
    opened = _opened(part)
    if isinstance(opened, Condition):
        return [opened]
    if not isinstance(opened, BooleanClauseList) or opened.operator is not operators.or_:
        return []
    found = [_alternatives(each) for each in opened.clauses]
    return list(chain(*found)) if all(found) else []


def _opened(element: Any) -> Any:
    """Return what is in the parentheses."""
    while isinstance(element, Grouping) and not isinstance(element, Condition):
        element = element.element
    return element


def _asked(part: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return `part` with every condition as an EXISTS."""
    return visitors.replacement_traverse(
        part, {}, lambda each, **_: each.asked if isinstance(each, Condition) else None
    )
