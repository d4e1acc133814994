"""The tree of a pipeline's checkpoints, line by line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from checkpointdb.cli.drawing import drawn
from checkpointdb.reports import CheckpointPlace

TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def place(text):
    """Read `id<parent@chain`, a star for a full."""
    name, _, rest = text.partition("<")
    parent, _, chain = rest.partition("@")
    is_full = name.endswith("*")
    return CheckpointPlace(
        name.rstrip("*"), parent or None, chain, 0, TIME, not is_full, 1_234, False
    )


@pytest.mark.parametrize(
    ("places", "lines"),
    [
        ("", []),
        ("a*<@1 b<a@1 c<b@1", ["● a", "○ b", "○ c"]),
        ("a*<@1 b<a@2 c<b@3", ["● a", "○ b", "○ c"]),
        ("a*<@1 x<a@2 b<a@1", ["● a", "├─ ○ x", "○ b"]),
        ("a*<@1 b<a@1 x<a@2 y<x@2 c<b@1", ["● a", "├─ ○ x", "│  ○ y", "○ b", "○ c"]),
        ("a*<@1 x<a@2 y<x@3 z<x@2 b<a@1", ["● a", "├─ ○ x", "│  ├─ ○ y", "│  ○ z", "○ b"]),
        ("a*<@1 b*<@2", ["● a", "● b"]),
    ],
)
def test_a_line_goes_on_below_and_forks_are_branches(places, lines):
    found = list(drawn([place(each) for each in places.split()]))
    assert found == [f"{line}  (2026-01-02 03:04:05, 1.234 kB)" for line in lines]


def test_a_long_history_is_one_column_and_no_recursion():
    places = [place("0*<@1"), *(place(f"{n}<{n - 1}@{n}") for n in range(1, 5_000))]
    assert {line[:2] for line in drawn(places)} == {"● ", "○ "}


def test_the_tree_of_a_store_has_its_fork_and_its_pin(run):
    first, second, third = run("tree").out.splitlines()
    assert first.startswith("● one")
    assert second.startswith("├─ ○ fork")
    assert second.endswith("pinned)")
    assert third.startswith("○ two")
