"""Conditions: tests of checkpoints by what other tables say of them."""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Exists,
    Select,
    exists,
    func,
    literal_column,
    select,
)
from sqlalchemy.sql.elements import Grouping

from checkpointdb import queries
from checkpointdb.errors import InvalidInputError
from checkpointdb.schema import backed_up, chains, checkpoints, entries
from checkpointdb.text import storable

Rows: TypeAlias = Select[int] | CompoundSelect[int]

_NEVER = 2**63 - 1  # after every depth


class Condition(Grouping[bool]):
    """A test of checkpoints that combines by `&`, `|`, `~` and `and_` with any other expression.

    It is written `id IN (matches)`; `asked` means the same, asked of each checkpoint visited.
    """

    inherit_cache = True

    def __init__(self, question: str, matches: Rows, asked: Exists) -> None:
        super().__init__(checkpoints.c.id.in_(matches))
        self.question = question
        self.matches = matches
        self.asked = asked

    def __repr__(self) -> str:
        return f"<Condition {self.question}>"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"{self.question} is a question to the database, neither true nor false here: combine "
            "conditions by & | ~ (each in parentheses) instead of `and`, `or`, `not`, and write "
            "a <= x <= b as meta(…).between(a, b)"
        )

    def counting(self, bound: int) -> Select[int]:
        """Count the checkpoints that match, at most up to `bound`."""
        return select(func.count()).select_from(self.matches.limit(bound).subquery())


def is_backed_up() -> Condition:
    """Match checkpoints that a backup has, whichever; `~is_backed_up()` those that none has yet."""
    row = backed_up.c.checkpoint_row
    asked = exists(row).where(row == checkpoints.c.id).correlate(checkpoints)
    return Condition("is_backed_up()", select(row).distinct().correlate(None), asked)


def has_key(key: str) -> Condition:
    """Match checkpoints whose state has `key`.

    Raises InvalidInputError if `key` is no text that a state can have as a key.
    """
    if not isinstance(key, str):
        raise InvalidInputError(f"a key is text, not {type(key).__name__}")
    is_key = entries.c.key == storable(str.__str__(key), "the key")
    asked = (
        exists(entries.c.chain_id)
        .where(entries.c.chain_id == checkpoints.c.chain_id)
        .where(is_key)
        .where(entries.c.value_id.is_not(None))
        .where(queries.covers(checkpoints.c.depth))
        .correlate(checkpoints)
    )
    return Condition(f"has_key({key!r})", _holders(is_key), asked)


def _holders(is_key: ColumnElement[bool]) -> Select[int]:
    """Return the checkpoints that have a key, sought chain by chain.

    There are far fewer chains than checkpoints, and an index on the key would cost every save.
    """
    holder = checkpoints.alias()
    return (
        select(holder.c.id)
        .select_from(chains)
        # Could `chains` be searched, SQLite without statistics would read all entries instead.
        .join(entries, entries.c.chain_id == unsearched(chains.c.id))
        .join(holder, holder.c.chain_id == entries.c.chain_id)
        .where(is_key)
        .where(entries.c.value_id.is_not(None))
        .where(holder.c.depth >= entries.c.from_depth)
        # `covers` has an OR, which SQLite does not turn into the end of a range.
        .where(holder.c.depth < func.coalesce(entries.c.to_depth, _NEVER))
        .correlate(None)
    )


def unsearched(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column of integers such that no planner searches an index for it."""
    return column + literal_column("0")
