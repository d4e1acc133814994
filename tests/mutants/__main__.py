"""Plant each bug of the table in a copy of the project, and say which test catches it.

    python -m tests.mutants [--only WORDS] [--jobs 2] [--first]
    python -m tests.mutants --control

The tests named with a bug run first, then the whole suite; `--first` leaves that out. Exit code 1
if a bug survives, or if a harmless change, which is planted first in the same way, does not.
`--control` plants that alone, and lets the whole suite run on it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from .mutant import ROOT, Mutant
from .table import CONTROL, MUTANTS

_COPIED = ("checkpointdb", "migrations", "tests", "docs", "examples")
_FILES = ("pyproject.toml", "README.md", "Makefile", "LICENSE")
_PATIENCE_SECONDS = 3600  # pytest ends a test that hangs long before
# All but the test of this table: that misses the line which was replaced, in every copy.
_SUITE = ("tests", "--ignore=tests/mutants")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORDS", help="bugs that have these words")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--first", action="store_true", help="only the tests named with a bug")
    parser.add_argument("--control", action="store_true", help="only the harmless change")
    options = parser.parse_args()
    if not is_control_quiet(only_first=options.first or not options.control):
        return 1
    return 0 if options.control else plant_all(options)


def is_control_quiet(*, only_first: bool) -> bool:
    """Say whether the tests pass with a harmless change planted: else they catch anything."""
    verdict = tried(CONTROL, only_first=only_first)
    told = "is not caught" if verdict is None else f"is caught: {verdict}"
    print(f"control: a harmless change {told}", flush=True)
    return verdict is None


def plant_all(options: argparse.Namespace) -> int:
    chosen = [each for each in MUTANTS if options.only in each.bug]
    survivors = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, verdict in zip(
            chosen, pool.map(partial(tried, only_first=options.first), chosen), strict=True
        ):
            survivors += verdict is None
            print(f"{mutant.bug:62} {verdict or 'SURVIVES'}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} caught")
    return 1 if survivors or not chosen else 0


def tried(mutant: Mutant, *, only_first: bool) -> str | None:
    """Return the test that fails with the bug planted, and after how long; None: none does."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        copy = Path(name)
        plant(mutant, copy)
        caught = caught_by(copy, [f"tests/{each}" for each in mutant.tests.split()])
        if caught is None and not only_first:
            caught = caught_by(copy, _SUITE)
    return caught and f"{time.monotonic() - began:4.0f} s  {caught}"


def plant(mutant: Mutant, copy: Path) -> None:
    """Copy the project, with the bug in it."""
    for each in _COPIED:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".hypothesis")
        shutil.copytree(ROOT / each, copy / each, ignore=ignored)
    for each in _FILES:
        shutil.copy(ROOT / each, copy / each)
    # As the wheel has it: an editable install would lead to the migrations of the original.
    (copy / "checkpointdb" / "migrations").symlink_to(copy / "migrations")
    file = copy / mutant.file
    file.write_text(mutant.planted(file.read_text()))


def caught_by(copy: Path, tests: Sequence[str]) -> str | None:
    """Run tests in a copy until one fails; return its name."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": "unshrunk",
    }
    # A mutant that hangs a test is caught too.
    try:
        done = subprocess.run(
            [*command, "--no-header", "-rfE"],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {_PATIENCE_SECONDS} s"
    if done.returncode == 0:
        return None
    named = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(.+?)(?: - |$)", done.stdout, re.MULTILINE)
    if done.returncode != 1 or named is None:  # not a test: the copy does not run
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return named[1]


if __name__ == "__main__":
    sys.exit(main())
