"""A drawing of the tables and their foreign keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Table

from checkpointdb.schema import metadata

from .drawing import Drawing

# From left to right along what a load asks. A table that is not named here stands below the left.
_COLUMNS: Final = (
    ("pipelines", "chains", "checkpoint_metadata"),
    ("checkpoints", "entries"),
    ("state_values", "value_chunks", "chunks"),
    ("payloads", "members", "keyring", "place", "removals"),
)
_WIDTH, _GAP, _HEAD, _LINE, _MARGIN = 174, 54, 24, 16, 20


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a table is drawn."""

    table: Table
    x: int
    y: int

    @property
    def height(self) -> int:
        return _HEAD + _LINE * len(self.table.c) + 6

    def height_of(self, column: Column[object]) -> int:
        """Return the height at which a column's name stands in the drawing."""
        return self.y + _HEAD + _LINE * list(self.table.c).index(column) + 8


def diagram() -> str:
    """Return the drawing."""
    places = {place.table.name: place for place in _placed()}
    width = max(place.x for place in places.values()) + _WIDTH + 2 * _MARGIN
    bottom = max(place.y + place.height for place in places.values())
    drawing = Drawing(width, bottom + 34, "The tables and their foreign keys")
    for place in places.values():
        _draw_keys(drawing, place, places)
    for place in places.values():
        _draw_table(drawing, place)
    note = "pipeline_id leads to pipelines everywhere; these lines are left out."
    drawing.text(_MARGIN, bottom + 22, note, "dim")
    return drawing.svg()


def _placed() -> Iterator[_Place]:
    named = {name for column in _COLUMNS for name in column}
    others = tuple(name for name in metadata.tables if name not in named)
    for number, names in enumerate(((*_COLUMNS[0], *others), *_COLUMNS[1:])):
        y = _MARGIN
        for name in names:
            place = _Place(metadata.tables[name], _MARGIN + number * (_WIDTH + _GAP), y)
            yield place
            y += place.height + 24


def _draw_table(drawing: Drawing, place: _Place) -> None:
    drawing.box(place.x, place.y, _WIDTH, place.height)
    drawing.text(place.x + 8, place.y + 17, place.table.name, "strong")
    for column in place.table.c:
        look = "code" if column.primary_key or column.foreign_keys else "code dim"
        drawing.text(place.x + 8, place.height_of(column) + 4, column.name, look)


def _draw_keys(drawing: Drawing, place: _Place, places: dict[str, _Place]) -> None:
    for key in sorted(place.table.foreign_keys, key=str):
        target = places[key.column.table.name]
        if target.table.name != "pipelines":
            drawing.path(_course(place, key.parent, target))


def _course(place: _Place, column: Column[object], target: _Place) -> str:
    """Return a curve from a column to the head of the table that it names, with a point there."""
    y, end = place.height_of(column), target.y + 12
    x = place.x if target.x < place.x else place.x + _WIDTH
    to = target.x if target.x > place.x else target.x + _WIDTH
    bend = 34 if x > place.x else -34
    back = 34 if to > target.x else -34
    point = 6 if to > target.x else -6
    return (
        f"M{x} {y} C{x + bend} {y} {to + back} {end} {to} {end} m{point} -4 l{-point} 4 l{point} 4"
    )
