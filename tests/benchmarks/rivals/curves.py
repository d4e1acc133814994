"""A picture of a growth: for each measure a panel, with a curve per contestant."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from docs.generate.drawing import Drawing

from .pictures import FLOORS, OURS

Points = Sequence[Mapping[str, float]]
Tick = Callable[[str, float], str]

_WIDTH, _PANEL, _LEFT, _RIGHT, _NAMES = 800, 300, 80, 600, 616
_TOP, _BOTTOM, _LINE = 46, 34, 15  # above and below a panel's curves; between two names
_LEAST = {"save_peak_bytes": 1e6, "load_peak_bytes": 1e6}  # what is less cannot be told from 0


def curves(
    found: Mapping[str, Points], titles: Mapping[str, str], row: Callable[[float], str], tick: Tick
) -> str:
    """Return an SVG of a growth; both scales of each panel are logarithmic, and lower is better.

    `titles` names the panels, `row` a point on the horizontal scale, `tick` a power of ten on the
    other.
    """
    drawing = Drawing(_WIDTH, _PANEL * len(titles), "; ".join(titles.values()))
    for number, (measure, title) in enumerate(titles.items()):
        drawing.text(20, number * _PANEL + 24, title, "strong")
        panel = _Panel(drawing, number * _PANEL, found, measure)
        panel.draw_scales(row, partial(tick, measure))
        panel.draw_curves()
    return drawing.svg()


class _Panel:
    def __init__(
        self, drawing: Drawing, top: float, found: Mapping[str, Points], measure: str
    ) -> None:
        self._drawing = drawing
        self._top, self._bottom = top + _TOP, top + _PANEL - _BOTTOM
        least = _LEAST.get(measure, 0.0)
        self._curves = {
            name: [(each["at"], max(each[measure], least)) for each in points]
            for name, points in found.items()
            if points
        }
        ats, values = zip(*(each for curve in self._curves.values() for each in curve), strict=True)
        self._ats = sorted(set(ats))
        self._least, self._most = _decade(min(values), math.floor), _decade(max(values), math.ceil)

    def _x(self, at: float) -> float:
        return _LEFT + _share(at, self._ats[0], self._ats[-1]) * (_RIGHT - _LEFT)

    def _y(self, value: float) -> float:
        share = _share(value, self._least, self._most)
        return self._bottom - share * (self._bottom - self._top)

    def draw_scales(self, row: Callable[[float], str], tick: Callable[[float], str]) -> None:
        for at in self._ats:
            x = self._x(at)
            self._drawing.path(f"M{x:.1f} {self._top:g} V{self._bottom:g}", "thin")
            self._drawing.text(x, self._bottom + 18, row(at), "middle dim")
        value = self._least
        while value <= self._most * 1.01:
            y = self._y(value)
            self._drawing.path(f"M{_LEFT} {y:.1f} H{_RIGHT}", "thin")
            self._drawing.text(_LEFT - 8, y + 4, tick(value), "end dim")
            value *= 10

    def draw_curves(self) -> None:
        """Draw ours last, above the others, and each name beside its curve's end."""
        ends = sorted((self._y(curve[-1][1]), name) for name, curve in self._curves.items())
        lowest = self._top - _LINE
        for number, (y, name) in enumerate(ends):
            most = self._bottom - (len(ends) - 1 - number) * _LINE  # those below need room, too
            lowest = max(lowest + _LINE, min(y, most))
            x = self._x(self._curves[name][-1][0])
            self._drawing.path(f"M{x:.1f} {y:.1f} L{_NAMES - 4} {lowest:.1f}", "thin")
            self._drawing.text(_NAMES, lowest + 4, name, "strong" if name == OURS else "dim")
        for name in sorted(self._curves, key=lambda name: name == OURS):
            look = "ours" if name == OURS else "floor" if name in FLOORS else "line"
            points = (f"{self._x(at):.1f} {self._y(value):.1f}" for at, value in self._curves[name])
            self._drawing.path(f"M{' L'.join(points)}", look)


def _decade(value: float, rounded: Callable[[float], int]) -> float:
    return 10.0 ** rounded(math.log10(value))


def _share(value: float, least: float, most: float) -> float:
    return math.log(value / least) / math.log(most / least) if most > least else 0.0
