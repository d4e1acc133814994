"""A picture of a measure: for each workload a bar per contestant, in multiples of ours."""

from __future__ import annotations

import math
from typing import Any

from docs.generate.drawing import Drawing

Results = dict[str, dict[str, Any]]

OURS = "checkpointdb"
FLOORS = ("floor", "floor and rows")
_WIDTH, _ROW, _GAP, _TOP = 800, 15, 12, 62
_NAMES, _LEFT, _RIGHT = 250, 260, 760  # where names end, and bars begin and end
_LEAST, _MOST = 1 / 8, 128  # of the scale: what is beyond it ends there, with its number


def bars(results: Results, measure: str, title: str) -> str:
    """Return an SVG; the scale is logarithmic, and shorter is better."""
    names = list(next(iter(results.values())))
    height = _TOP + len(results) * (len(names) * _ROW + _GAP) + 26
    drawing = Drawing(_WIDTH, height, f"{title}, in multiples of {OURS}")
    drawing.text(20, 22, f"{title}: how many times that of {OURS}", "strong")
    drawing.text(_RIGHT, 22, "← less is better", "dim end")
    _draw_scale(drawing, height - 20)
    y = _TOP
    for workload, found in results.items():
        drawing.text(20, y + 12, workload.replace("_", " "), "strong")
        for name in names:
            _draw_bar(drawing, y, name, _ratio(found, name, measure))
            y += _ROW
        y += _GAP
    return drawing.svg()


def _ratio(found: dict[str, Any], name: str, measure: str) -> float | None:
    """How many times ours; None if either failed."""
    if "error" in found[name] or "error" in found.get(OURS, {"error": ""}):
        return None
    return float(found[name][measure] / found[OURS][measure])


def _draw_scale(drawing: Drawing, bottom: float) -> None:
    at = _LEAST
    while at <= _MOST:
        told = f"{at:g} ×" if at >= 1 else f"1/{1 / at:g}"
        drawing.path(f"M{_x(at):g} {_TOP - 8} V{bottom:g}", "line" if at == 1 else "thin")
        drawing.text(_x(at), _TOP - 14, told, "middle dim")
        at *= 2


def _draw_bar(drawing: Drawing, y: float, name: str, ratio: float | None) -> None:
    drawing.text(_NAMES, y + 12, name, "end" if name == OURS else "end dim")
    if ratio is None:
        drawing.text(_LEFT + 6, y + 12, "failed", "dim")
        return
    look = "a" if name == OURS else "pale" if name in FLOORS else "b"
    end = _x(min(max(ratio, _LEAST), _MOST))
    drawing.box(_LEFT, y + 2, max(end - _LEFT, 1), _ROW - 4, look)
    if name != OURS:
        drawing.text(end + 5, y + 12, f"{ratio:.2g} ×" if ratio < 100 else f"{ratio:.0f} ×", "dim")


def _x(ratio: float) -> float:
    share = math.log(ratio / _LEAST) / math.log(_MOST / _LEAST)
    return round(_LEFT + share * (_RIGHT - 40 - _LEFT), 1)
