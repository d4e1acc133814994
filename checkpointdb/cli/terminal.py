"""Text for people: without what would steer a terminal, and tables."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import click

_JOINER = "\u200d"  # holds emoji together; a format character like those that turn text around


def safe(text: str, *, lines: bool = False) -> str:
    """Return `text` with every character that is not printed escaped; `lines` keeps newlines.

    Ids, keys and values are anybody's: what they hold must not move the cursor, turn text around
    or begin a line of its own.
    """
    if text.isprintable():
        return text
    kept = "\n\t" + _JOINER if lines else _JOINER
    return "".join(
        each if each.isprintable() or each in kept else each.encode("unicode_escape").decode()
        for each in text
    )


def size(count: int | None) -> str:
    """Return a number of bytes as people read it."""
    if count is None:
        return ""
    if count < 1_000:
        return f"{count} B"
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1_000**power:.4g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return how many there are of something: 1 problem, 2 problems; `many` may say more."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def moment(timestamp: str) -> str:
    """Return the day and second of an ISO time."""
    return timestamp[:19].replace("T", " ")


class Table(NamedTuple):
    """Columns and rows; numbers and sizes stand at the right."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def write(part: str | Table, *, err: bool = False) -> None:
    """Print text or a table, which is drawn on a terminal and aligned elsewhere."""
    if isinstance(part, str):
        click.echo(part, err=err)
    elif (sys.stderr if err else sys.stdout).isatty():
        _draw(part, err)
    else:
        click.echo("\n".join(_aligned(part)), err=err)


def _cells(table: Table) -> list[list[str]]:
    return [["" if cell is None else safe(str(cell)) for cell in row] for row in table.rows]


def _at_right(table: Table) -> list[bool]:
    names = enumerate(table.columns)
    return [
        "bytes" in name or any(isinstance(row[at], (int, float)) for row in table.rows)
        for at, name in names
    ]


def _aligned(table: Table) -> list[str]:
    lines = [[safe(name) for name in table.columns], *_cells(table)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    signs = [">" if right else "<" for right in _at_right(table)]
    return [
        "  ".join(
            f"{cell:{sign}{width}}" for cell, sign, width in zip(line, signs, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _draw(table: Table, err: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text  # never markup: an id may look like it

    drawn = Drawn(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, right in zip(table.columns, _at_right(table), strict=True):
        drawn.add_column(Text(safe(name)), justify="right" if right else "left", overflow="fold")
    for row in _cells(table):
        drawn.add_row(*map(Text, row))
    Console(stderr=err).print(drawn)
