"""What every database does alike, and what each transaction promises."""

from __future__ import annotations

import threading
import time
import traceback
from datetime import UTC, datetime
from functools import partial
from itertools import repeat

import pytest
import sqlalchemy as sa
from alembic import command
from postgres_server import alter

from checkpointdb import (
    InvalidInputError,
    PipelineCheckpoint,
    SchemaVersionError,
    StoreBusyError,
    StoreUnavailableError,
)
from checkpointdb.database import HEAD_REVISION, Database
from checkpointdb.recording import insert_row, insert_rows, record_pipeline
from checkpointdb.revisions import migrations
from checkpointdb.schema import chains, pipelines, removals

NAMES = sa.select(pipelines.c.name).order_by(pipelines.c.id)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/checkpoints.db"
    return request.getfixturevalue("server_url")


@pytest.fixture
def handles():
    """Open handles, closed at the end."""
    opened = []

    def open_database(url, **options):
        opened.append(Database(url, **options))
        return opened[-1]

    yield open_database
    for handle in opened:
        handle.close()


@pytest.fixture
def opened(url, handles):
    """Open handles of one database."""
    return partial(handles, url)


@pytest.fixture
def on_server(server_url, handles):
    """Open handles of one database on a server."""
    return partial(handles, server_url)


@pytest.fixture
def database(opened):
    handle = opened()
    handle.prepare()
    return handle


def names(database):
    with database.read() as connection:
        return list(connection.scalars(NAMES))


def test_the_migrations_give_the_schema_of_the_code(database):
    assert database.revision() == HEAD_REVISION
    with database.write() as connection:
        command.check(migrations(connection))


def test_what_is_committed_is_read_by_others(database, opened):
    with database.write() as connection:
        record_pipeline(connection, "a")
    assert names(opened()) == ["a"]


def test_what_fails_is_rolled_back(database):
    def fail():
        with database.write() as connection:
            record_pipeline(connection, "a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(database) == []


def test_a_read_sees_one_state(database, opened):
    with database.read() as connection:
        assert list(connection.scalars(NAMES)) == []
        with opened().write() as other:
            record_pipeline(other, "a")
        assert list(connection.scalars(NAMES)) == []
    assert names(database) == ["a"]


def test_a_read_cannot_write_by_a_users_statement(database):
    with (
        database.read_only_connection() as connection,
        pytest.raises(sa.exc.DBAPIError, match=r"read.?only"),
    ):
        connection.execute(sa.insert(pipelines).values(name="a", next_sequence=1))


@pytest.mark.parametrize(("first", "second"), [("one", "one"), ("one", None), (None, "one")])
def test_a_second_writer_waits_for_the_first(database, opened, first, second):
    with database.write() as connection:
        ids = {None: None, "one": record_pipeline(connection, "one")}
    other, waited = opened(), threading.Event()

    def write():
        with other.write(pipeline=ids[second]) as connection:
            waited.set()
            connection.execute(sa.update(pipelines).values(next_sequence=5))

    with database.write(pipeline=ids[first]) as connection:
        thread = threading.Thread(target=write)
        thread.start()
        assert not waited.wait(0.2)
        connection.execute(sa.update(pipelines).values(next_sequence=4))
    thread.join(10)
    assert waited.is_set()
    with database.read() as connection:
        assert connection.scalar(sa.select(pipelines.c.next_sequence)) == 5


def test_who_waits_too_long_is_told_so(database, opened):
    with database.write() as connection:
        pipeline = record_pipeline(connection, "a")
    hurried = opened(busy_seconds=0.05)
    with database.write(pipeline=pipeline):
        begun = time.monotonic()
        with pytest.raises(StoreBusyError), hurried.write():
            pass
        assert time.monotonic() - begun < 5


def test_rows_get_growing_ids_whatever_is_inserted_at_once(database):
    with database.write() as connection:
        pipeline = record_pipeline(connection, "a")
        columns = {
            "uuid": map(str, range(200)),
            "pipeline_id": repeat(pipeline, 200),
            "next_depth": range(200),
        }
        ids = insert_rows(connection, chains.c.pipeline_id, [pipeline], 200, columns)
        asked = sa.select(chains.c.id, chains.c.next_depth).order_by(chains.c.id)
        assert connection.execute(asked).all() == list(zip(ids, range(200), strict=True))


def test_text_is_sorted_by_code_point(database):
    given = ["a", "B", "é", "z", "Z", "_", "aa", "\U0001f600"]
    with database.write() as connection:
        for name in given:
            record_pipeline(connection, name)
        found = connection.scalars(sa.select(pipelines.c.name).order_by(pipelines.c.name)).all()
    assert list(found) == sorted(given)


def test_times_come_back_as_utc(database):
    time = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)
    with database.write() as connection:
        insert_row(connection, removals, {"name": "x", "created_at": time})
    with database.read() as connection:
        found = connection.scalar(sa.select(removals.c.created_at))
    assert (found, found.isoformat()) == (time, time.isoformat())


# --- a server alone


def test_writers_of_two_pipelines_do_not_wait_for_each_other(on_server):
    one, other = on_server(), on_server(busy_seconds=0.5)
    one.prepare()
    with one.write() as connection:
        first, second = record_pipeline(connection, "a"), record_pipeline(connection, "b")
    with one.write(pipeline=first), other.write(pipeline=second) as connection:
        insert_row(connection, chains, {"uuid": "u", "pipeline_id": second, "next_depth": 1})


def test_many_that_create_at_once_all_find_one_schema(on_server):
    failed = []

    def prepare():
        database = on_server()
        try:
            database.prepare()
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert on_server().revision() == HEAD_REVISION


def test_a_server_is_upgraded_on_command_alone(on_server):
    database = on_server()
    database.migrate("0001")
    with pytest.raises(SchemaVersionError, match="db upgrade"):
        database.prepare()
    assert database.revision() == "0001"
    database.prepare(on_command=True)
    assert database.revision() == HEAD_REVISION


def test_two_stores_live_in_schemas_of_one_database(server_url, handles):
    found = []
    for schema in ('a "schema"', "b"):
        database = handles(sa.make_url(server_url).update_query_dict({"schema": schema}))
        database.prepare()
        with database.write() as connection:
            record_pipeline(connection, schema)
        found.append(names(database))
    assert found == [['a "schema"'], ["b"]]
    assert handles(server_url).revision() is None


def test_anothers_tables_are_left_alone(on_server, server_url):
    alter(sa.make_url(server_url), "CREATE TABLE payloads (id integer)", ())
    with pytest.raises(StoreUnavailableError, match=r"schema="):
        on_server().prepare()


def test_a_server_that_is_gone_is_named_without_the_password():
    database = Database("postgresql://me:secret@127.0.0.1:9/runs?connect_timeout=2")
    with pytest.raises(StoreUnavailableError, match=r"me@127.0.0.1:9/runs") as caught:
        database.prepare()
    assert "secret" not in str(caught.value) + repr(database)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:p@secret@h/d",
        "postgresql://me:p@@secret/d",
        "postgresql://me:secret@h:secret/d",
        "postgresql:///d?host=me:secret@h",
        "postgresql:///d?host=h&host=me:secret@h",
    ],
)
def test_a_password_that_is_written_wrongly_is_not_shown(tmp_path, url):
    with pytest.raises(InvalidInputError) as caught:
        PipelineCheckpoint(tmp_path / "store", database_url=url)
    assert "secret" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_socket_without_a_file_may_be_named():
    assert Database("postgresql:///d?host=@socket").where == "postgresql:///d?host=@socket"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/db",
        "postgresql://host/db?nosuch=1",
        "postgresql+asyncpg://host/db?schema=pg_x",
        "postgresql:///db?host=a&port=x",
        "postgresql://h/d?schema=" + "x" * 64,
    ],
)
def test_urls_that_name_no_place_for_rows_are_refused(url):
    with pytest.raises(InvalidInputError):
        Database(url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///rows.db",
        "sqlite://",
        "sqlite+aiosqlite:///rows.db",
        "rows.db",
        "",
        5,
        "postgresql://h:x/d",
    ],
)
def test_rows_are_on_a_server_or_in_the_directory_of_their_store(tmp_path, url):
    """A file that two directories shared would name payloads that only one of them has."""
    with pytest.raises(InvalidInputError, match="give postgresql://HOST/DATABASE, or none"):
        PipelineCheckpoint(tmp_path / "store", database_url=url)
    with PipelineCheckpoint(tmp_path / "other") as handle:
        handle.save({"n": 1}, "one")
        with pytest.raises(InvalidInputError, match="give postgresql"):
            handle.copy_into(tmp_path / "store", database_url=url)
    assert [each.name for each in tmp_path.iterdir()] == ["other"]


def test_a_server_that_restarted_is_connected_to_again(on_server, postgres):
    database = on_server()
    database.prepare()
    postgres.restart()
    with database.write() as connection:
        record_pipeline(connection, "a")
    assert names(database) == ["a"]
