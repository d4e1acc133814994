"""What a server, a role or the environment is set to: what is read and kept stays the same."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from checkpointdb import (
    PipelineCheckpoint,
    RetentionPolicy,
    StoreBusyError,
    StoreUnavailableError,
    meta,
)

KEEP_ALL = {"retention_policy": RetentionPolicy.KEEP_ALL}
EXACT = 0.1 + 0.2  # has seventeen digits


@pytest.fixture
def url(emptied):
    """The URL of a database without rows."""
    return next(emptied())


@pytest.fixture
def set_database(url, postgres):
    """Set something for all who connect to the database, until the test ends."""
    name, done = sa.make_url(url).database, []

    def set_to(setting, value):
        postgres.execute(f"ALTER DATABASE {name} SET {setting} = {value}")
        done.append(setting)

    yield set_to
    for setting in done:
        postgres.execute(f"ALTER DATABASE {name} RESET {setting}")


@pytest.fixture
def opened(tmp_path, url):
    """Open handles of one store on the server."""
    handles = []

    def open_store(**options):
        given = {"database_url": url, **KEEP_ALL, **options}
        handles.append(PipelineCheckpoint(tmp_path / "store", **given))
        return handles[-1]

    yield open_store
    for handle in handles:
        handle.close()


def assert_kept(handle, target):
    """Assert that all that is asked of a checkpoint is answered, and backed up, as it was saved."""
    handle.save({"日": 1}, "€日", custom_metadata={"x": EXACT, "t": "日本"})
    assert handle.load("€日") == {"日": 1}
    [found] = handle.list_checkpoints(where=(meta("x") == EXACT) & (meta("t") == "日本"))
    assert (found.checkpoint_id, found.custom_metadata["x"]) == ("€日", EXACT)
    assert found.timestamp.endswith("+00:00")
    assert handle.check().problems == ()
    handle.push_backup(target / "remote")
    PipelineCheckpoint.pull_backup(target / "remote", target / "pulled")
    with PipelineCheckpoint(target / "pulled") as pulled:
        [copied] = pulled.list_checkpoints(where=meta("x") == EXACT)
        assert copied.custom_metadata == found.custom_metadata
        assert pulled.check().problems == ()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("extra_float_digits", "-3"),
        ("datestyle", "'German, DMY'"),
        ("datestyle", "'SQL, DMY'"),
        ("client_encoding", "'SQL_ASCII'"),
        ("client_encoding", "'LATIN1'"),
        ("bytea_output", "'escape'"),
        ("standard_conforming_strings", "off"),
    ],
)
def test_what_is_read_does_not_depend_on_what_a_database_is_set_to(
    opened, set_database, tmp_path, setting, value
):
    set_database(setting, value)
    assert_kept(opened(), tmp_path)


def test_what_is_read_does_not_depend_on_the_environment(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGDATESTYLE", "German")
    assert_kept(opened(), tmp_path)


def test_a_span_of_time_is_read_whatever_a_database_is_set_to(opened, set_database):
    set_database("intervalstyle", "'iso_8601'")
    answer = opened().sql("SELECT make_interval(hours => 3)")
    assert answer.rows[0][0].total_seconds() == 3 * 3600


@pytest.mark.parametrize(
    ("level", "found"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")],
)
def test_a_durable_commit_waits_for_as_much_as_a_database_may_be_set_to_forgo(
    opened, set_database, level, found
):
    set_database("synchronous_commit", level)
    with opened()._engine.database.write() as connection:
        assert connection.scalar(sa.text("SHOW synchronous_commit")) == found


# --- the time that a statement may take


def test_to_wait_for_another_writer_is_no_statement_that_takes_too_long(opened, set_database):
    other = opened()
    other.save({"n": 1}, "one")
    set_database("statement_timeout", "'100ms'")
    handle = opened(busy_seconds=0.7)
    with other._engine.writing():
        begun = time.monotonic()
        with pytest.raises(StoreBusyError):
            handle.save({"n": 2}, "two")
        assert time.monotonic() - begun > 0.6
    handle.save({"n": 2}, "two")


def test_a_statement_that_takes_longer_than_the_server_allows_is_told_so(opened, set_database):
    handle = opened()
    set_database("statement_timeout", "'100ms'")
    handle._engine.database.close()
    with (
        pytest.raises(StoreUnavailableError, match="allow this user more"),
        handle._engine.database.write() as connection,
    ):
        connection.exec_driver_sql("SELECT pg_sleep(1)")
