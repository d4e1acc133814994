"""The store is removed, made anew or exchanged while a handle is open: it must not acknowledge."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from breaking import KEEP_ALL, assert_sound, run_well, state_of, tag_of, tags_of

from checkpointdb import CheckpointError, PipelineCheckpoint, StoreUnavailableError
from checkpointdb.database import Database
from checkpointdb.local_payloads import LocalPayloads


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def handle(directory):
    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        handle.save(state_of("old"), "a")
        handle.save(state_of("old b"), "b")
        yield handle


ACTS = {
    "save": lambda handle: handle.save(state_of("lost"), "a"),
    "save anew": lambda handle: handle.save(state_of("lost"), "z", force_full=True),
    "save in another thread": lambda handle: in_a_thread(handle.save, state_of("lost"), "a"),
    "delete": lambda handle: handle.delete_checkpoint("a"),
    "pin": lambda handle: handle.pin("a"),
    "sweep": lambda handle: handle.sweep(),
}


def in_a_thread(call, *arguments):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call, *arguments).result()


def remove_database(directory):
    for path in directory.glob("checkpoints.db*"):
        path.unlink()


def make_anew(directory):
    """Another process makes the store anew: the same pipeline, ids and names of files."""
    shutil.rmtree(directory)
    run_well("try_saves", directory, "a", "b")


def exchange_database(directory):
    """Put a copy in the database's place, as a restored backup would be."""
    copy = directory.with_name("copy.db")
    shutil.copyfile(directory / "checkpoints.db", copy)
    copy.replace(directory / "checkpoints.db")


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("remove", [shutil.rmtree, remove_database, make_anew, exchange_database])
def test_a_handle_whose_store_is_gone_says_so_and_acknowledges_nothing(
    directory, handle, remove, act
):
    remove(directory)
    with pytest.raises(StoreUnavailableError, match=r"removed|gone"):
        ACTS[act](handle)


@pytest.mark.parametrize("act", ACTS)
def test_a_handle_of_a_removed_store_does_no_harm_to_the_one_made_anew(directory, handle, act):
    make_anew(directory)
    with pytest.raises(CheckpointError):
        ACTS[act](handle)
    with pytest.raises(CheckpointError):
        tag_of(handle.load("a"))
    with PipelineCheckpoint(directory, **KEEP_ALL) as new:
        assert tags_of(new) == {"a": "a 0", "b": "b 1"}
    assert_sound(directory, allowed=set())


def test_loading_from_a_removed_store_is_an_error_of_ours(directory, handle):
    shutil.rmtree(directory)
    for load in (lambda: handle.load("a"), handle.load_latest, lambda: handle.lazy("a")["tag"]):
        with pytest.raises(CheckpointError):
            load()


@pytest.mark.parametrize("remove", [shutil.rmtree, remove_database, make_anew, exchange_database])
def test_a_store_that_goes_in_the_middle_of_a_save_acknowledges_nothing(
    directory, handle, monkeypatch, remove
):
    """Between the look at the database's file and the commit."""
    give_name = LocalPayloads.give_name

    def remove_and_give_name(*arguments):
        remove(directory)
        give_name(*arguments)

    monkeypatch.setattr(LocalPayloads, "give_name", remove_and_give_name)
    with pytest.raises(StoreUnavailableError, match=r"removed|gone"):
        handle.save(state_of("lost"), "c")


@pytest.mark.parametrize("gone", ["incoming", "p-default"])
def test_a_payload_directory_that_was_removed_is_made_again(directory, handle, gone):
    shutil.rmtree(directory / "payloads" / gone)
    handle.save(state_of("new"), "c", force_full=True)
    assert tag_of(handle.load("c")) == "new"


def test_a_removed_store_can_be_opened_anew_by_the_same_process(directory, handle):
    shutil.rmtree(directory)
    with PipelineCheckpoint(directory, **KEEP_ALL) as anew:
        anew.save(state_of("new"), "a")
        assert tags_of(anew) == {"a": "new"}
        with pytest.raises(StoreUnavailableError):
            handle.save(state_of("lost"), "a")
    assert_sound(directory, allowed=set())


def test_a_database_copied_within_the_process_loses_no_later_save(directory, handle):
    """Closing a copy's source drops SQLite's locks; another process then removes the log."""
    shutil.copyfile(directory / "checkpoints.db", directory.with_name("backup.db"))
    run_well("look", directory)
    acknowledged = ["a", "b"]
    for each in "cde":
        try:
            acknowledged.append(handle.save(state_of(each), each))
        except StoreUnavailableError:
            continue
    found = [line.split()[0] for line in run_well("look", directory)]
    assert set(acknowledged) <= set(found)


# --- a store that is there, and cannot be looked at


@pytest.fixture
def refuse_to_look(directory, monkeypatch):
    """Let the system refuse to look at files of the store; to root no permissions would."""
    look = os.stat

    def refused(path, **options):
        if not isinstance(path, int) and f"{path}/".startswith(f"{directory}/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look(path, **options)

    return lambda: monkeypatch.setattr(os, "stat", refused)


@pytest.mark.parametrize("act", [*ACTS.values(), PipelineCheckpoint.check], ids=[*ACTS, "check"])
def test_a_store_that_cannot_be_looked_at_says_so_and_is_not_changed(
    directory, handle, refuse_to_look, monkeypatch, act
):
    refuse_to_look()
    with pytest.raises(StoreUnavailableError, match=f"{directory}/.*Permission denied"):
        act(handle)
    monkeypatch.undo()
    assert tags_of(handle) == {"a": "old", "b": "old b"}


def test_a_rebuild_of_a_store_that_cannot_be_looked_at_says_so(directory, handle, refuse_to_look):
    handle.close()
    refuse_to_look()
    with pytest.raises(StoreUnavailableError, match="Permission denied"):
        PipelineCheckpoint.rebuild(directory)


def test_what_is_committed_when_a_store_can_no_longer_be_looked_at_is_not_said_to_be_lost(
    handle, refuse_to_look, monkeypatch
):
    commit = Database._commit

    def commit_then_refuse(database, connection):
        commit(database, connection)
        refuse_to_look()

    monkeypatch.setattr(Database, "_commit", commit_then_refuse)
    with pytest.raises(StoreUnavailableError, match="what was done is there unless"):
        handle.save(state_of("new"), "a")
    monkeypatch.undo()
    assert tags_of(handle) == {"b": "old b", "a": "new"}
