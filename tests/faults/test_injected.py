"""Saves of one process, of which some fail: it goes on, and what was acknowledged is there.

What becomes of each call of one operation is in `test_failing_calls.py`.
"""

from __future__ import annotations

import pytest
from breaking import (
    KEEP_ALL,
    assert_sound,
    inject,
    leftovers,
    needs_strace,
    run,
    run_well,
    tags_of,
)
from effort import some

from checkpointdb import PipelineCheckpoint

pytestmark = needs_strace

IDS = ["a", "b", "a", "c", "b", "a", "d", "e", "c"]
FAULTS = [
    ("fsync", "EIO"),
    ("fdatasync", "EIO"),
    ("rename", "ENOSPC"),
    ("rename", "EIO"),
    ("writev", "EIO"),
    ("pwrite64", "ENOSPC"),
]
WHEN = ["2+3", "4+7", "1+4"][: some(1, long=3)]
# A store is opened by dozens of these, and a save has dozens.
WHEN_OF_MANY = ["100+90", "130+120", "90+150"][: some(1, long=3)]


def possible_tags(lines):
    """For each id the tags that may be found: of its last acknowledged save, or a later failure.

    A commit that fails is in doubt: it may come to life when the log is recovered.
    """
    found: dict[str, list[str | None]] = {each: [None] for each in IDS}
    for number, (line, each) in enumerate(zip(lines, IDS, strict=True)):
        tag = f"{each} {number}"
        if line.startswith("saved"):
            found[each] = [tag]
        else:
            found[each].append(tag)
    return found


def assert_survives(directory, syscall, error, when):
    PipelineCheckpoint(directory).close()  # made without faults
    fault = inject(syscall, f"error={error}", when)
    lines = run("try_saves", directory, *IDS, under=fault)
    assert len(lines) == len(IDS), lines
    assert any(line.startswith("saved") for line in lines), "none goes on"
    failed = {line.split()[2] for line in lines if line.startswith("failed")}
    assert failed == {"StoreUnavailableError"}, lines
    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        found = tags_of(handle)
    for each, tags in possible_tags(lines).items():
        assert found.get(each) in tags, (each, lines)
    assert leftovers(directory) == []
    assert_sound(directory)


@pytest.mark.parametrize(("syscall", "error"), FAULTS)
def test_saves_go_on_after_some_that_failed_and_lose_nothing_acknowledged(tmp_path, syscall, error):
    for when in WHEN_OF_MANY if syscall == "pwrite64" else WHEN:
        assert_survives(tmp_path / when, syscall, error, when)


def test_a_commit_in_doubt_is_whole_when_it_comes_to_life(tmp_path):
    """The log's flush fails after its commit was written; the same id is saved again and killed
    between rename and commit; the log's recovery then finds the commit that failed."""
    store = tmp_path / "store"
    run_well("try_saves", store, "w")
    doubt = inject("fdatasync", "error=EIO", 3, store / "checkpoints.db-wal")
    lines = run("fail_and_die_before_the_commit", store, under=doubt)
    assert [line.split()[0] for line in lines] == ["saved", "failed"], lines
    with PipelineCheckpoint(store, **KEEP_ALL) as handle:
        assert tags_of(handle)["x"] in ("first", "second")
    assert_sound(store)
