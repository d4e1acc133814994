"""How each contestant grows: `python -m tests.benchmarks.rivals.growth`.

With the number of checkpoints, each of a kilobyte; with the steps of one state that changes a
little, which is as far as a chain of ours goes; and with the size of a state, all of it new. As
everywhere here each save is flushed, so that a million of them take an hour per contestant: ten
thousand unless told. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from .. import machine
from ..figures import seconds, stored
from .contestants import CONTESTANTS, Contestant, State
from .curves import curves
from .measure import check_same, with_peak

Points = list[dict[str, float]]
Results = dict[str, dict[str, tuple[Points, str]]]  # growth → contestant → points, what went wrong

_SAVES = 100  # whose median is shown, at most
_LOADS = 20
_PATIENCE_SECONDS = 6 * 3600
_SMALLEST_BYTES = 8 << 20
_HEADING, _NEXT = "## How it grows\n", "## One run\n"


# --- what is measured


def number(store: Contestant, folder: Path, most: int) -> Iterator[dict[str, float]]:
    """Save small states, and look at each power of ten."""
    numbers = np.random.default_rng(9)
    saves: list[float] = []
    for step in range(most):
        state: State = {"step": step, "noise": numbers.bytes(1000)}
        saves.append(seconds(lambda step=step, state=state: store.save(step, state)))
        count = step + 1
        if count >= 100 and str(count).strip("0") == "1":
            check_same(store.load(step), state)
            earlier = [int(each) for each in numbers.integers(0, count, _LOADS)]
            loads = [seconds(lambda each=each: store.load(each)) for each in earlier]
            yield {
                "at": count,
                "save_seconds": statistics.median(saves[-_SAVES:]),
                "load_seconds": statistics.median(loads),
                "stored_bytes": stored(folder) / count,
            }


def steps(store: Contestant, folder: Path, most: int) -> Iterator[dict[str, float]]:
    """Save a hundred texts of which three change, and look at some of the steps."""
    numbers = np.random.default_rng(11)
    words = [f"word{number}" for number in range(2000)]

    def text() -> str:
        return " ".join(words[each] for each in numbers.integers(0, len(words), 1200))

    state: State = {f"text-{number}": text() for number in range(100)}
    saves: list[float] = []
    for step in range(most):
        if step:
            changed = numbers.choice(100, 3, replace=False)
            state = {**state, **{f"text-{each}": text() for each in changed}}
        saves.append(seconds(lambda step=step, state=state: store.save(step, state)))
        if step + 1 in {1, 10, 50, 100, most}:
            check_same(store.load(step), state)
            loads = [seconds(lambda step=step: store.load(step)) for _ in range(_LOADS)]
            keys = [seconds(lambda step=step: store.load_key(step, "text-50")) for _ in loads]
            yield {
                "at": step + 1,
                "save_seconds": statistics.median(saves[-10:]),
                "load_seconds": statistics.median(loads),
                "key_seconds": statistics.median(keys),
                "stored_bytes": stored(folder) / 1e6,
            }


def size(store: Contestant, folder: Path, most: int) -> Iterator[dict[str, float]]:
    """Save one array, four times as large at each step."""
    numbers = np.random.default_rng(10)
    for step in range(32):
        raw_bytes = min(_SMALLEST_BYTES << 2 * step, most)
        state = {"array": numbers.random(raw_bytes // 4, dtype=np.float32)}
        before = stored(folder)
        spent, peak = with_peak(lambda step=step, state=state: store.save(step, state))
        load, load_peak = with_peak(lambda step=step: store.load(step))
        check_same(store.load(step), state)
        yield {
            "at": raw_bytes,
            "save_seconds": spent,
            "load_seconds": load,
            "stored_bytes": stored(folder) - before,
            "save_peak_bytes": peak,
            "load_peak_bytes": load_peak,
        }
        if raw_bytes == most:
            return


Growth = Callable[[Contestant, Path, int], Iterator[dict[str, float]]]
GROWTHS: dict[str, Growth] = {each.__name__: each for each in (number, steps, size)}
# Each save of these takes longer the more there are, or half a second at once: ten thousand of
# them would take a day.
_FOR_FEW = {"DVC", "restic"}


def measure(growth: str, contestant: str, folder: str, most: str) -> None:
    """Print a line of JSON for each point, so that what was reached before an error is there."""
    with tempfile.TemporaryDirectory(prefix=f"{growth}-", dir=folder) as own:
        store = CONTESTANTS[contestant](Path(own))
        for point in GROWTHS[growth](store, Path(own), int(most)):
            print(json.dumps(point), flush=True)
        store.close()


def measured(growth: str, contestant: str, folder: Path, most: int) -> tuple[Points, str]:
    """Run a contestant in a process of its own; return its points, and what went wrong."""
    code = f"from {__package__}.growth import measure; import sys; measure(*sys.argv[1:])"
    command = [sys.executable, "-c", code, growth, contestant, str(folder), str(most)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired as late:
        output = late.stdout.decode() if isinstance(late.stdout, bytes) else ""
        return _points(output), f"no end within {_PATIENCE_SECONDS} s"
    error = ""
    if done.returncode:
        error = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
    return _points(done.stdout), error


def _points(output: str) -> Points:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


# --- the report

TABLES: dict[str, tuple[tuple[str, str], ...]] = {
    "number": (
        ("save_seconds", "A save, of so many checkpoints (median of the last hundred)"),
        ("load_seconds", "A load of any of them (median of twenty)"),
        ("stored_bytes", "Bytes on the disk for each"),
    ),
    "steps": (
        (
            "save_seconds",
            "A save in which three of a hundred texts are new, by step (median of ten)",
        ),
        ("load_seconds", "A load of the last (median of twenty)"),
        ("key_seconds", "A load of one of its hundred keys (median of twenty)"),
        ("stored_bytes", "Megabytes on the disk for all of them"),
    ),
    "size": (
        ("save_seconds", "A save of an array of so many bytes"),
        ("load_seconds", "A load of it"),
        ("save_peak_bytes", "Memory that the save takes at most, beyond the state"),
        ("load_peak_bytes", "Memory that the load takes at most, its result included"),
    ),
}


def report(results: Results) -> str:
    """Return the tables as Markdown."""
    lines: list[str] = []
    for growth, found in results.items():
        for what, title in TABLES[growth]:
            lines += [*_table(growth, found, what, title), ""]
    failed = [
        f"- {growth}, {name}, after the last point shown: {error}"
        for growth, found in results.items()
        for name, (_, error) in found.items()
        if error
    ]
    return "\n".join([*lines, *failed, ""] if failed else lines)


def _table(
    growth: str, found: dict[str, tuple[Points, str]], what: str, title: str
) -> Iterator[str]:
    ats = sorted({point["at"] for points, _ in found.values() for point in points})
    yield f"### {title}"
    yield ""
    yield f"| | {' | '.join(found)} |"
    yield f"|--:|{'--:|' * len(found)}"
    for at in ats:
        cells = (
            next((_shown(what, each[what]) for each in points if each["at"] == at), "failed")
            for points, _ in found.values()
        )
        yield f"| {_row(growth, at)} | {' | '.join(cells)} |"


def _row(growth: str, at: float) -> str:
    return f"{at / 1e6:,.0f} MB" if growth == "size" else f"{at:,.0f}"


def _shown(what: str, value: float) -> str:
    if what == "stored_bytes":
        return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
    if what.endswith("bytes"):
        return f"{value / 1e6:,.0f} MB"
    return f"{value:,.1f} s" if value >= 1 else f"{value * 1000:,.2f} ms"


def _tick(what: str, value: float) -> str:
    """A power of ten at a picture's side."""
    if what == "stored_bytes":
        return f"{value:,g}"
    if what.endswith("bytes"):
        return f"{value / 1e6:,g} MB"
    return f"{value:,g} s" if value >= 1 else f"{value * 1000:g} ms"


_PANELS = ("save_seconds", "load_seconds", "stored_bytes", "save_peak_bytes")


def draw(folder: Path, results: Results) -> None:
    """Draw each growth, as `growth-NAME.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    for growth, found in results.items():
        titles = {what: title for what, title in TABLES[growth] if what in _PANELS}
        points = {name: points for name, (points, _) in found.items()}
        picture = curves(points, titles, partial(_row, growth), _tick)
        (folder / f"growth-{growth}.svg").write_text(picture, encoding="utf-8")


def insert(path: Path, text: str) -> None:
    """Replace what a page of docs/ shows of it."""
    before, heading, rest = path.read_text(encoding="utf-8").partition(_HEADING)
    _, following, after = rest.partition(_NEXT)
    path.write_text(f"{before}{heading}\n{text.strip()}\n\n{following}{after}", encoding="utf-8")


def main(arguments: Iterable[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.rivals.growth", description=__doc__
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(GROWTHS)}; all if none")
    parser.add_argument("--only", nargs="*", metavar="NAME", choices=CONTESTANTS)
    parser.add_argument("--count", type=int, default=10_000, help="of checkpoints, at most")
    parser.add_argument("--steps", type=int, default=200, help="of one state, at most")
    parser.add_argument("--bytes", type=int, default=2 << 30, help="of a state, at most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw them here")
    parser.add_argument("--page", type=Path, metavar="FILE", help="show this run on a page")
    parser.add_argument("--folder", type=Path, help="measure on this file system")
    options = parser.parse_args(list(arguments))
    if unknown := set(options.names) - set(GROWTHS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    folder = options.folder or Path(tempfile.gettempdir())
    about = f"{machine.load()} before"
    results: Results = {}
    sizes = {"number": options.count, "steps": options.steps, "size": options.bytes}
    for growth in options.names or GROWTHS:
        most, results[growth] = sizes[growth], {}
        for contestant in options.only or CONTESTANTS:
            if growth == "number" and contestant in _FOR_FEW:
                continue
            results[growth][contestant] = measured(growth, contestant, folder, most)
            print(f"{growth:8} {contestant:18} {results[growth][contestant]}", flush=True)
    moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    about = f"Of {moment}; load {about}, {machine.load()} after; the machine of the run below."
    text = f"{about}\n\n{report(results)}"
    print(f"\n{text}")
    if options.page:
        insert(options.page, text)
        draw(options.page.parents[1] / "pictures", results)
    if options.pictures:
        draw(options.pictures, results)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
