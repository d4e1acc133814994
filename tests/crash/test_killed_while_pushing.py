"""kill -9 at the steps of a push and a pull: the remote holds what it held, and both go on."""

from __future__ import annotations

import random
import shutil

import pytest
from breaking import KEEP_ALL, run, state_of, tags_of
from effort import some

from checkpointdb import PipelineCheckpoint

PUSH_STEPS = 13  # of three payloads, the snapshot, the pointer, and the rows about it
PULL_STEPS = 8  # of three payloads, and the rows


def some_of(count, seed, sample):
    """Some of the steps, or all of them; the same each time."""
    steps = list(range(1, count + 1))
    return sorted(random.Random(seed).sample(steps, some(sample, long=count)))


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """A directory with a store, of which the first half is backed up."""
    room = tmp_path_factory.mktemp("pushed")
    with PipelineCheckpoint(room / "store", **KEEP_ALL) as handle:
        for each in "abc":
            handle.save(state_of(each), each)
        handle.push_backup(room / "nas")
        for each in "def":
            handle.save(state_of(each), each)
    return room


@pytest.fixture
def room(pushed, tmp_path):
    return shutil.copytree(pushed, tmp_path / "room")


def ids_in(directory):
    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        assert handle.check(read_data=True).problems == ()
        return "".join(tags_of(handle))


def pulled(room, name):
    PipelineCheckpoint.pull_backup(room / "nas", room / name)
    return ids_in(room / name)


def test_a_push_and_a_pull_have_no_more_steps_than_are_tried(room):
    assert run("push_and_die", room / "store", room / "nas", PUSH_STEPS + 1) == ["pushed"]
    assert run("pull_and_die", room / "nas", room / "back", 2 * PULL_STEPS + 1) == ["pulled"]


@pytest.mark.parametrize("step", some_of(PUSH_STEPS, 3, 4))
def test_a_killed_push_leaves_the_remote_restorable_and_the_next_goes_on(room, step):
    assert run("push_and_die", room / "store", room / "nas", step) == []
    assert pulled(room, "before") == ("abc" if step < PUSH_STEPS - 2 else "abcdef")
    there = {path.name for path in (room / "nas").glob("payloads/*/*")}
    with PipelineCheckpoint(room / "store", **KEEP_ALL) as handle:
        assert handle.push_backup(room / "nas").copied_payloads == 6 - len(there)
        assert handle.verify_backup(room / "nas", read_data=True).is_ok
    assert pulled(room, "after") == "abcdef"
    assert ids_in(room / "store") == "abcdef"


@pytest.mark.parametrize("step", some_of(PULL_STEPS, 5, 2))
def test_a_killed_pull_leaves_no_store_and_the_next_goes_on(room, step):
    assert run("pull_and_die", room / "nas", room / "back", step) == []
    assert not (room / "back").exists()
    here = list(room.glob(".back.pull/payloads/p-*/*"))
    report = PipelineCheckpoint.pull_backup(room / "nas", room / "back")
    assert (report.payloads, report.fetched_bytes == 0) == (3, len(here) == 3)
    assert ids_in(room / "back") == "abc"
    assert [path.name for path in room.glob(".*")] == []
