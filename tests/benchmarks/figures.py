"""What a benchmark yields: figures, and the interleaved timings they come from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

Times = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how thoroughly to measure."""

    folder: Path
    durable: bool = True
    quick: bool = False
    explain: bool = False

    def rounds(self, usual: int) -> int:
        """How often to repeat: a quick run does a fifth of it."""
        return max(3, usual // 5) if self.quick else usual

    def size(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual

    def new_folder(self, name: str) -> Path:
        """Make an empty folder of a name that is free."""
        number = sum(1 for _ in self.folder.iterdir())
        path = self.folder / f"{number:04d}-{name}"
        path.mkdir()
        return path


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: a value, what it was made of, and what it should be."""

    what: str
    value: float
    unit: str
    ours: str = ""
    other: str = ""
    at_least: float | None = None
    at_most: float | None = None
    samples: Times = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"is_met": self.is_met}


def seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def race(
    rounds: int,
    prepare: Callable[[int], T],
    *,
    warm_up: int = 0,
    **contestants: Callable[[T], object],
) -> Times:
    """Time every contestant once a round, in turns, each round beginning with another.

    `prepare` makes what they are all given, and is not timed; `warm_up` rounds do not count.
    """
    names = list(contestants)
    times: Times = {name: [] for name in names}
    for number in range(warm_up + rounds):
        given = prepare(number)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            spent = seconds(lambda name=name, given=given: contestants[name](given))
            if number >= warm_up:
                times[name].append(spent)
    return times


def faster(what: str, times: Times, at_least: float | None = None, other: str = "naive") -> Figure:
    """How many times faster ours is, by medians."""
    ours, theirs = statistics.median(times["ours"]), statistics.median(times[other])
    return Figure(what, theirs / ours, "×", ms(ours), ms(theirs), at_least=at_least, samples=times)


def costlier(what: str, times: Times, other: str, at_most: float | None = None) -> Figure:
    """How many times as long ours takes, by medians."""
    ours, theirs = statistics.median(times["ours"]), statistics.median(times[other])
    return Figure(what, ours / theirs, "×", ms(ours), ms(theirs), at_most=at_most, samples=times)


def ms(spent: float) -> str:
    return f"{spent * 1000:,.1f} ms" if spent >= 0.01 else f"{spent * 1000:.2f} ms"


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 10_000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.0f} GB"


def stored(folder: Path, pattern: str = "*") -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def table(rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> list[str]:
    """Lay out rows in columns as wide as their widest cell; `numbers` are set to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
