"""An error that a context manager replaces does not keep alive what it passed through."""

from __future__ import annotations

import gc
import sqlite3
import sys
import weakref
from contextlib import closing

import numpy as np
import pytest
import sqlalchemy as sa
from breaking import open_files

from checkpointdb import PipelineCheckpoint, StoreBusyError
from checkpointdb.contexts import contextmanager


class Seen:
    """What somebody waits to be freed."""


@pytest.fixture(autouse=True)
def _uncollected():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@contextmanager
def translated():
    try:
        yield "within"
    except TypeError as error:
        raise LookupError("ours") from error


@contextmanager
def around():
    with translated() as found:
        yield found


def fail(seen):
    local = Seen()
    seen.append(weakref.ref(local))
    raise TypeError("the driver's")


@pytest.mark.parametrize("manager", [translated, around])
def test_a_replaced_error_is_the_cause_and_lets_go_of_its_frames(manager):
    seen = []
    with pytest.raises(LookupError, match="ours") as caught, manager():
        fail(seen)
    assert isinstance(caught.value.__cause__, TypeError)
    assert seen[0]() is not None  # for as long as somebody has the error
    assert caught.value.__cause__.__traceback__.tb_next.tb_frame.f_code.co_name == "fail"
    del caught
    assert seen[0]() is None


def test_another_error_passes_as_it_is():
    with pytest.raises(ZeroDivisionError) as caught, around():
        _ = 1 / 0
    assert caught.value.__context__ is None
    with translated() as found:
        pass
    assert found == "within"


def test_a_save_that_failed_lets_go_of_the_state(tmp_path):
    with PipelineCheckpoint(tmp_path, busy_seconds=0.1) as handle:
        handle.save({"a": 1}, "x")
        state = {"a": np.zeros(1_000)}
        seen = weakref.ref(state["a"])
        with closing(sqlite3.connect(tmp_path / "checkpoints.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusyError) as refused:
                handle.save(state, "y")
        del state, refused
        assert seen() is None


def read_and_fail(connection):
    found = connection.exec_driver_sql("SELECT id FROM checkpoints")
    for row in found:
        raise KeyboardInterrupt(row)


def interrupt(*_arguments):
    raise KeyboardInterrupt


def read_and_be_interrupted_within_sqlalchemy(connection):
    """In a second statement, for which it gives the connection up."""
    found = connection.exec_driver_sql("SELECT id FROM checkpoints")
    assert found.fetchone() is not None
    sa.event.listen(connection.engine, "do_execute", interrupt)
    connection.exec_driver_sql("SELECT 1")


@pytest.mark.skipif(sys.platform != "linux", reason="no list of open files")
@pytest.mark.parametrize("of", ["query", "read"])
def test_a_connection_that_sqlalchemy_gives_up_reads_no_more_whoever_keeps_the_interrupt(
    tmp_path, of
):
    with PipelineCheckpoint(tmp_path) as handle:
        for each in "ab":
            handle.save({"a": each}, each)
        reading = handle.query if of == "query" else handle._engine.database.read
        with pytest.raises(KeyboardInterrupt) as kept, reading() as connection:
            read_and_be_interrupted_within_sqlalchemy(connection)
    assert open_files(tmp_path) == []
    del kept


@pytest.mark.skipif(sys.platform != "linux", reason="no list of open files")
def test_a_query_that_was_interrupted_leaves_no_file_open_whoever_keeps_the_interrupt(tmp_path):
    with PipelineCheckpoint(tmp_path) as handle:
        for each in "ab":
            handle.save({"a": each}, each)
        with pytest.raises(KeyboardInterrupt) as kept, handle.query() as connection:
            read_and_fail(connection)
    assert open_files(tmp_path) == []
    del kept


def test_what_others_saved_is_seen_after_a_row_that_could_not_be_read(tmp_path):
    """A cursor that lives on keeps its connection at what it began to read."""
    with PipelineCheckpoint(tmp_path) as handle, PipelineCheckpoint(tmp_path) as other:
        for each in "ab":
            handle.save({"a": each}, each)
        with closing(sqlite3.connect(tmp_path / "checkpoints.db", isolation_level=None)) as forger:
            [sound] = forger.execute("SELECT sha256 FROM payloads LIMIT 1").fetchone()
            forger.execute("UPDATE payloads SET sha256 = 5 WHERE id = 1")
            assert "cannot be read" in handle.check().problems[0].detail
            forger.execute("UPDATE payloads SET sha256 = ? WHERE id = 1", (sound,))
        other.save({"a": "c"}, "c")
        assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["c", "b", "a"]
        handle.save({"a": "d"}, "d")
