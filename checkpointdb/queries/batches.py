"""Long lists of ids, cut to what fits one statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

# SQLite before 3.32 takes 999 bound parameters in a statement, and long lists are no faster.
BATCH = 500


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut `items` into lists that fit one statement."""
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
