"""A drawing of the figures of docs/explanation/benchmarks.md: faster on the right, slower left."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .drawing import Drawing

_PAGE: Final = Path(__file__).resolve().parents[1] / "explanation" / "benchmarks.md"

# Of the page's lines: what the picture calls it, the benchmark, and its line there.
_SHOWN: Final = (
    ("8 MB of text: first save", "text", "first save, 8 MB"),
    ("one of its documents edited", "text", "later stages, all in one key"),
    ("load", "text", "loads, all in one key"),
    ("50 MB array: first save", "array", "full, 50 MB"),
    ("1 % of it changed", "array", "1 % changed"),
    ("load", "array", "loads"),
    ("a list that grows 300 times", "growing", "300 saves of a growing list: median save"),
    ("its size on disk", "growing", "300 saves of a growing list: with database"),
    ("10 small keys: 1 changed", "small", "1 of 10 keys changed, retention 10"),
    ("10 000 small keys: 3 changed", "many_keys", "3 changed"),
)
_LINE: Final = re.compile(
    r"^(?P<what>\S.*?) {2,}.* (?P<ours>[\d,.]+) (?P<unit>ms|kB|MB)"
    r" +(?P<beside>[\d,.]+) (?P<other>ms|kB|MB)$",
    re.MULTILINE,
)
_NOTE: Final = (
    "Beside gzip.compress(pickle.dumps(state)), one file for each stage. "
    "Ten small keys: beside one file and one row."
)
_UNITS: Final = {"ms": 1.0, "kB": 1e3, "MB": 1e6}
_WIDTH, _ROW, _TOP, _ONE, _DECADE = 800, 28, 48, 390, 104


@dataclass(frozen=True, slots=True)
class _Figure:
    """What one line of a benchmark says of us, and of the naive way beside it."""

    ours: str
    beside: str
    ratio: float


def picture() -> str:
    """Return the drawing."""
    figures = _figures(_PAGE.read_text(encoding="utf-8"))
    height = _TOP + _ROW * len(_SHOWN) + 40
    drawing = Drawing(_WIDTH, height, "checkpointdb beside one gzip-compressed pickle per stage")
    _draw_scale(drawing, height - 34)
    for number, (name, benchmark, line) in enumerate(_SHOWN):
        _draw_figure(drawing, _TOP + number * _ROW, name, figures[benchmark, line])
    drawing.text(20, height - 14, _NOTE, "dim")
    return drawing.svg()


def _figures(page: str) -> dict[tuple[str, str], _Figure]:
    """Return the figures of the page's run that compare two sides, by benchmark and line."""
    found = {}
    for section in page.partition("## One run\n")[2].split("\n-- ")[1:]:
        name, _, lines = section.partition("\n")
        for line in _LINE.finditer(lines):
            found[name, line["what"]] = _figure(line)
    return found


def _figure(line: re.Match[str]) -> _Figure:
    ours = _amount(line["ours"], line["unit"])
    beside = _amount(line["beside"], line["other"])
    return _Figure(
        f"{line['ours']} {line['unit']}", f"{line['beside']} {line['other']}", beside / ours
    )


def _amount(number: str, unit: str) -> float:
    return float(number.replace(",", "")) * _UNITS[unit]


def _draw_scale(drawing: Drawing, bottom: int) -> None:
    """Draw the lines of the scale, on which each decade is as wide as the next."""
    drawing.text(_ONE - 10, 18, "← costs more", "end dim")
    drawing.text(_ONE + 10, 18, "costs less →", "dim")
    for ratio in (0.1, 1, 10, 100):
        x = _ONE + _DECADE * math.log10(ratio)
        drawing.path(f"M{x:g} {_TOP - 8} V{bottom}", "line" if ratio == 1 else "thin")
        drawing.text(x, _TOP - 14, f"{ratio:g} ×", "middle dim")


def _draw_figure(drawing: Drawing, y: int, name: str, figure: _Figure) -> None:
    end = _ONE + _DECADE * math.log10(figure.ratio)
    drawing.text(20, y + 16, name)
    drawing.box(min(_ONE, end), y + 2, abs(end - _ONE), 20, "a" if end > _ONE else "b")
    told = f"{_rounded(figure.ratio)} ×"
    drawing.text(max(end, _ONE) + 8, y + 16, told, "strong")
    drawing.text(_WIDTH - 16, y + 16, f"{figure.ours} : {figure.beside}", "dim end")


def _rounded(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"
