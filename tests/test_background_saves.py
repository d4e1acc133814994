"""Saves that nobody waits for: what is captured, in which order, and where errors come out."""

from __future__ import annotations

import logging
import mmap
import os
import sqlite3
import threading
import time
from contextlib import closing, contextmanager

import numpy as np
import pytest
from breaking import KEEP_ALL, assert_sound, run_well, tags_of

from checkpointdb import (
    CloudBackupConfig,
    InvalidInputError,
    InvalidStateError,
    KeepNewest,
    NotFoundError,
    PendingSave,
    PipelineCheckpoint,
    StoreUnavailableError,
)
from checkpointdb.store import background, capturing
from checkpointdb.store.packer import Packer

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@contextmanager
def held(handle):
    """Keep everybody from writing, as another program may for a while."""
    path = handle.checkpoint_dir / "checkpoints.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def fail(handle, name="bad"):
    """Begin a save that fails, and wait until it did, without asking it for its error."""
    pending = handle.save({"a": 1}, name, base="nobody", wait=False)
    while not pending.done():
        time.sleep(0.001)
    return pending


# --- what is captured


def test_the_state_may_be_changed_at_once(archive):
    state = {
        "array": np.arange(100_000),
        "list": list(range(1_000)),
        "text": "as it was",
        "view": np.arange(20_000)[::2],
    }
    expected = {key: value if key == "text" else value.copy() for key, value in state.items()}
    with held(archive):
        pending = archive.save(state, "x", custom_metadata={"stage": 1}, wait=False)
        state["array"][:] = 0
        state["view"][:] = 0
        state["list"].clear()
        state["text"] = "changed"
        state["more"] = 1
    assert pending.result() == "x"
    found = archive.load("x")
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert np.array_equal(found[key], value), key


def test_arrays_that_are_captured_come_back_writable_and_are_compared_as_ever(archive):
    array = np.random.default_rng(0).standard_normal(200_000)
    archive.save({"array": array}, "first", wait=False)
    array[:10] = 0
    archive.save({"array": array}, "second", wait=False).result()
    assert archive.get_checkpoint_info("second").is_incremental
    assert archive.details("second").metadata.size_bytes < 400_000
    archive.load("second")["array"][0] = 1


@pytest.mark.parametrize("are_mappings_left", [True, False])
def test_large_arrays_may_be_changed_at_once_too(archive, monkeypatch, are_mappings_left):
    def refuse(*_arguments, **_options):
        raise OSError("no more mappings")

    if not are_mappings_left:
        monkeypatch.setattr(mmap, "mmap", refuse)
    source = np.random.default_rng(0)
    state = {
        "flat": source.standard_normal(700_000),
        "columns": np.asfortranarray(source.standard_normal((800, 900))),
        "cube": source.integers(0, 9, (30, 40, 5_000), dtype=np.uint8),
        "records": np.zeros(400_000, dtype=[("id", "i4"), ("value", "f8")]),
    }
    assert min(each.nbytes for each in state.values()) > capturing._LARGE_BYTES
    expected = {key: value.copy(order="K") for key, value in state.items()}
    with held(archive):
        pending = archive.save(state, "x", wait=False)
        for value in state.values():
            value[:] = 1
    pending.result()
    for key, value in archive.load("x").items():
        assert np.array_equal(value, expected[key]), key
        assert value.flags.f_contiguous == expected[key].flags.f_contiguous


def test_a_state_that_cannot_be_saved_is_refused_at_once(archive):
    with pytest.raises(InvalidStateError, match="'lock'"):
        archive.save({"lock": threading.Lock()}, "x", wait=False)


# --- order


def test_a_threads_saves_keep_their_order_whether_it_waits_or_not(archive):
    names = [f"s{number}" for number in range(20)]
    for number, name in enumerate(names):
        archive.save({"kept": "x" * 5_000, "number": number}, name, wait=number % 5 == 4)
    archive.load("s19")
    places = archive.lineage()
    assert [each.checkpoint_id for each in places] == names
    assert [each.depth for each in places] == list(range(20))  # one chain: none was forked


def test_what_a_thread_does_next_comes_after_its_saves(archive):
    with held(archive):
        archive.save({"a": 1}, "x", wait=False)
        archive.save({"a": 2}, "y", wait=False)
    archive.delete_checkpoint("x", missing_ok=False)
    assert archive.load("y") == {"a": 2}


def exported(handle, directory):
    handle.export_checkpoint("new", directory / "file")
    with PipelineCheckpoint(directory / "taken") as taken:
        taken.import_checkpoint(directory / "file")
        return taken.load("new")


def copied(handle, directory):
    handle.copy_into(directory / "copy")
    with PipelineCheckpoint(directory / "copy") as copy:
        return copy.load("new")


def pushed(handle, directory):
    handle.configure_cloud_backup(CloudBackupConfig(True, url=(directory / "remote").as_uri()))
    handle.sync_to_cloud(["new"])
    return handle.restore_from_cloud("new")


def pinned(handle, _directory):
    handle.pin("new")
    assert handle.get_checkpoint_info("new").pinned
    return handle.load("new")


def pruned(handle, _directory):
    handle.prune(KeepNewest(1))
    [left] = handle.list_checkpoints()
    return handle.load(left.checkpoint_id)


def checked(handle, _directory):
    time.sleep(0.1)  # so that there is a file that nothing names yet
    assert handle.check().problems == ()
    return handle.load("new")


def refused(handle, directory):
    """What comes from elsewhere is another of its id."""
    with pytest.raises(InvalidInputError, match="another checkpoint 'new'"):
        handle.import_checkpoint(directory / "theirs")
    return handle.load("new")


@pytest.mark.parametrize(
    "act",
    [
        lambda handle, _: dict(handle.lazy("new")),
        *(pinned, exported, copied, pushed, pruned, checked, refused),
    ],
)
def test_whatever_reads_or_changes_checkpoints_comes_after_a_threads_saves(
    archive, tmp_path, monkeypatch, act
):
    finish = Packer.finish

    def finish_late(*arguments, **options):
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.2)
        return finish(*arguments, **options)

    with PipelineCheckpoint(tmp_path / "other") as other:
        other.save({"a": "theirs"}, "new")
        other.export_checkpoint("new", tmp_path / "theirs")
    archive.save({"a": 1}, "old")
    monkeypatch.setattr(Packer, "finish", finish_late)
    archive.save({"a": 2}, "new", wait=False)
    assert act(archive, tmp_path) == {"a": 2}


def test_threads_share_the_line_and_each_keeps_its_chain(archive):
    def save(thread):
        for number in range(8):
            archive.save({"t": thread, "n": number}, f"{thread}-{number}", wait=False)

    threads = [threading.Thread(target=save, args=[each]) for each in "abc"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    archive.close()
    chains = {}
    for each in archive.lineage():
        chains.setdefault(each.chain, []).append(each.checkpoint_id)
    assert sorted(chains.values()) == [[f"{t}-{n}" for n in range(8)] for t in "abc"]


def test_a_full_line_makes_the_caller_wait(archive, monkeypatch):
    monkeypatch.setattr(background, "MOST_WAITING", 2)
    begun = []

    def save():
        for number in range(4):
            begun.append(archive.save({"n": number}, f"s{number}", wait=False))

    with held(archive):
        thread = threading.Thread(target=save)
        thread.start()
        thread.join(0.3)
        assert len(begun) == 2
    thread.join()
    archive.close()
    assert len(archive.list_checkpoints()) == 4


def test_captured_bytes_are_limited_too_but_one_state_always_passes(archive, monkeypatch):
    monkeypatch.setattr(background, "MOST_BYTES", 1_000)
    with held(archive):
        first = archive.save({"list": list(range(5_000))}, "large", wait=False)
        assert not first.done()
    archive.save({"list": list(range(6_000))}, "larger", wait=False)
    assert first.done()  # the second had to wait for it
    archive.close()


# --- errors


def test_an_error_comes_out_of_result_and_of_nothing_else(archive):
    pending = archive.save({"a": 1}, "bad", base="nobody", wait=False)
    with pytest.raises(NotFoundError, match="nobody") as caught:
        pending.result()
    assert "'bad'" in caught.value.__notes__[0]
    archive.save({"a": 1}, "good")
    assert isinstance(pending.exception(), NotFoundError)


@pytest.mark.parametrize("wait", [True, False])
def test_an_error_that_nobody_asked_for_is_raised_by_the_next_save_which_saves_nothing(
    archive, caplog, wait
):
    with caplog.at_level(logging.WARNING):
        fail(archive)
    assert "'bad' was not saved" in caplog.text
    with pytest.raises(NotFoundError, match="nobody"):
        archive.save({"a": 2}, "next", wait=wait)
    assert archive.list_checkpoints() == []
    archive.save({"a": 2}, "next", wait=wait)
    assert archive.load("next") == {"a": 2}


def test_saves_behind_one_whose_error_a_log_does_not_take_are_made(archive, monkeypatch):
    class Full(logging.Handler):
        def emit(self, record):
            raise OSError("the log's disk is full")

    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    handler = Full(logging.WARNING)
    background.log.addHandler(handler)
    try:
        bad = archive.save({"a": 1}, "bad", base="nobody", wait=False)
        good = archive.save({"a": 2}, "good", wait=False)
        assert isinstance(bad.exception(20), NotFoundError)
        assert good.result(20) == "good"
    finally:
        background.log.removeHandler(handler)
    for thread in threading.enumerate():
        if thread.name == "checkpointdb-saves":
            thread.join(20)
    assert [each.exc_type for each in told] == [OSError]


def test_an_error_that_nobody_asked_for_is_raised_by_close_with_those_after_it(archive):
    thread = threading.Thread(target=fail, args=[archive, "one"])
    thread.start()
    thread.join()
    fail(archive, "two")
    with pytest.raises(NotFoundError, match="nobody") as caught:
        archive.close()
    assert len(caught.value.__notes__) == 2
    archive.close()


def test_an_error_of_the_block_is_not_hidden_by_one_of_a_save(tmp_path):
    def block():
        with PipelineCheckpoint(tmp_path, durable=False) as handle:
            fail(handle)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        block()
    assert "nobody" in caught.value.__notes__[0]


def test_result_waits_no_longer_than_it_is_told(archive):
    with held(archive):
        pending = archive.save({"a": 1}, "x", wait=False)
        with pytest.raises(TimeoutError, match="'x'"):
            pending.result(timeout=0.05)
        assert repr(pending) == "<PendingSave 'x': running>"
    assert pending.result(timeout=30) == "x"
    assert repr(pending) == "<PendingSave 'x': saved>"
    assert isinstance(pending, PendingSave)


# --- ends


def test_a_handle_that_is_dropped_saves_what_it_was_given(tmp_path):
    handle = PipelineCheckpoint(tmp_path, durable=False)
    with held(handle):
        pending = handle.save({"a": 1}, "x", wait=False)
        del handle
    assert pending.result() == "x"
    with PipelineCheckpoint(tmp_path) as handle:
        assert handle.load("x") == {"a": 1}


@pytest.mark.parametrize("end", ["return", "raise"])
def test_an_interpreter_that_exits_finishes_its_saves(tmp_path, end):
    run_well("leave_saves_behind", tmp_path, end)
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        assert list(tags_of(handle)) == [f"s{number}" for number in range(6)]


def test_saves_in_the_background_whose_caller_is_interrupted_at_any_moment(tmp_path):
    lines = run_well("be_interrupted_in_the_background", tmp_path)
    assert "interrupted" in lines
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        assert {line.removeprefix("saved ") for line in lines[:-1]} - {"interrupted"} <= tags_of(
            handle
        ).keys()
    assert_sound(tmp_path)


@forks
def test_a_child_leaves_its_parents_saves_alone_and_makes_its_own(archive):
    path = archive.checkpoint_dir / "checkpoints.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pending = archive.save({"a": 1}, "of the parent", wait=False)
    other.execute("ROLLBACK")
    other.close()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            if not pending.done():
                with pytest.raises(StoreUnavailableError, match="forked"):
                    pending.result()
            archive.save({"a": 2}, "of the child", wait=False).result()
            archive.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert pending.result() == "of the parent"
    names = {each.checkpoint_id for each in archive.list_checkpoints()}
    assert names == {"of the parent", "of the child"}
