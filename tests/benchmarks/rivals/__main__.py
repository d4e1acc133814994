"""Measure checkpointdb beside what people use: `python -m tests.benchmarks.rivals`.

Every contestant keeps every step of every workload, in a process of its own, at equal durability:
when a save returns, it is flushed to the medium. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import machine
from ..figures import Setting
from .contestants import CONTESTANTS
from .report import draw, insert, page
from .workloads import WORKLOADS

Results = dict[str, dict[str, Any]]  # workload → contestant → what `measure` says, or an error

# A process for each of a thousand saves takes longer, and that says enough.
_PATIENCE_SECONDS = 240
_ALL_STEPS = 10**9


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rivals", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(WORKLOADS)}; all if none")
    parser.add_argument("--only", nargs="*", metavar="NAME", help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument(
        "--steps", type=int, default=_ALL_STEPS, help="at most so many of each workload"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw them here")
    parser.add_argument("--page", type=Path, metavar="FILE", help="show this run on a page")
    parser.add_argument("--folder", type=Path, help="measure on this file system")
    options = parser.parse_args()
    if unknown := set(options.names) - set(WORKLOADS) | set(options.only or ()) - set(CONTESTANTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def measured(workload: str, contestant: str, folder: Path, steps: int) -> dict[str, Any]:
    """Run a contestant in a process of its own; what goes wrong is its result."""
    command = [sys.executable, "-m", f"{__package__}.measure", workload, contestant]
    try:
        done = subprocess.run(
            [*command, str(folder), str(steps)],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no end within {_PATIENCE_SECONDS} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["it was killed"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    options = arguments()
    folder = options.folder or Path(tempfile.gettempdir())
    about = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    about |= {
        name: text
        for name, text in machine.describe(Setting(folder)).items()
        if name in {"processor", "system", "file system", "Python", "SQLite"}
    }
    about["packages"] = machine.versions(
        "checkpointdb", "joblib", "diskcache", "disk-objectstore", "sqlitedict",
        "langgraph-checkpoint-sqlite", "dvc", "scikit-learn", "pandas", "numpy",
    )  # fmt: skip
    if options.steps < _ALL_STEPS:
        about["steps"] = f"at most {options.steps} of each workload: a rough look"
    about["load before"] = machine.load()
    results: Results = {}
    for workload in options.names or WORKLOADS:
        results[workload] = {}
        for contestant in options.only or CONTESTANTS:
            found = measured(workload, contestant, folder, options.steps)
            results[workload][contestant] = found
            print(f"{workload:18} {contestant:18} {found}", flush=True)
    about["load after"] = machine.load()
    text = page(results, about)
    print(f"\n{text}")
    if options.page:
        insert(options.page, text)
        draw(options.page.parents[1] / "pictures", results)
    if options.pictures:
        draw(options.pictures, results)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
