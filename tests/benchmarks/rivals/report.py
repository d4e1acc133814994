"""What was measured, as tables and pictures for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .contestants import CONTESTANTS
from .pictures import FLOORS, OURS, bars
from .workloads import WORKLOADS

_HEADING = "## One run\n"


def _seconds(value: float) -> str:
    if value >= 1:
        return f"{value:,.1f} s"
    return f"{value * 1000:,.1f} ms" if value >= 0.01 else f"{value * 1000:.2f} ms"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.1f} MB" if value < 1e8 else f"{value / 1e6:,.0f} MB"


MEASURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "save_seconds": ("Saving all steps", _seconds),
    "first_save_seconds": ("Of that the first step", _seconds),
    "load_seconds": ("Loading the last state", _seconds),
    "key_seconds": ("Loading one key of it", _seconds),
    "stored_bytes": ("Bytes on the disk after the run", _megabytes),
    "save_peak_bytes": ("Memory that a save takes at most, beyond the state", _megabytes),
    "load_peak_bytes": ("Memory that a load takes at most, its result included", _megabytes),
}


PICTURES = {"save_seconds": "save", "load_seconds": "load", "stored_bytes": "bytes"}


def page(results: dict[str, dict[str, Any]], about: dict[str, str]) -> str:
    """Return the tables as Markdown."""
    return "\n".join(
        [
            *_about(about),
            *_contestants(results),
            *_workloads(results),
            *_targets(results),
            *_tables(results),
            *_made_of(results),
        ]
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


def _targets(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Each workload beside what this project promises itself; where it misses, it says so."""
    needed = (OURS, "naive", *FLOORS)
    if not set(needed) <= next(iter(results.values())).keys():
        return
    yield "### Beside the targets"
    yield ""
    yield (
        "| | save ÷ naive | save ÷ floor | load ÷ floor | bytes ÷ least of all "
        "| save ÷ floor and rows | load ÷ floor and rows |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for workload, found in results.items():
        if any("error" in found[each] for each in needed):
            continue
        ours, naive, floor, recorded = (found[each] for each in needed)
        least = min(
            each["stored_bytes"]
            for name, each in found.items()
            if name not in {OURS, *FLOORS} and "error" not in each
        )
        cells = [
            _beside(ours["save_seconds"] / naive["save_seconds"], _NAIVE.get(workload, 1.0)),
            _beside(ours["save_seconds"] / floor["save_seconds"], 1.3),
            _beside(ours["load_seconds"] / floor["load_seconds"], 1.3),
            _beside(ours["stored_bytes"] / least, 1.1),
            _beside(ours["save_seconds"] / recorded["save_seconds"], 1.3),
            _beside(ours["load_seconds"] / recorded["load_seconds"], 1.3),
        ]
        yield f"| {workload} | {' | '.join(cells)} |"
    yield ""


_NAIVE = {"many_keys": 1.5}  # rows cost


def _beside(ratio: float, most: float) -> str:
    return f"{ratio:.2f} {'✓' if ratio <= most else '✗'}"


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


PARTS = {
    "first_full": "the first full",
    "later_fulls": "later fulls",
    "incrementals": "incrementals",
    "rows": "rows",
    "stored_as_is": "of these files stored as it is",
    "deflated": "which ISA-L would make",
}


def _made_of(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What periodic fulls cost, and what is stored since it hardly shrinks."""
    found = {name: each[OURS]["made_of"] for name, each in results.items() if _has_parts(each)}
    if not found:
        return
    yield f"### Of what the bytes of {OURS} consist"
    yield ""
    yield f"| | {' | '.join(PARTS.values())} |"
    yield f"|---|{'--:|' * len(PARTS)}"
    for workload, parts in found.items():
        yield f"| {workload} | {' | '.join(_megabytes(parts[each]) for each in PARTS)} |"
    yield ""


def _has_parts(found: dict[str, Any]) -> bool:
    return "made_of" in found.get(OURS, {})


def insert(path: Path, text: str) -> None:
    """Replace the run that a page of docs/ shows."""
    before, heading, _ = path.read_text(encoding="utf-8").partition(_HEADING)
    path.write_text(f"{before}{heading}\n{text}", encoding="utf-8")


def draw(folder: Path, results: dict[str, dict[str, Any]]) -> None:
    """Draw each measure that has a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for measure, name in PICTURES.items():
        picture = folder / f"beside-others-{name}.svg"
        picture.write_text(bars(results, measure, MEASURES[measure][0]), encoding="utf-8")
