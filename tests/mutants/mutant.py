"""A bug of one line, and how it is planted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """A line of the engine, what is put in its place, and the tests that should notice first."""

    bug: str
    file: str
    line: str
    instead: str
    tests: str

    def planted(self, source: str) -> str:
        """Return a file's text with the bug in it. Raises LookupError unless the line is unique."""
        lines = source.split("\n")
        found = [number for number, line in enumerate(lines) if line.strip() == self.line]
        if len(found) != 1:
            raise LookupError(f"{self.file} has {len(found)} lines {self.line!r}, where 1 is meant")
        before = lines[found[0]]
        lines[found[0]] = before.replace(self.line, self.instead)
        return "\n".join(lines)


def stopped(operation: str) -> str:
    """Return the test that stops an operation anywhere."""
    test = "test_what_is_stopped_anywhere_leaves_the_state_before_or_after"
    return f"crash/test_stopped_anywhere.py::{test}[{operation.replace(' ', '-')}]"
