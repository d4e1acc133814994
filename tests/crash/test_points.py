"""Where a sample of kills falls: in the middle of the operation, where they tell most."""

from __future__ import annotations

import pytest
from kills import Effects, evenly, telling

WRITES = ["write"] * 20
SAVE = ["openat", *WRITES, "fsync", "rename", "fsync", *WRITES, "fdatasync", "unlink"]
BEFORE = len(SAVE)
EFFECTS = Effects([*SAVE, "openat", *WRITES, "rename", "fsync"], BEFORE)


@pytest.mark.parametrize("sample", [1, 2, 6, 30, 1_000])
def test_no_kill_of_a_sample_comes_after_the_acknowledgement(sample):
    points = telling(EFFECTS, sample)
    assert len(points) == min(sample, BEFORE)
    assert points == sorted(set(points))
    assert points[0] > 1
    assert points[-1] <= BEFORE + 1  # before the effect that acknowledges


def test_a_sample_is_killed_behind_names_and_where_all_is_written_that_is_flushed():
    behind_the_rename = SAVE.index("rename") + 2  # effects are counted from one
    all_written = [SAVE.index("fsync") + 1, SAVE.index("fdatasync") + 1]
    behind_the_unlink = BEFORE + 1
    assert telling(EFFECTS, 4) == sorted([behind_the_rename, *all_written, behind_the_unlink])


def test_a_few_of_many_are_taken_evenly_and_from_their_middle():
    assert evenly(range(1, 101), 2) == [26, 76]
    assert evenly(range(3), 3) == evenly(range(3), None) == [0, 1, 2]
    assert evenly(range(3), 0) == []
