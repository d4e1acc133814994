"""repair: what is whole stays, what has a copy comes back, what is lost is named and kept."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from checkpointdb import (
    CorruptionError,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreUnavailableError,
    generate_encryption_key,
    repair,
)

pytestmark = [pytest.mark.damages, pytest.mark.databases]
NOISE = np.random.default_rng(5)
BIG = NOISE.bytes(3_000_000)  # several members
KEEP_ALL = {"retention_policy": RetentionPolicy.KEEP_ALL, "durable": False}


def path_of(handle, checkpoint_id):
    return Path(handle.get_checkpoint_info(checkpoint_id).file_path)


def flip(path, at):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def cut(path, count=100):
    os.truncate(path, path.stat().st_size - count)


DAMAGE = {
    "a byte of the data": lambda path: flip(path, 200),
    "cut short": cut,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "empty": lambda path: path.write_bytes(b""),
    "deleted": Path.unlink,
    "a directory": lambda path: (path.unlink(), path.mkdir()),
}
each_damage = pytest.mark.parametrize("damage", DAMAGE)


@pytest.fixture(params=["clear", "sealed"])
def handle(request, tmp_path, empty_database):
    """A store in the clear, and an encrypted one."""
    (tmp_path / "store").mkdir()
    shutil.copy(empty_database, tmp_path / "store")
    sealed = (generate_encryption_key(), True) if request.param == "sealed" else ()
    with PipelineCheckpoint(tmp_path / "store", *sealed, **KEEP_ALL) as opened:
        yield opened


def test_a_sound_store_is_left_as_it_is(handle, tree):
    handle.save({"a": BIG}, "one")
    before = tree(handle.checkpoint_dir / "payloads")
    report = handle.repair()
    assert report.is_ok
    assert (report.read_payloads, report.damaged, report.removed_files) == (1, (), ())
    assert tree(handle.checkpoint_dir / "payloads") == before


@each_damage
@pytest.mark.parametrize("read_data", [True, False])
def test_what_has_a_copy_loads_again(handle, damage, read_data):
    state = {"big": BIG, "list": list(range(9_000)), "small": 1}
    handle.save(state, "one")
    handle.save(state, "two", force_full=True)
    DAMAGE[damage](path := path_of(handle, "one"))
    if damage == "a byte of the data":
        with pytest.raises(CorruptionError):
            handle.load("one")  # which marks it
    report = handle.repair(read_data=read_data)
    assert [each[0] for each in report.damaged] == [f"p-default/{path.name}"]
    assert (report.lost, report.recovered[0].checkpoint_id) == ((), "one")
    assert handle.load("one") == handle.load("two") == state


@each_damage
def test_what_has_none_is_named_and_its_other_keys_load(handle, damage):
    handle.save({"a": "whole", "b": [1, 2]}, "one")
    handle.save({"a": "whole", "b": [1, 2], "new": BIG[:999]}, "two")
    DAMAGE[damage](path_of(handle, "two"))
    [lost] = handle.repair().lost
    assert (lost.pipeline, lost.checkpoint_id) == ("default", "two")
    assert (lost.keys, lost.whole_keys) == (("new",), ("a", "b"))
    assert handle.load("two", keys=lost.whole_keys) == handle.load("one")
    assert {
        each for found in handle.check(read_data=True).problems for each in found.checkpoint_ids
    } == {"two"}


@pytest.mark.parametrize("at", [-1, -90], ids=["footer", "manifest"])
def test_a_damaged_end_costs_no_state_but_a_rebuild_would(archive, at):
    archive.save({"a": BIG}, "one")
    flip(path_of(archive, "one"), at)
    report = archive.repair()
    assert (report.lost, report.only_in_database) == ((), (("default", "one"),))
    assert not report.is_ok
    archive.save({"a": BIG}, "two")
    assert archive.repair().only_in_database == (("default", "one"),)
    assert archive.load("one") == archive.load("two")


def test_a_manifest_that_is_whole_and_of_another_payload_describes_nothing(archive):
    by_length = {}
    for number in itertools.count():
        archive.save({"a": [1, 2, 3]}, f"{number:03}", force_full=True)
        path = path_of(archive, f"{number:03}")
        if path.stat().st_size in by_length:
            break
        by_length[path.stat().st_size] = path
    shutil.copyfile(path, by_length[path.stat().st_size])
    [(_, lost)] = archive.repair().only_in_database
    archive.close()
    for file in archive.checkpoint_dir.glob("checkpoints.db*"):
        file.unlink()
    rebuilt = PipelineCheckpoint.rebuild(archive.checkpoint_dir).checkpoints
    assert {f"{each:03}" for each in range(number + 1)} - {*rebuilt} == {lost}


def test_the_beginning_of_a_sealed_file_opens_all_of_it(tmp_path):
    with PipelineCheckpoint(tmp_path, generate_encryption_key(), True, **KEEP_ALL) as sealed:
        sealed.save({"a": BIG, "b": 1}, "one")
        flip(path_of(sealed, "one"), 20)
        assert sealed.repair().lost[0].keys == ("a", "b")


def test_a_file_put_back_is_back_in_service(archive):
    archive.save({"a": BIG}, "one")
    path = path_of(archive, "one")
    path.rename(kept := path.with_name("kept"))
    assert [each.keys for each in archive.repair().lost] == [("a",)]
    kept.rename(path)
    report = archive.repair(read_data=False)
    assert (report.restored, report.is_ok) == ((f"p-default/{path.name}",), True)
    archive.save({"a": BIG, "b": 2}, "two")
    assert archive.get_checkpoint_info("two").is_incremental
    assert archive.check(read_data=True).is_ok


def test_a_copy_that_is_damaged_too_is_not_relied_on(archive):
    for name in ("one", "two", "three"):
        archive.save({"a": [1, 2, 3], "b": BIG}, name, force_full=True)
    path_of(archive, "one").unlink()
    flip(path_of(archive, "two"), 2_000)
    report = archive.repair(read_data=False)  # which does not know of the second yet
    assert len(report.damaged) == 2
    assert report.lost == ()
    assert {len(archive.load(name)["b"]) for name in ("one", "two", "three")} == {len(BIG)}


def test_what_has_only_a_copy_that_is_damaged_too_is_lost_and_not_recovered(archive):
    for name in ("one", "two"):
        archive.save({"a": [1, 2, 3], "b": BIG[:999]}, name, force_full=True)
    path_of(archive, "one").unlink()
    flip(path_of(archive, "two"), 200)
    report = archive.repair(read_data=False)  # which does not know of the second yet
    assert report.recovered == ()
    assert [(each.checkpoint_id, each.keys) for each in report.lost] == [
        ("one", ("a", "b")),
        ("two", ("a", "b")),
    ]
    assert archive.repair(read_data=True).lost == report.lost


def test_a_dry_run_says_all_of_it_and_does_nothing(archive, tree):
    for name in ("one", "two"):
        archive.save({"a": BIG, "name": name}, name, force_full=True)
    path_of(archive, "one").unlink()
    cut(path_of(archive, "two"), 10)
    archive.save({"a": BIG}, "three", force_full=True)
    asked = {"forget_damaged": True, "read_data": True}
    before = tree(archive.checkpoint_dir / "payloads")
    rehearsed = archive.repair(dry_run=True, **asked)
    assert tree(archive.checkpoint_dir / "payloads") == before
    done = archive.repair(**asked)
    assert rehearsed.is_dry_run
    for name in ("damaged", "recovered", "lost", "forgotten", "removed_files", "only_in_database"):
        assert getattr(rehearsed, name) == getattr(done, name), name
    assert set(done.forgotten) == {("default", "one"), ("default", "two")}


def test_lost_checkpoints_are_forgotten_if_asked_but_not_pinned_ones(archive):
    archive.save({"n": 1}, "kept")
    for name in ("pinned", "lost"):
        archive.save({"a": NOISE.bytes(99)}, name, force_full=True, pinned=name == "pinned")
        path_of(archive, name).unlink()
    report = archive.repair(forget_damaged=True)
    assert [each.checkpoint_id for each in report.lost] == ["pinned", "lost"]
    assert report.forgotten == (("default", "lost"),)
    assert {each.checkpoint_id for each in archive.list_checkpoints()} == {"kept", "pinned"}


def test_a_file_that_is_put_back_during_a_repair_is_not_forgotten(archive):
    states = {name: {"a": NOISE.bytes(99)} for name in ("back", "lost")}
    for name, state in states.items():
        archive.save(state, name, force_full=True)
    path = path_of(archive, "back")
    away = path.rename(path.with_name("away"))
    path_of(archive, "lost").unlink()

    def put_back(done, total):
        if done == total:
            away.rename(path)

    report = archive.repair(forget_damaged=True, progress=put_back)
    assert report.forgotten == (("default", "lost"),)
    assert [each.checkpoint_id for each in report.lost] == ["lost"]
    assert report.restored == (f"p-default/{path.name}",)
    assert archive.load("back") == states["back"]


def test_what_a_save_stores_anew_before_it_is_forgotten_is_not_forgotten(archive, monkeypatch):
    state = {"a": NOISE.bytes(99)}
    archive.save(state, "lost")
    path_of(archive, "lost").unlink()
    look = repair._lost

    def save_first(*arguments):
        monkeypatch.undo()
        archive.save(state, "copy", force_full=True)
        return look(*arguments)

    monkeypatch.setattr(repair, "_lost", save_first)
    assert archive.repair(forget_damaged=True).forgotten == ()
    assert archive.repair().lost == ()
    assert archive.load("lost") == state


def test_other_pipelines_are_repaired_too_and_lend_nothing(store):
    for pipeline in "ab":
        store(pipeline=pipeline, **KEEP_ALL).save({"same": [1, 2]}, "same")
    path_of(store(pipeline="a"), "same").unlink()
    [lost] = store(pipeline="b").repair().lost
    assert (lost.pipeline, lost.checkpoint_id) == ("a", "same")


def test_a_file_without_a_row_is_only_named(archive):
    archive.save({"n": 1}, "one")
    path = path_of(archive, "one")
    shutil.copy(path, path.with_name("0000000099-stray.ckpt.gz"))
    assert archive.repair().orphans == ("p-default/0000000099-stray.ckpt.gz",)
    assert path.with_name("0000000099-stray.ckpt.gz").exists()


def test_rows_that_are_damaged_are_named_and_their_files_stay_in_service(archive, alter):
    archive.save({"n": 1}, "one")
    alter(archive, "UPDATE checkpoints SET created_at = '2020-01-01 00:00:00.000000'")
    report = archive.repair()
    assert (report.damaged, [each.kind for each in report.problems]) == ((), ["manifest"])


@pytest.mark.sqlite
def test_a_database_that_is_damaged_is_for_a_rebuild(archive, alter):
    archive.save({"n": 1}, "one")
    alter(archive, "UPDATE entries SET value_id = 9999")
    with pytest.raises(CorruptionError, match="rebuild"):
        archive.repair()


def test_a_store_that_cannot_be_written_is_only_rehearsed(archive, monkeypatch):
    archive.save({"n": 1}, "one")
    path_of(archive, "one").unlink()
    monkeypatch.setattr(archive._engine.database, "read_only", True)
    with pytest.raises(StoreUnavailableError, match="read-only"):
        archive.repair()
    assert archive.repair(dry_run=True).lost[0].keys == ("n",)


@pytest.mark.parametrize(("call", "number"), [("open", "EMFILE"), ("pread", "ESTALE")])
@pytest.mark.sqlite
def test_what_cannot_be_read_now_is_no_damage(archive, monkeypatch, call, number):
    archive.save({"n": 1}, "one")
    archive.save({"n": 1}, "two", force_full=True)
    real = getattr(os, call)

    def fail(target, *arguments):
        if call == "open" and not str(target).endswith(".ckpt.gz"):
            return real(target, *arguments)
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StoreUnavailableError, match="cannot be read"):
        archive.repair(forget_damaged=True)
    monkeypatch.undo()
    assert archive.load("one") == {"n": 1}
    assert archive.repair().is_ok


def test_a_directory_that_is_not_there_is_no_damage(archive):
    archive.save({"n": 1}, "one")
    payloads = archive.checkpoint_dir / "payloads"
    payloads.rename(payloads.with_name("elsewhere"))
    with pytest.raises(StoreUnavailableError):
        archive.repair(forget_damaged=True)
    payloads.with_name("elsewhere").rename(payloads)
    assert archive.load("one") == {"n": 1}


def test_a_pipeline_that_goes_on_saving_heals_the_state_it_saves(tmp_path):
    state, stop, failures = {"big": BIG[:300_000], "list": [1, 2]}, threading.Event(), []

    def save():
        try:
            with PipelineCheckpoint(tmp_path, **KEEP_ALL) as writer:
                for number in range(500):
                    writer.save({**state, "n": number}, f"later {number % 3}")
                    if stop.is_set():
                        return
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        handle.save(state, "first")
        thread = threading.Thread(target=save)
        thread.start()
        try:
            path_of(handle, "first").unlink()
            while handle.repair().lost:
                pass
        finally:
            stop.set()
            thread.join()
        assert failures == []
        assert handle.load("first") == state
        handle.repair()
        sizes = {len(handle.load(each.checkpoint_id)) for each in handle.list_checkpoints()}
        assert sizes <= {2, 3}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_damaged_what_has_a_copy_of_every_byte_is_whole(archive, seed):
    chance = random.Random(seed)
    values = [[number] * 500 for number in range(4)] + [chance.randbytes(40_000) for _ in range(3)]
    states, stored = {}, {}
    for number in range(10):
        state = {key: chance.choice(values) for key in "abcd"[: chance.randint(1, 4)]}
        archive.save(state, str(number), force_full=chance.random() < 0.5)
        states[str(number)] = state
    for path in archive.checkpoint_dir.rglob("*.ckpt.gz"):
        if chance.random() < 0.4:
            DAMAGE[chance.choice(list(DAMAGE))](path)
        else:
            stored[path] = path.read_bytes()
    damaged = handle_kept = len(states) - len(stored)
    report = archive.repair()
    assert len(report.damaged) == damaged == handle_kept
    lost = {each.checkpoint_id: each for each in report.lost}
    for name, state in states.items():
        whole = lost[name].whole_keys if name in lost else tuple(state)
        assert archive.load(name, keys=whole) == {key: state[key] for key in whole}
    assert all(path.read_bytes() == raw for path, raw in stored.items() if path.exists())
    assert archive.repair().recovered == ()
    said = set(lost) | {name for _, name in report.only_in_database}
    kinds = archive.check(read_data=True).problems
    assert {name for each in kinds for name in each.checkpoint_ids} <= said
