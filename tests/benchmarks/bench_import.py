"""Importing the package: what it takes in a fresh interpreter that has imported SQLAlchemy."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from .figures import Figure, Setting, ms

MOST_MS = 40
SLOWEST = 25  # modules that --explain names

CHILD = """
import sys, time
moments = [time.perf_counter()]
import sqlalchemy
moments.append(time.perf_counter())
from checkpointdb import PipelineCheckpoint
moments.append(time.perf_counter())
PipelineCheckpoint(sys.argv[1])
moments.append(time.perf_counter())
print(*(end - start for start, end in zip(moments, moments[1:])))
"""


def run(setting: Setting) -> Iterator[Figure]:
    child = ("-c", CHILD, str(setting.new_folder("store")))
    interpreter(setting, *child)  # writes the byte code, makes the store
    rows = [
        map(float, interpreter(setting, *child).stdout.split()) for _ in range(setting.rounds(25))
    ]
    sqlalchemy, ours, opening = (list(times) for times in zip(*rows, strict=True))
    beyond, beside = statistics.median(ours), ms(statistics.median(sqlalchemy))
    samples = {"ours": ours, "sqlalchemy": sqlalchemy, "opening": opening}
    what = "import checkpointdb, beside SQLAlchemy"
    yield Figure(what, beyond * 1000, "ms", ms(beyond), beside, at_most=MOST_MS, samples=samples)
    opened = statistics.median(opening)
    yield Figure("then open a store that is there", opened * 1000, "ms", ms(opened))
    if setting.explain:
        print("\n".join(slowest(setting)))


def interpreter(setting: Setting, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter that keeps byte code in a folder of its own, and only there.

    Where the environment forbids byte code, every import would compile.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(setting.folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment)


def slowest(setting: Setting) -> list[str]:
    """Return the modules that take longest by themselves once SQLAlchemy is there."""
    code = "import sqlalchemy, sys; sys.stderr.write('---\\n'); import checkpointdb.store"
    report = interpreter(setting, "-X", "importtime", "-c", code).stderr.split("---\n")[1]
    rows = [line.removeprefix("import time:").split("|") for line in report.splitlines()]
    rows.sort(key=lambda row: int(row[0]), reverse=True)
    return [f"  {int(own) / 1000:7.2f} ms  {name.strip()}" for own, _, name in rows[:SLOWEST]]
