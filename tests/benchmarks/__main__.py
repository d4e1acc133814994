"""Run the benchmarks and print their figures: `python -m tests.benchmarks`, `make bench-naive`."""

from __future__ import annotations

import argparse
import json
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from . import machine
from .figures import Figure, Setting, table

BENCHMARKS = (
    "text",
    "array",
    "small",
    "background",
    "encryption",
    "memory",
    "streamed",
    "import",
    "chain",
    "forget",
    "growing",
    "many_keys",
    "writers",
    "million",
    "retention",
)
HEADINGS = ("", "value", "target", "", "ours", "beside")
NUMBERS = (1, 2, 4, 5)


def run(name: str, setting: Setting) -> Iterator[Figure]:
    """Run one benchmark in a folder that is removed after it."""
    module = import_module(f".bench_{name}", __package__)
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", dir=setting.folder) as folder:
        own = Setting(Path(folder), setting.durable, setting.quick, setting.explain)
        yield from module.run(own)


def row(figure: Figure) -> tuple[str, ...]:
    mark = {None: "", True: "✓", False: "✗ missed"}[figure.is_met]
    digits = 2 if figure.value < 10 else 0 if figure.value >= 100 else 1
    value = f"{figure.value:,.{digits}f} {figure.unit}"
    return (figure.what, value, figure.target, mark, figure.ours, figure.other)


def lines(named: dict[str, list[Figure]]) -> Iterator[str]:
    """Lay out all figures as one table, with a heading for each benchmark."""
    rows = [HEADINGS] + [row(figure) for figures in named.values() for figure in figures]
    laid_out = iter(table(rows, NUMBERS))
    yield next(laid_out)
    for name, figures in named.items():
        yield f"-- {name}"
        for _ in figures:
            yield next(laid_out)


def report(named: dict[str, list[Figure]], about: dict[str, str]) -> str:
    indent = " " * 14
    head = [
        textwrap.fill(text, 100, initial_indent=f"{name:14}", subsequent_indent=indent)
        for name, text in about.items()
    ]
    return "\n".join([*head, "", *lines(named)])


def insert(page: Path, text: str) -> None:
    """Replace the run that a page of the documentation shows."""
    before, heading, _ = page.read_text(encoding="utf-8").partition("## One run\n")
    page.write_text(f"{before}{heading}\n```\n{text}\n```\n", encoding="utf-8")


def as_json(named: dict[str, list[Figure]], about: dict[str, str]) -> dict[str, Any]:
    return {
        "about": about,
        "figures": {name: [each.as_json() for each in found] for name, found in named.items()},
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all if none")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller: a rough look")
    parser.add_argument("--not-durable", action="store_true", help="no fsync, on either side")
    parser.add_argument("--explain", action="store_true", help="say more about slow parts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples here")
    parser.add_argument("--page", type=Path, metavar="FILE", help="show this run on a page")
    parser.add_argument("--folder", type=Path, help="measure on this file system")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}: {BENCHMARKS}")
    return options


def measured(names: Iterable[str], setting: Setting) -> dict[str, list[Figure]]:
    """Run benchmarks one after the other, saying which as they end."""
    named = {}
    for name in names:
        begun = time.perf_counter()
        named[name] = list(run(name, setting))
        print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)
    return named


def main() -> None:
    options = arguments()
    folder = options.folder or Path(tempfile.gettempdir())
    setting = Setting(folder, not options.not_durable, options.quick, options.explain)
    about = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"} | machine.describe(setting)
    about["load before"] = machine.load()
    named = measured(options.names or BENCHMARKS, setting)
    about["load after"] = machine.load()
    text = report(named, about)
    print(f"\n{text}")
    if options.page:
        insert(options.page, text)
    if options.json:
        samples = json.dumps(as_json(named, about), indent=1, ensure_ascii=False)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(samples + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
