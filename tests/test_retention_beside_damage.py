"""Retention beside damage: what cannot be loaded pushes out nothing that can."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from labels import label

from checkpointdb import (
    AtMostBytes,
    AtMostPer,
    CorruptionError,
    KeepBest,
    KeepDaily,
    KeepNewest,
    KeepUntilBackedUp,
    KeepWithin,
    RetentionPolicy,
)

pytestmark = pytest.mark.damages

POLICIES = [
    KeepNewest(1),
    KeepNewest(2),
    KeepDaily(1),
    KeepBest(1, "n"),
    KeepWithin(0),
    KeepUntilBackedUp(),
    KeepNewest(3) & AtMostPer(1, "run"),
    AtMostBytes(1),
]


@pytest.fixture
def mark(alter):
    """Mark the payloads of checkpoints as damaged, and of no others."""

    def marked(handle, *names):
        listed = ", ".join(f"'{name}'" for name in names) or "NULL"
        alter(
            handle,
            f"""UPDATE payloads SET damaged_at = CASE WHEN id IN (
                    SELECT payload_id FROM checkpoints WHERE checkpoint_id IN ({listed}))
                THEN '2026-01-01 00:00:00.000000' END""",
        )

    return marked


@pytest.fixture
def fulls(archive):
    """Four checkpoints that share nothing."""
    for number, name in enumerate("abcd"):
        metadata = {"n": number, "run": "one"}
        archive.save({"n": number}, name, force_full=True, custom_metadata=metadata)
    return archive


def ids(handle):
    return [each.checkpoint_id for each in handle.list_checkpoints(reverse=False)]


def kept(plan):
    return [each.checkpoint_id for each in plan.kept]


def test_the_newest_are_counted_without_the_damaged(fulls, mark):
    mark(fulls, "c", "d")
    plan = fulls.plan_retention(KeepNewest(1))
    assert kept(plan) == ["b", "d"]
    reasons = {each.checkpoint_id: each.reasons for each in plan.checkpoints}
    assert reasons["b"] == ("saved last, damaged ones not counted",
                            "newest 1 of 1, damaged ones not counted")  # fmt: skip
    assert reasons["d"] == ("saved last", "newest 1 of 1")
    assert reasons["c"] == ("not newest 1",)
    fulls.prune(plan)
    assert fulls.load("b") == {"n": 1}


@pytest.mark.parametrize("policy", POLICIES, ids=label)
def test_no_policy_forgets_the_newest_whole_one_or_more_than_without_damage(fulls, mark, policy):
    undamaged = set(kept(fulls.plan_retention(policy)))
    for count in range(1, 4):
        for damaged in combinations("abcd", count):
            mark(fulls, *damaged)
            found = set(kept(fulls.plan_retention(policy)))
            assert found >= undamaged
            assert max(set("abcd") - set(damaged)) in found
    mark(fulls)
    assert set(kept(fulls.plan_retention(policy))) == undamaged


@pytest.mark.parametrize(("count", "left"), [(1, "e"), (2, "bde"), (3, "abcde"), (4, "abcde")])
def test_a_save_forgets_what_a_plan_would(fulls, store, mark, count, left):
    mark(fulls, "c", "d")
    handle = store(retention_count=count)
    handle.save({"n": 4}, "e", force_full=True)
    assert ids(handle) == list(left)
    assert kept(handle.plan_retention()) == list(left)


def test_what_was_saved_upon_damage_is_damaged_too(archive, store, alter, mark):
    text = " ".join(map(str, range(9_000)))
    archive.save({"n": 0}, "whole", force_full=True)
    archive.save({"text": text, "n": 1}, "damaged", force_full=True)
    archive.save({"text": text, "n": 2}, "upon it")
    mark(archive, "damaged")
    assert archive.get_checkpoint_info("upon it").is_incremental
    assert kept(archive.plan_retention(KeepNewest(1))) == ["whole", "upon it"]
    handle = store(retention_count=2)
    handle.save({"text": text, "n": 3}, "new")
    assert ids(handle) == ["whole", "upon it", "new"]
    assert handle.load("whole") == {"n": 0}
    assert handle.load("new")["n"] == 3


def test_the_damaged_go_when_enough_whole_ones_are_newer(fulls, store, mark):
    mark(fulls, "c", "d")
    handle = store(retention_count=2)
    for name in "efg":
        handle.save({"n": name}, name, force_full=True)
    assert ids(handle) == ["f", "g"]


def test_what_a_load_found_damaged_counts_no_more(fulls, store):
    [file] = fulls.checkpoint_dir.glob("payloads/p-default/*-d.ckpt.gz")
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(CorruptionError):
        fulls.load("d")
    handle = store(retention_policy=RetentionPolicy.KEEP_N_RECENT, retention_count=2)
    handle.save({"n": 4}, "e", force_full=True)
    assert ids(handle) == ["c", "d", "e"]


def test_a_plan_spares_the_newest_whole_one_if_damage_was_found_since(fulls, mark):
    plan = fulls.plan_retention(KeepNewest(1))
    mark(fulls, "d")
    assert dict(fulls.prune(plan, dry_run=True).spared) == {"c": "the newest that is whole since"}
    assert fulls.prune(plan).forgotten == ("a", "b")
    assert ids(fulls) == ["c", "d"]


def test_damage_in_another_pipeline_changes_nothing(fulls, store, mark):
    other = store(pipeline="other")
    other.save({"n": 1}, "other", force_full=True)
    mark(fulls, "other")
    assert kept(fulls.plan_retention(KeepNewest(2))) == ["c", "d"]


# --- until it is backed up


@pytest.fixture
def half_backed_up(fulls, tmp_path):
    """A store of which a backup has `a` and `b`, and not yet `c` and `d`."""
    for name in "cd":
        fulls.delete_checkpoint(name)
    fulls.push_backup(tmp_path / "nas")
    for number, name in enumerate("cd", 2):
        fulls.save({"n": number}, name, force_full=True)
    return fulls


def test_what_no_backup_has_waits_for_one_damaged_or_not(half_backed_up, mark):
    policy = KeepNewest(1) | KeepUntilBackedUp()
    for count in range(4):
        for damaged in combinations("abcd", count):
            mark(half_backed_up, *damaged)
            newest_whole = max(set("abcd") - set(damaged))
            found = set(kept(half_backed_up.plan_retention(policy)))
            assert found == {"c", "d", newest_whole}, damaged


def test_a_backup_beside_damage_lets_go_what_it_has_and_keeps_the_newest_whole_one(
    half_backed_up, store, tmp_path
):
    [file] = half_backed_up.checkpoint_dir.glob("payloads/p-default/*-d.ckpt.gz")
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(CorruptionError):
        half_backed_up.load("d")
    half_backed_up.push_backup(tmp_path / "nas")
    policy = KeepUntilBackedUp()
    assert kept(half_backed_up.plan_retention(policy)) == ["c", "d"]
    store(retention_policy=policy).save({"n": 4}, "e", force_full=True)
    assert ids(half_backed_up) == ["d", "e"]  # what no backup has is not taken for backed up


def load(handle, _):
    with pytest.raises(CorruptionError):
        handle.load("d")


FOUND = {
    "load": load,
    "check": lambda handle, _: handle.check(read_data=True),
    "push": lambda handle, remote: handle.push_backup(remote),
    "repair": lambda handle, _: handle.repair(),
}


@pytest.mark.sqlite
@pytest.mark.parametrize("how", ["damage", "remove"])
@pytest.mark.parametrize("found", FOUND)
def test_whoever_finds_damage_marks_it_for_saves_and_retention(fulls, tmp_path, found, how):
    path = Path(fulls.get_checkpoint_info("d").file_path)
    if how == "remove":
        path.unlink()
    else:
        path.write_bytes(b"damage" + path.read_bytes()[6:])
    FOUND[found](fulls, tmp_path / "remote")
    assert kept(fulls.plan_retention(KeepNewest(1))) == ["c", "d"]
    fulls.save({"n": 3}, "e")  # the same value as in "d"
    assert fulls.load("e") == {"n": 3}
