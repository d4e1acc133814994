"""What an attack on the engine found, each once: none of it happens again."""

import itertools
import sqlite3
import sys
import traceback

import pytest

from checkpointdb import (
    CorruptionError,
    InvalidInputError,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreUnavailableError,
)
from checkpointdb.database import Database
from checkpointdb.store import staging

KEEP_ALL = {"retention_policy": RetentionPolicy.KEEP_ALL}


@pytest.mark.parametrize("method", ["commit", "rollback", "close"])
def test_whatever_a_query_does_to_its_connection_the_handle_goes_on_saving(store, method):
    handle = store()
    handle.save({"a": 1}, "x")
    with handle.query() as connection:
        getattr(connection, method)()
    handle.save({"a": 2}, "y")
    assert handle.load("y") == {"a": 2}


@pytest.mark.damages
def test_an_empty_database_beside_payloads_is_refused_and_can_be_rebuilt(store):
    handle = store()
    handle.save({"a": 1}, "x")
    handle.close()
    for path in handle.checkpoint_dir.glob("checkpoints.db*"):
        path.unlink()
    (handle.checkpoint_dir / "checkpoints.db").touch()
    with pytest.raises(StoreUnavailableError, match="rebuild"):
        PipelineCheckpoint(handle.checkpoint_dir)
    assert PipelineCheckpoint.rebuild(handle.checkpoint_dir).checkpoints == ("x",)


@pytest.mark.damages
def test_what_an_interrupted_rebuild_leaves_is_no_store_and_is_rebuilt_again(store):
    handle = store()
    handle.save({"a": 1}, "x")
    handle.close()
    path = handle.checkpoint_dir / "checkpoints.db"
    for each in handle.checkpoint_dir.glob("checkpoints.db*"):
        each.unlink()
    database = Database(f"sqlite:///{path}")
    database.prepare()  # killed here
    database.close()
    with pytest.raises(StoreUnavailableError, match="missing or empty"):
        PipelineCheckpoint(handle.checkpoint_dir)
    PipelineCheckpoint.rebuild(handle.checkpoint_dir)
    with PipelineCheckpoint(handle.checkpoint_dir) as found:
        assert found.load("x") == {"a": 1}


@pytest.mark.damages
def test_a_database_that_is_none_is_moved_away_before_a_rebuild(store):
    handle = store()
    handle.save({"a": 1}, "x")
    handle.close()
    (handle.checkpoint_dir / "checkpoints.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreUnavailableError, match="move it"):
        PipelineCheckpoint.rebuild(handle.checkpoint_dir)


def test_the_keys_to_load_may_come_from_a_generator(store):
    handle = store()
    handle.save({"a": 1, "b": 2, "c": 3}, "x")
    assert handle.load("x", keys=(key for key in "ba")) == {"b": 2, "a": 1}


@pytest.mark.parametrize("keys", [[1], [None], [b"a"], [("a",)], 3, "a"], ids=str)
def test_keys_that_are_no_text_are_refused(store, keys):
    handle = store()
    handle.save({"a": 1}, "x")
    with pytest.raises(InvalidInputError, match="keys"):
        handle.load("x", keys=keys)


class Restless:
    """Pickles differently each time."""

    ticks = itertools.count()

    def __getstate__(self):
        return {"tick": next(self.ticks), "filler": bytes(range(256)) * 300}


def test_a_value_that_pickles_differently_each_time_leaves_nothing_behind(store):
    handle = store(**KEEP_ALL)
    handle.save({"big": b"x" * 50_000, "restless": Restless()}, "one")
    for number in range(5):
        state = {"big": b"y" * 400_000 + bytes([number]), "restless": Restless()}
        handle.save(state, f"c{number}")
    assert handle.check(read_data=True).problems == ()
    for each in handle.list_checkpoints():
        handle.delete_checkpoint(each.checkpoint_id)
    assert [*handle.checkpoint_dir.glob("payloads/p-*/*")] == []
    with handle.query() as connection:
        for table in ("chunks", "members", "payloads", "state_values"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0


def test_a_value_that_another_key_has_already_is_not_defined_again(store, monkeypatch):
    monkeypatch.setattr(staging, "_LOOK_UP_BYTES", 10**9)
    handle = store(**KEEP_ALL)
    handle.save({"b": "v" * 100, "filler": "f" * 10_000}, "one")
    handle.save({"a": "v" * 100, "b": "v" * 100, "filler": "f" * 10_000}, "two")
    with handle.query() as connection:
        query = "SELECT count(*) FROM state_values WHERE raw_bytes < 1000"
        assert connection.exec_driver_sql(query).scalar() == 1


@pytest.mark.damages
def test_a_payload_that_was_lost_is_marked_and_the_next_save_stores_its_content_again(store):
    handle = store(**KEEP_ALL)
    handle.save({"lost": "l" * 50_000, "n": 0}, "one")
    handle.save({"lost": "l" * 50_000, "n": 1}, "two")
    next(handle.checkpoint_dir.glob("payloads/p-*/*-one.ckpt.gz")).unlink()
    with pytest.raises(CorruptionError, match="gone"):
        handle.load("two")
    handle.save({"lost": "l" * 50_000, "n": 2}, "three")
    assert handle.load("three") == {"lost": "l" * 50_000, "n": 2}


@pytest.mark.damages
def test_a_payload_with_changed_bytes_is_not_relied_on_once_that_was_seen(store):
    handle = store(**KEEP_ALL)
    handle.save({"lost": "l" * 50_000, "n": 0}, "one")
    [path] = handle.checkpoint_dir.glob("payloads/p-*/*-one.ckpt.gz")
    stored = bytearray(path.read_bytes())
    stored[40] ^= 1
    path.write_bytes(stored)
    with pytest.raises(CorruptionError, match="Hash verification failed"):
        handle.load("one")
    handle.save({"lost": "l" * 50_000, "n": 2}, "two")
    assert handle.load("two")["n"] == 2


class Explosive:
    def __reduce__(self):
        return (int, ("not a number",))


def test_a_load_that_cannot_be_unpickled_does_not_change_what_a_save_builds_on(store):
    handle = store(**KEEP_ALL)
    handle.save({"a": "x" * 9_000, "bad": Explosive()}, "bad")
    handle.save({"a": "x" * 9_000, "n": 1}, "good")
    with pytest.raises(ValueError, match="not a number"):
        handle.load("bad")
    handle.save({"a": "x" * 9_000, "n": 2}, "next")
    assert handle.get_checkpoint_info("next").base_checkpoint_id == "good"


def test_a_store_opened_where_nothing_can_be_written_notices_that_somebody_wrote(store):
    handle = store()
    handle.save({"a": 1}, "x")
    path = handle.checkpoint_dir / "checkpoints.db"
    handle.close()
    database = Database.open_read_only(path)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM checkpoints").scalar() == 1
    with PipelineCheckpoint(handle.checkpoint_dir) as other:
        other.save({"a": 2}, "y")
    with pytest.raises(StoreUnavailableError, match="open it again"), database.read():
        pass
    database.close()


def test_nor_does_it_matter_to_that_whether_the_writer_had_its_log_open_before(store):
    """An empty one, as who has written nothing yet has: what is written lies in it alone."""
    handle = store()
    handle.save({"a": 1}, "x")
    handle.close()
    with PipelineCheckpoint(handle.checkpoint_dir) as other:
        database = Database.open_read_only(handle.checkpoint_dir / "checkpoints.db")
        with database.read():
            other.load("x")
        other.save({"a": 2}, "y")
        with pytest.raises(StoreUnavailableError, match="open it again"), database.read():
            pass
    database.close()


@pytest.mark.parametrize("begin", ["read", "read_only_connection"])
def test_what_it_reads_while_somebody_writes_is_no_answer(store, begin):
    handle = store()
    handle.save({"a": 1}, "x")
    handle.close()
    database = Database.open_read_only(handle.checkpoint_dir / "checkpoints.db")

    def ask():
        with getattr(database, begin)():
            with PipelineCheckpoint(handle.checkpoint_dir) as other:
                other.save({"a": 2}, "y")
            raise sqlite3.DatabaseError("database disk image is malformed")

    with pytest.raises(StoreUnavailableError, match="open it again"):
        ask()
    database.close()


@pytest.mark.damages
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE checkpoints SET created_at = 'garbage'",
        "UPDATE checkpoints SET custom_metadata = '{'",
        "UPDATE state_values SET digest = 'text'",
    ],
)
def test_rows_that_hold_something_else_are_corruption(store, damage):
    handle = store()
    handle.save({"a": 1}, "x")
    with sqlite3.connect(handle.checkpoint_dir / "checkpoints.db") as connection:
        connection.execute(damage)
    connection.close()

    def read():
        handle.load("x")
        handle.list_checkpoints()

    with pytest.raises(CorruptionError):
        read()


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan"), None, "1", True])
def test_a_time_to_wait_that_makes_no_sense_is_refused(tmp_path, seconds):
    with pytest.raises(InvalidInputError, match="busy_seconds"):
        PipelineCheckpoint(tmp_path / "store", busy_seconds=seconds)


@pytest.mark.skipif(sys.platform == "win32", reason="it cannot be removed there")
def test_a_relative_directory_is_refused_where_the_process_is_in_none(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StoreUnavailableError, match="this process is in is gone"):
        PipelineCheckpoint("store")


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_a_directory_that_cannot_be_is_refused(tmp_path, name):
    with pytest.raises(StoreUnavailableError):
        PipelineCheckpoint(tmp_path / name)


@pytest.mark.parametrize("act", ["save", "load", "list_checkpoints", "delete_checkpoint", "merge"])
def test_what_is_called_near_the_end_of_the_stack_takes_no_row_and_no_file_for_damaged(
    store, monkeypatch, act
):
    # There the interpreter cannot call what a weak reference calls either, nor pytest's own hook.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    handle = store(**KEEP_ALL)
    handle.save({"a": 1, "b": "b" * 1_000}, "x", custom_metadata={"stage": 1})
    handle.save({"a": 2}, "y", base="x")
    handle.save({"a": 3, "b": "b" * 1_000}, "x")
    given = {"save": [{"a": 4}], "load": ["x"], "delete_checkpoint": ["x"], "merge": ["y"]}
    raised = set()

    def call(depth):
        return call(depth - 1) if depth else getattr(handle, act)(*given.get(act, []))

    deepest = sys.getrecursionlimit() - len(traceback.extract_stack()) - 10
    for depth in range(deepest, 0, -1):
        try:
            call(depth)
            break
        except RecursionError as error:
            raised.add(type(error))
    assert raised == {RecursionError}
    assert handle.check(read_data=True).problems == ()
