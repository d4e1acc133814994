"""Plans of what to forget, and their execution: reasons, freed bytes, and what changed between."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from effort import some
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpointdb import (
    AtMostBytes,
    AtMostPer,
    InvalidInputError,
    KeepAll,
    KeepBest,
    KeepNewest,
    KeepWhere,
    PipelineCheckpoint,
    StoreUnavailableError,
    meta,
)
from checkpointdb.store.trash import Trash

pytestmark = pytest.mark.databases

BALLAST = random.Random(5).randbytes(60_000)


def ids(handle):
    return [each.checkpoint_id for each in handle.list_checkpoints(reverse=False)]


def fill(handle, count, **options):
    for number in range(count):
        state = {"ballast": BALLAST, "own": random.Random(number).randbytes(5_000 + number)}
        handle.save(state, f"c{number}", custom_metadata={"n": number}, **options)


def begin_first(monkeypatch, other):
    """Let another process begin to write once a prune has unlinked."""
    empty = Trash.empty

    def empty_and_begin(trash, names):
        empty(trash, names)
        if not other.in_transaction:
            other.execute("BEGIN IMMEDIATE")

    monkeypatch.setattr(Trash, "empty", empty_and_begin)


def forked(act):
    """Do something in a forked child, and return how that ended."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def bytes_on_disk(handle):
    handle._engine.pool.close()  # files go by a thread of it, after a save
    return sum(path.stat().st_size for path in handle.checkpoint_dir.rglob("*.ckpt.gz"))


def forgotten(plan):
    return tuple(each.checkpoint_id for each in plan.forgotten)


# --- plans


def test_a_plan_lists_every_checkpoint_in_the_order_of_saving_each_with_a_reason(archive):
    fill(archive, 6)
    plan = archive.plan_retention(KeepNewest(2) | KeepBest(1, "n", lowest=True))
    assert [each.checkpoint_id for each in plan.checkpoints] == ids(archive)
    assert all(each.reasons for each in plan.checkpoints)
    assert {*plan.kept, *plan.forgotten} == {*plan.checkpoints}
    assert forgotten(plan) == ("c1", "c2", "c3")


def test_a_plan_changes_nothing(archive, tree):
    fill(archive, 4)
    before = tree(archive.checkpoint_dir / "payloads")
    archive.plan_retention(KeepNewest(1))
    assert len(ids(archive)) == 4
    assert tree(archive.checkpoint_dir / "payloads") == before


def test_a_shared_chunk_keeps_the_file_that_it_lies_in(archive):
    fill(archive, 5)
    plan = archive.plan_retention(KeepNewest(2))
    assert forgotten(plan) == ("c0", "c1", "c2")
    sizes = {each.checkpoint_id: each.stored_bytes for each in plan.checkpoints}
    assert plan.freed_bytes == sizes["c1"] + sizes["c2"]
    assert plan.freed_payloads == 2


def test_without_a_policy_the_plan_is_of_the_handles_own(store):
    handle = store(retention_count=3)
    fill(handle, 3)
    assert forgotten(store(retention_count=1).plan_retention()) == ("c0", "c1")
    assert forgotten(handle.plan_retention()) == ()


def test_an_empty_store_has_an_empty_plan(store):
    handle = store()
    plan = handle.plan_retention()
    assert (plan.checkpoints, plan.freed_bytes) == ((), 0)
    assert handle.prune().forgotten == ()


# --- pruning


def test_pruning_does_what_the_plan_says(archive):
    fill(archive, 8)
    plan = archive.plan_retention(KeepNewest(2) | KeepWhere(meta("n") == 1))
    before = bytes_on_disk(archive)
    report = archive.prune(plan)
    assert ids(archive) == [each.checkpoint_id for each in plan.kept] == ["c1", "c6", "c7"]
    assert (report.plan, report.forgotten, report.spared) == (plan, forgotten(plan), ())
    assert before - bytes_on_disk(archive) == report.freed_bytes == plan.freed_bytes > 0
    assert report.freed_payloads == plan.freed_payloads
    assert archive.load("c1")["ballast"] == BALLAST


def test_a_policy_is_planned_and_executed_at_once(archive):
    fill(archive, 5)
    assert archive.prune(KeepNewest(2)).forgotten == ("c0", "c1", "c2")
    assert archive.prune(KeepNewest(2)).forgotten == ()


def test_a_dry_run_reports_the_plan_and_does_nothing(archive):
    fill(archive, 5)
    report = archive.prune(KeepNewest(2), dry_run=True)
    assert report.is_dry_run
    assert len(ids(archive)) == 5
    done = archive.prune(report.plan)
    assert not done.is_dry_run
    assert done.forgotten == report.forgotten
    assert (done.freed_payloads, done.freed_bytes) == (report.freed_payloads, report.freed_bytes)


def test_files_take_no_more_than_a_limit_of_bytes(archive):
    for number in range(12):
        ballast = random.Random(number // 4).randbytes(50_000)
        archive.save({"ballast": ballast, "n": random.Random(-number).randbytes(4_000)})
    archive.prune(AtMostBytes(120_000))
    assert 60_000 < bytes_on_disk(archive) <= 120_000


def test_what_is_saved_last_takes_room_of_a_limit_of_bytes(archive):
    for number in range(2):
        archive.save(
            {f"k{number}": random.Random(number).randbytes(50_000)},
            f"c{number}",
            force_full=True,
            custom_metadata={"accuracy": -number},
        )
    archive.prune(KeepBest(1, "accuracy") & AtMostBytes(60_000))
    assert ids(archive) == ["c1"]


def test_what_a_prune_unlinked_is_not_listed_for_removal_any_more(archive, alter):
    fill(archive, 40)
    archive.prune(KeepNewest(1))
    assert alter(archive, "SELECT count(*) FROM removals") == [(0,)]


@pytest.mark.sqlite
def test_a_prune_that_cannot_tidy_up_has_forgotten_all_the_same(store, monkeypatch, caplog):
    handle = store(retention_policy="keep_all", busy_seconds=0)
    fill(handle, 40)
    path = handle.checkpoint_dir / "checkpoints.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        begin_first(monkeypatch, other)
        assert len(handle.prune(KeepNewest(1)).forgotten) == 39
    assert ids(handle) == ["c39"]
    assert "noted" in caplog.text


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_prunes_and_deletes_while_a_thread_of_its_parent_tidies(archive):
    fill(archive, 4)
    with ThreadPoolExecutor(1) as thread:
        lock = archive._engine._trash._lock
        thread.submit(lock.acquire).result()
        done = forked(lambda: (archive.prune(KeepNewest(2)), archive.delete_checkpoint("c2")))
        thread.submit(lock.release).result()
    assert done == 0
    assert ids(archive) == ["c3"]


@pytest.mark.parametrize(
    "act",
    [lambda handle: handle.prune(KeepNewest(1)), lambda handle: handle.delete_checkpoint("c0")],
)
@pytest.mark.sqlite
def test_a_store_opened_read_only_says_so(store, monkeypatch, act):
    fill(store(retention_policy="keep_all"), 3)
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode != os.W_OK)
    handle = store(retention_policy="keep_all")
    with pytest.raises(StoreUnavailableError, match="opened read-only"):
        act(handle)
    assert handle.prune(KeepNewest(1), dry_run=True).forgotten == ("c0", "c1")


@pytest.mark.parametrize("described", [0, 1])
def test_of_those_forgotten_at_once_one_alone_may_have_metadata(archive, described):
    for number in range(3):
        archive.save(
            {"n": number}, f"c{number}", custom_metadata={"n": 1} if number == described else None
        )
    assert archive.prune(KeepNewest(1)).forgotten == ("c0", "c1")
    assert archive.sql("SELECT count(*) FROM checkpoint_metadata").rows == ((0,),)


# --- a plan that is no longer true


def test_what_was_pinned_since_the_plan_is_spared(archive):
    fill(archive, 4)
    plan = archive.plan_retention(KeepNewest(1))
    archive.pin("c1")
    report = archive.prune(plan)
    assert report.forgotten == ("c0", "c2")
    assert report.spared == (("c1", "pinned since"),)
    assert ids(archive) == ["c1", "c3"]


def test_what_was_replaced_since_the_plan_is_spared(archive):
    fill(archive, 3)
    plan = archive.plan_retention(KeepNewest(1))
    archive.save({"new": 1}, "c0")
    report = archive.prune(plan)
    assert report.spared == (("c0", "forgotten or replaced since"),)
    assert archive.load("c0") == {"new": 1}


@pytest.mark.sqlite
def test_after_a_rebuild_that_gave_other_rows_a_plan_forgets_nothing_else(store):
    handle = store(retention_policy="keep_all")
    fill(handle, 4, force_full=True)
    handle.delete_checkpoint("c0")
    plan = handle.plan_retention(KeepNewest(2))
    assert [each.checkpoint_id for each in plan.forgotten] == ["c1"]
    handle.close()
    for path in handle.checkpoint_dir.glob("checkpoints.db*"):
        path.unlink()
    PipelineCheckpoint.rebuild(handle.checkpoint_dir)
    again = store(retention_policy="keep_all")
    for each in ids(again):
        again.unpin(each)
    assert again.prune(plan).forgotten == ()
    assert ids(again) == ["c1", "c2", "c3"]


def test_what_is_saved_last_since_the_plan_is_spared(archive):
    fill(archive, 3)
    plan = archive.plan_retention(KeepNewest(1))
    archive.delete_checkpoint("c2")
    assert archive.prune(plan).spared == (("c1", "saved last since"),)
    assert ids(archive) == ["c1"]


def test_a_dry_run_of_a_plan_says_what_would_be_done_now(archive):
    fill(archive, 5)
    plan = archive.plan_retention(KeepNewest(1))
    archive.pin("c1")
    archive.delete_checkpoint("c2")
    dry, done = archive.prune(plan, dry_run=True), archive.prune(plan)
    assert (dry.forgotten, dry.spared) == (done.forgotten, done.spared)
    assert dry.forgotten == ("c0", "c3")
    assert (dry.freed_payloads, dry.freed_bytes) == (done.freed_payloads, done.freed_bytes)


def test_what_was_saved_since_the_plan_is_not_in_it(archive):
    fill(archive, 3)
    plan = archive.plan_retention(KeepNewest(1))
    archive.save({"new": 1}, "new")
    archive.prune(plan)
    assert ids(archive) == ["c2", "new"]


def test_a_plan_is_executed_once(archive):
    fill(archive, 3)
    plan = archive.plan_retention(KeepNewest(1))
    archive.prune(plan)
    again = archive.prune(plan)
    assert (again.forgotten, again.freed_bytes, len(again.spared)) == ((), 0, 2)


@pytest.mark.parametrize("options", [{"pipeline": "other"}, {"name": "elsewhere"}])
def test_a_plan_of_another_pipeline_or_store_is_refused(archive, store, options):
    fill(archive, 3)
    other = store(**options)
    fill(other, 3)
    with pytest.raises(InvalidInputError, match="plan again, by this handle"):
        other.prune(archive.plan_retention(KeepNewest(1)))
    assert len(ids(other)) == 3


@pytest.mark.parametrize("given", [3, "keep_all", object])
def test_what_is_neither_plan_nor_policy_is_refused(archive, given):
    with pytest.raises(InvalidInputError, match="is no policy"):
        archive.prune(given)


# --- after each save


def test_a_combined_policy_is_applied_after_each_save(store):
    handle = store(retention_policy=KeepNewest(2) | KeepBest(1, "accuracy"))
    for number, accuracy in enumerate([0.1, 0.9, 0.3, 0.2, 0.95, 0.4, 0.1]):
        handle.save({"n": number}, f"c{number}", custom_metadata={"accuracy": accuracy})
    assert ids(handle) == ["c4", "c5", "c6"]


def test_what_was_just_saved_stays_whatever_the_policy(store):
    handle = store(retention_policy=KeepBest(1, "accuracy") & AtMostBytes(1))
    for number in range(4):
        handle.save({"n": number}, f"c{number}", custom_metadata={"accuracy": -number})
        assert ids(handle) == [f"c{number}"]


def test_so_many_for_each_run_are_kept_after_each_save(store):
    handle = store(retention_policy=AtMostPer(2, "run"))
    for number in range(9):
        handle.save({"n": number}, f"c{number}", custom_metadata={"run": number % 2})
    assert ids(handle) == ["c5", "c6", "c7", "c8"]


def test_after_a_save_there_is_nothing_more_to_plan(store):
    handle = store(retention_policy=(KeepNewest(3) | KeepBest(2, "n")) & AtMostBytes(80_000))
    fill(handle, 9)
    assert forgotten(handle.plan_retention()) == ()


# --- any history

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["save", "save", "save", "full", "fork", "delete", "pin"]),
        st.integers(0, 5),
        st.integers(0, 3),
    ),
    min_size=2,
    max_size=14,
)
POLICIES = st.sampled_from(
    [
        KeepNewest(1),
        KeepNewest(3),
        KeepNewest(2) | KeepBest(1, "n"),
        KeepBest(2, "n") & AtMostPer(1, "kind"),
        AtMostBytes(40_000),
        AtMostBytes(90_000),
        KeepAll() & AtMostBytes(65_000) & AtMostPer(1, "kind"),
    ]
)


def value(number):
    """A value of one chunk, or of several that it shares with others."""
    if number % 2:
        return random.Random(number).randbytes(3_000)
    return BALLAST[: 20_000 + number * 5_000] + random.Random(number).randbytes(2_000)


def play(handle, steps):
    """Save, replace, fork, delete and pin under six ids."""
    for number, (step, which, kind) in enumerate(steps):
        living = ids(handle)
        if step in ("delete", "pin") and living:
            chosen = living[which % len(living)]
            handle.pin(chosen) if step == "pin" else handle.delete_checkpoint(chosen)
            continue
        base = living[which % len(living)] if step == "fork" and living else None
        state = {"a": value(which), "b": value(kind), "c": number, f"k{kind}": number % 3}
        metadata = {"n": which * kind, "kind": kind}
        handle.save(
            state, f"c{which}", force_full=step == "full", custom_metadata=metadata, base=base
        )


@settings(max_examples=some(25, long=60))
@given(steps=STEPS, policy=POLICIES)
def test_a_plan_frees_what_it_promises_and_what_is_kept_loads(empty_database, steps, policy):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(empty_database, folder)
        with PipelineCheckpoint(folder, retention_policy="keep_all", durable=False) as handle:
            play(handle, steps)
            states = {each: handle.load(each) for each in ids(handle)}
            plan = handle.plan_retention(policy)
            before = bytes_on_disk(handle)
            report = handle.prune(plan)
            assert before - bytes_on_disk(handle) == plan.freed_bytes == report.freed_bytes
            assert ids(handle) == [each.checkpoint_id for each in plan.kept]
            assert {each: handle.load(each) for each in ids(handle)} == {
                each: states[each] for each in ids(handle)
            }
            assert handle.check(read_data=True).problems == ()


@settings(max_examples=some(15, long=30))
@given(steps=STEPS, room=st.integers(1, 120_000))
def test_unpinned_checkpoints_fit_in_the_bytes_that_they_are_given(empty_database, steps, room):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(empty_database, folder)
        with PipelineCheckpoint(folder, retention_policy="keep_all", durable=False) as handle:
            play(handle, [step for step in steps if step[0] != "pin"])
            handle.prune(AtMostBytes(room))
            assert bytes_on_disk(handle) <= room or len(ids(handle)) == 1


def test_every_time_in_a_plan_is_aware(archive):
    fill(archive, 1)
    plan = archive.plan_retention(KeepAll())
    assert plan.planned_at.tzinfo is UTC
    assert plan.checkpoints[0].created_at <= datetime.now(UTC)
    assert Path(plan.store) == archive.checkpoint_dir.resolve()


@pytest.mark.sqlite
def test_a_large_prune_makes_the_database_smaller(archive):
    archive.save({f"k{n}": n for n in range(20_000)}, "large")
    archive.save({"n": 1}, "small", force_full=True)
    path = archive.checkpoint_dir / "checkpoints.db"
    with archive.query() as connection:
        before = connection.exec_driver_sql("PRAGMA page_count").scalar()
    archive.prune(KeepNewest(1))
    with archive.query() as connection:
        assert connection.exec_driver_sql("PRAGMA page_count").scalar() < before * 0.6
    archive.close()
    assert path.stat().st_size < before * 4096 * 0.6
    assert archive.load("small") == {"n": 1}
