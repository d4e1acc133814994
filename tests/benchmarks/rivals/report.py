"""What was measured, as tables and pictures for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .contestants import CONTESTANTS
from .workloads import WORKLOADS

OURS = "checkpointdb"
_HEADING = "## One run\n"


def _seconds(value: float) -> str:
    if value >= 1:
        return f"{value:,.1f} s"
    return f"{value * 1000:,.1f} ms" if value >= 0.01 else f"{value * 1000:.2f} ms"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.1f} MB" if value < 1e8 else f"{value / 1e6:,.0f} MB"


MEASURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "save_seconds": ("Saving all steps", _seconds),
    "load_seconds": ("Loading the last state", _seconds),
    "key_seconds": ("Loading one key of it", _seconds),
    "stored_bytes": ("Bytes on the disk after the run", _megabytes),
    "save_peak_bytes": ("Memory that a save takes at most, beyond the state", _megabytes),
    "load_peak_bytes": ("Memory that a load takes at most, its result included", _megabytes),
}


def page(results: dict[str, dict[str, Any]], about: dict[str, str]) -> str:
    """Return the tables as Markdown."""
    return "\n".join(
        [*_about(about), *_contestants(results), *_workloads(results), *_tables(results)]
    )


def _about(about: dict[str, str]) -> Iterator[str]:
    yield from (f"- {name}: {text}" for name, text in about.items())
    yield ""


def _contestants(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "| contestant | settings |"
    yield "|---|---|"
    for name in next(iter(results.values())):
        yield f"| {name} | {getattr(CONTESTANTS[name], 'settings', '')} |"
    yield ""


def _workloads(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "| workload | steps | what it is |"
    yield "|---|--:|---|"
    for name, found in results.items():
        steps = next((each["steps"] for each in found.values() if "steps" in each), 0)
        yield f"| {name} | {steps} | {' '.join((WORKLOADS[name].__doc__ or '').split())} |"
    yield ""


def _tables(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    for measure, (title, shown) in MEASURES.items():
        yield f"### {title}"
        yield ""
        names = list(next(iter(results.values())))
        yield f"| | {' | '.join(names)} |"
        yield f"|---|{'--:|' * len(names)}"
        for workload, found in results.items():
            cells = [_cell(found[name], measure, shown) for name in names]
            yield f"| {workload} | {' | '.join(cells)} |"
        yield ""
    errors = [
        f"- {workload}, {name}: {each['error']}"
        for workload, found in results.items()
        for name, each in found.items()
        if "error" in each
    ]
    yield from ["### What failed", "", *errors, ""] if errors else []


def _cell(found: dict[str, Any], measure: str, shown: Callable[[float], str]) -> str:
    return "failed" if "error" in found else shown(found[measure])


def insert(path: Path, text: str, results: dict[str, dict[str, Any]]) -> None:
    """Replace the run that a page shows, and the pictures beside it."""
    before, heading, _ = path.read_text(encoding="utf-8").partition(_HEADING)
    path.write_text(f"{before}{heading}\n{text}", encoding="utf-8")
    for measure, name in (("save_seconds", "save"), ("stored_bytes", "bytes")):
        picture = path.parent / "pictures" / f"beside-others-{name}.svg"
        picture.parent.mkdir(exist_ok=True)
        picture.write_text(bars(results, measure), encoding="utf-8")


# --- a picture: for each workload a bar per contestant, in multiples of ours, to the power of two

_ROW, _BAR, _LEFT, _WIDTH = 13, 10, 150, 760
_COLOURS = ("#2f6f4f", "#8d99ae", "#6d8fb3", "#b08968", "#8f6fae", "#5f9ea0", "#c07f7f", "#bbbbbb")


def bars(results: dict[str, dict[str, Any]], measure: str) -> str:
    """Return an SVG of a measure: bars in multiples of ours, on a logarithmic scale."""
    from math import log2

    title = MEASURES[measure][0]
    names = list(next(iter(results.values())))
    least, most = -2.0, 7.0  # a quarter of ours, and 128 times as much
    unit = (_WIDTH - _LEFT - 60) / (most - least)
    ours_x = _LEFT - least * unit
    parts, y = [], 44.0
    for column, name in enumerate(names):
        x = 10 + column * (_WIDTH - 20) / len(names)
        parts.append(f'<rect x="{x:.0f}" y="24" width="9" height="9" fill="{_COLOURS[column]}"/>')
        parts.append(f'<text x="{x + 12:.0f}" y="33">{name}</text>')
    for workload, found in results.items():
        middle = y + _ROW * len(names) / 2 + 4
        parts.append(f'<text x="10" y="{middle:.0f}">{workload.replace("_", " ")}</text>')
        for column, name in enumerate(names):
            each = found[name]
            if "error" not in each and "error" not in found[OURS]:
                ratio = each[measure] / found[OURS][measure]
                end = _LEFT + (min(max(log2(ratio), least), most) - least) * unit
                parts.append(
                    f'<rect x="{_LEFT}" y="{y:.0f}" width="{end - _LEFT:.1f}" height="{_BAR}" '
                    f'fill="{_COLOURS[column]}"/>'
                    f'<text x="{end + 4:.1f}" y="{y + 9:.0f}" font-size="9">{ratio:.2g} ×</text>'
                )
            y += _ROW
        y += 10
    line = f'<line x1="{ours_x:.1f}" x2="{ours_x:.1f}" y1="40" y2="{y - 6:.0f}" stroke="#888"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y:.0f}" '
        'font-family="sans-serif" font-size="11" fill="#777">'
        f"<title>{title}, in multiples of {OURS}</title>"
        f'<text x="10" y="14" font-size="13">{title}: how many times that of {OURS} '
        "(logarithmic)</text>"
        f"{''.join(parts)}{line}</svg>\n"
    )
