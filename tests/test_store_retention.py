"""Retention in a store: after every save, per pipeline, and never at the cost of what is kept."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from checkpointdb import RetentionPolicy
from checkpointdb.store.request import SaveRequest

pytestmark = pytest.mark.databases

BALLAST = random.Random(31).randbytes(60_000)
YOUNG = {"retention_policy": RetentionPolicy.DELETE_OLDER_THAN, "retention_age_days": 7}


def ids(handle):
    return [each.checkpoint_id for each in handle.list_checkpoints(reverse=False)]


def fill(handle, count, start=0):
    for number in range(start, start + count):
        handle.save({"ballast": BALLAST, "n": number}, f"s{number}")


# --- keep n


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_the_last_n_are_kept_and_load(store, count):
    handle = store(retention_count=count)
    fill(handle, 12)
    assert ids(handle) == [f"s{number}" for number in range(12 - count, 12)]
    assert all(handle.load(each)["ballast"] == BALLAST for each in ids(handle))


def test_retention_runs_with_every_save(store):
    handle = store(retention_count=3)
    for number in range(8):
        fill(handle, 1, number)
        assert len(ids(handle)) == min(3, number + 1)


@pytest.mark.parametrize("seed", range(4))
def test_exactly_n_load_under_any_mix_of_fulls_deltas_deletes_and_overwrites(store, seed):
    chosen = random.Random(seed)
    handle = store(retention_count=4, full_every=5)
    expected: dict[str, dict] = {}
    for number in range(60):
        if expected and chosen.random() < 0.2:
            victim = chosen.choice(sorted(expected))
            handle.delete_checkpoint(victim)
            del expected[victim]
            continue
        name = chosen.choice([f"new{number}", f"new{number}", f"often{chosen.randrange(3)}"])
        keys = chosen.sample("abcdef", 3)
        state = {key: chosen.choice([BALLAST, BALLAST[:9_000], number]) for key in keys}
        handle.save(state, name, force_full=chosen.random() < 0.2)
        expected.pop(name, None)
        expected[name] = state
        while len(expected) > 4:
            del expected[next(iter(expected))]
        assert ids(handle) == list(expected)
        assert {each: handle.load(each) for each in expected} == expected


def test_an_overwritten_id_counts_as_the_newest(store):
    handle = store(retention_count=3)
    fill(handle, 3)
    handle.save({"again": 1}, "s0")
    fill(handle, 1, 3)
    assert ids(handle) == ["s2", "s0", "s3"]


def test_forgetting_the_full_leaves_its_deltas_loadable(store):
    handle = store(retention_count=2)
    handle.save({"ballast": BALLAST, "n": 0}, "full")
    fill(handle, 3)
    assert "full" not in ids(handle)
    assert handle.load("s2") == {"ballast": BALLAST, "n": 2}
    assert handle.load("s1") == {"ballast": BALLAST, "n": 1}


def test_what_nobody_needs_leaves_the_disk(store):
    handle = store(retention_count=2)
    for number in range(10):
        handle.save({"v": random.Random(number).randbytes(100_000)}, f"s{number}")
    handle._engine.pool.close()  # files go by a thread of it, after a save
    files = list(handle.checkpoint_dir.rglob("*.ckpt.gz"))
    assert len(files) == 2
    assert sum(path.stat().st_size for path in files) < 250_000
    assert handle.get_statistics()["payload_files"] == 2


def test_a_smaller_count_takes_effect_at_the_next_save(store):
    fill(store(retention_count=8), 8)
    handle = store(retention_count=2)
    assert len(ids(handle)) == 8
    fill(handle, 1, 8)
    assert ids(handle) == ["s7", "s8"]


def test_everything_is_kept_if_asked(archive):
    fill(archive, 30)
    assert len(ids(archive)) == 30


def test_a_save_that_fails_forgets_nothing(store):
    handle = store(retention_count=2)
    fill(handle, 2)
    with pytest.raises(ValueError, match="bad"):
        handle.save({"bad": lambda: None}, "s2")
    assert ids(handle) == ["s0", "s1"]


# --- pipelines and pins


def test_pipelines_are_counted_apart(store):
    day, night = store(pipeline="day", retention_count=2), store(pipeline="night")
    fill(night, 5)
    fill(day, 5)
    assert ids(day) == ["s3", "s4"]
    assert ids(night) == [f"s{number}" for number in range(5)]
    assert night.load("s0")["n"] == 0


def test_pinned_checkpoints_are_exempt_and_do_not_count(store):
    handle = store(retention_count=2)
    handle.save({"ballast": BALLAST, "n": -1}, "pinned at birth", pinned=True)
    fill(handle, 1)
    handle.pin("s0")
    fill(handle, 5, 1)
    assert ids(handle) == ["pinned at birth", "s0", "s4", "s5"]
    assert handle.load("s0") == {"ballast": BALLAST, "n": 0}
    assert [each.pinned for each in handle.list_checkpoints(reverse=False)] == [
        True,
        True,
        False,
        False,
    ]


def test_an_unpinned_checkpoint_goes_with_the_next_save(store):
    handle = store(retention_count=1)
    handle.save({"n": 0}, "x", pinned=True)
    fill(handle, 2)
    assert ids(handle) == ["x", "s1"]
    handle.unpin("x")
    assert ids(handle) == ["x", "s1"]
    fill(handle, 1, 2)
    assert ids(handle) == ["s2"]


def test_a_pinned_save_forgets_others_but_does_not_count(store):
    handle = store(retention_count=1)
    fill(handle, 2)
    handle.save({"n": 9}, "p", pinned=True)
    assert ids(handle) == ["s1", "p"]


def test_a_pinned_checkpoint_can_be_deleted_by_hand(store):
    handle = store()
    handle.save({"n": 0}, "x", pinned=True)
    handle.delete_checkpoint("x")
    assert ids(handle) == []


# --- by age


def test_what_is_older_than_the_age_goes_with_the_next_save(store, clock):
    handle = store(**YOUNG)
    fill(handle, 1)
    clock.advance(days=6)
    fill(handle, 1, 1)
    assert ids(handle) == ["s0", "s1"]
    clock.advance(days=1, seconds=1)
    fill(handle, 1, 2)
    assert ids(handle) == ["s1", "s2"]
    assert handle.load("s1") == {"ballast": BALLAST, "n": 1}


def test_what_was_just_saved_is_never_too_old(store, clock):
    handle = store(retention_policy=RetentionPolicy.DELETE_OLDER_THAN, retention_age_days=0)
    fill(handle, 1)
    clock.advance(seconds=1)
    fill(handle, 1, 1)
    assert ids(handle) == ["s1"]


def test_what_was_just_saved_is_never_too_old_though_its_clock_goes_on_meanwhile(store):
    handle = store(retention_policy=RetentionPolicy.DELETE_OLDER_THAN, retention_age_days=0)
    for number in range(3):
        fill(handle, 1, number)
        assert ids(handle) == [f"s{number}"]
        assert handle.load(f"s{number}")["n"] == number


def test_a_clock_that_is_set_back_loses_nothing(store, clock):
    handle = store(**YOUNG)
    fill(handle, 2)
    clock.advance(days=-100)
    fill(handle, 1, 2)
    assert len(ids(handle)) == 3
    with_count = store(retention_count=2)
    fill(with_count, 1, 3)
    assert with_count.load("s3")["n"] == 3
    assert with_count.load_latest()[0].checkpoint_id == "s3"


def test_an_old_pinned_checkpoint_stays(store, clock):
    handle = store(**YOUNG)
    handle.save({"n": 0}, "pinned", pinned=True)
    clock.advance(days=365)
    fill(handle, 1)
    assert set(ids(handle)) == {"pinned", "s0"}


def test_what_was_begun_later_and_is_in_already_does_not_lie_in_the_future(store, clock):
    handle = store(retention_count=1)
    fill(handle, 1)
    earlier = clock.time - timedelta(seconds=1)
    request = SaveRequest({"n": 1}, "slow", {}, False, None, None, created_at=earlier)
    handle._engine.save(request)
    assert ids(handle) == ["slow"]
