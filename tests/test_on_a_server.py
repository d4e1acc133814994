"""Stores whose rows are on a server: what is theirs alone."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from checkpointdb import (
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    PipelineCheckpoint,
    RetentionPolicy,
    SchemaVersionError,
    StoreUnavailableError,
    WrongKeyError,
    generate_encryption_key,
    queries,
)
from checkpointdb.database import HEAD_REVISION, Database
from checkpointdb.schema import keyring

KEEP_ALL = {"retention_policy": RetentionPolicy.KEEP_ALL}


@pytest.fixture
def urls(emptied):
    """URLs of databases without rows."""
    return emptied()


@pytest.fixture
def url(urls):
    return next(urls)


@pytest.fixture
def opened(tmp_path, url):
    """Open handles of one store on a server."""
    handles = []

    def open_store(**options):
        handles.append(PipelineCheckpoint(tmp_path / "store", database_url=url, **options))
        return handles[-1]

    yield open_store
    for handle in handles:
        handle.close()


@pytest.fixture
def handle(opened):
    handle = opened(**KEEP_ALL)
    for number in range(4):
        handle.save(
            {"n": number, "text": "x" * number}, f"c{number}", custom_metadata={"score": number}
        )
    return handle


def told(handle):
    """What a copy must say alike."""
    return [
        (each.checkpoint_id, each.timestamp, each.custom_metadata, each.pinned)
        for each in handle.list_checkpoints(reverse=False)
    ]


# --- one database and one place for payloads


def test_there_is_no_sqlite_file(handle):
    assert {path.name for path in handle.checkpoint_dir.iterdir()} == {"payloads"}
    assert handle.payload_url is None


def test_a_directory_is_refused_with_another_database_and_without_any(handle, urls):
    for other in ({"database_url": next(urls)}, {}):
        with pytest.raises(StoreUnavailableError, match="database_url"):
            PipelineCheckpoint(handle.checkpoint_dir, **other)


def test_a_database_takes_no_second_directory(handle, tmp_path, url):
    with (
        PipelineCheckpoint(tmp_path / "other", database_url=url) as other,
        pytest.raises(StoreUnavailableError, match="claim"),
    ):
        other.save({"n": 1}, "x")


def test_the_rows_of_a_directory_with_sqlite_are_not_looked_for_on_a_server(store, url):
    with pytest.raises(InvalidInputError, match="copy_into"):
        PipelineCheckpoint(store().checkpoint_dir, database_url=url)


def test_none_is_made_where_one_must_exist(tmp_path, server_url):
    with pytest.raises(NotFoundError, match="no store"):
        PipelineCheckpoint(tmp_path / "store", database_url=server_url, enable_encryption=None)


def test_a_schema_of_a_database_holds_a_store(tmp_path, url, postgres):
    named = sa.make_url(url).update_query_dict({"schema": "runs"})
    with PipelineCheckpoint(tmp_path / "store", database_url=named) as handle:
        handle.save({"n": 1}, "x")
        assert handle.load("x") == {"n": 1}
        found = PipelineCheckpoint.database_info(
            tmp_path / "store", database_url=named.render_as_string()
        )
        assert found.path.endswith("?schema=runs")
        assert found.database_bytes > 0
    with PipelineCheckpoint(tmp_path / "other", database_url=url) as other:
        assert other.pipelines() == []


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_query_stays_in_the_schema_of_its_store(tmp_path, url, end):
    named = sa.make_url(url).update_query_dict({"schema": f"after_{end}"})
    with (
        PipelineCheckpoint(tmp_path / "other", database_url=url) as other,
        PipelineCheckpoint(tmp_path / "store", database_url=named) as handle,
    ):
        other.save({"n": 1}, "of the other")
        with handle.query() as connection:
            ask = sa.text("SELECT checkpoint_id FROM checkpoints")
            assert connection.scalars(ask).all() == []
            getattr(connection, end)()
            assert connection.scalars(ask).all() == []


def test_a_server_is_named_with_every_host_and_without_its_password():
    several = "postgresql://me:secret@/runs?host=a:1&host=b:2&schema=mine&sslmode=require"
    assert Database(several).where == "postgresql://me@/runs?host=a:1&host=b:2&schema=mine"
    assert Database("postgresql://me:secret@a:1/runs").where == "postgresql://me@a:1/runs"
    assert Database("postgresql:///runs?host=a").where == "postgresql:///runs?host=a"


# --- its schema


def test_an_older_schema_is_refused_until_it_is_told_to_be_upgraded(tmp_path, server_url):
    database = Database(server_url)
    database.migrate("0004")
    database.close()
    with pytest.raises(SchemaVersionError, match="--database-url"):
        PipelineCheckpoint(tmp_path / "store", database_url=server_url)
    given = {"database_url": server_url}
    assert "CREATE TABLE" in PipelineCheckpoint.upgrade_sql(tmp_path / "store", **given)
    report = PipelineCheckpoint.upgrade_database(tmp_path / "store", **given)
    assert (report.before, report.after, report.backup) == ("0004", HEAD_REVISION, None)
    assert PipelineCheckpoint.database_info(tmp_path / "store", **given).state == "current"
    PipelineCheckpoint(tmp_path / "store", **given).close()


# --- copies


def test_a_store_is_copied_to_a_server_and_back(store, tmp_path, url):
    source = store("source", **KEEP_ALL)
    for number in range(4):
        source.save({"n": number, "text": "x" * number}, f"c{number}", custom_metadata={"a": 1})
    source.pin("c1")
    assert source.copy_into(tmp_path / "there", database_url=url) == 4
    with PipelineCheckpoint(tmp_path / "there", database_url=url, **KEEP_ALL) as there:
        assert told(there) == told(source)
        assert there.copy_into(tmp_path / "back") == 4
        assert there.check(read_data=True).problems == ()
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        assert told(back) == told(source)
        assert back.load("c3") == source.load("c3")


def test_a_database_is_made_anew_on_a_server(handle, urls):
    before, directory = told(handle), handle.checkpoint_dir
    handle.close()
    new = next(urls)
    report = PipelineCheckpoint.rebuild(directory, database_url=new)
    assert len(report.checkpoints) == 4
    with PipelineCheckpoint(directory, database_url=new, **KEEP_ALL) as again:
        assert [each[:3] for each in told(again)] == [each[:3] for each in before]
        assert again.load("c3")["n"] == 3
        assert again.check(read_data=True).problems == ()
    with pytest.raises(StoreUnavailableError, match="not empty"):
        PipelineCheckpoint.rebuild(directory, database_url=new)


def test_the_database_that_was_made_anew_takes_the_payloads_over(handle, opened, urls):
    handle.close()
    PipelineCheckpoint.rebuild(handle.checkpoint_dir, database_url=next(urls))
    with pytest.raises(StoreUnavailableError, match="another database"):
        opened(**KEEP_ALL).save({"n": 1}, "late")


@pytest.mark.parametrize(("value", "is_prepared"), [("off", False), ("on", True)])
def test_statements_are_not_prepared_for_a_pooler_that_loses_them(url, value, is_prepared):
    database = Database(f"{url}?prepared_statements={value}")
    with database.read() as connection:
        for _ in range(9):
            connection.execute(sa.select(keyring))
        count = connection.scalar(sa.text("SELECT count(*) FROM pg_prepared_statements"))
    database.close()
    assert (count > 0) == is_prepared


def test_an_option_of_ours_that_says_nothing_is_refused(url):
    with pytest.raises(InvalidInputError, match="neither on nor off"):
        Database(f"{url}?prepared_statements=maybe")


# --- keys


def test_an_encrypted_store_keeps_its_keyring_in_both_places(opened):
    key, new = generate_encryption_key(), generate_encryption_key()
    handle = opened(encryption_key=key, enable_encryption=True)
    handle.save({"secret": 1}, "x")
    with handle.query() as connection:
        row = connection.scalar(sa.select(keyring.c.document))
    assert row.encode() == (handle.checkpoint_dir / "keyring.json").read_bytes()
    handle.rotate_key(new, reencrypt=True)
    with pytest.raises(WrongKeyError):
        opened(encryption_key=key, enable_encryption=True)
    again = opened(encryption_key=new, enable_encryption=True)
    assert again.load("x") == {"secret": 1}
    assert again.check(read_data=True).problems == ()


# --- what its indexes do not hold

LONG = "".join(random.Random(20).choices([chr(each) for each in range(0x4E00, 0x9F00)], k=9_000))


@pytest.mark.parametrize(
    "save",
    [
        lambda opened: opened().save({LONG: 1}, "a"),
        lambda opened: opened().save({"n": 1}, LONG),
        lambda opened: opened(pipeline=LONG).save({"n": 1}, "a"),
        lambda opened: opened().save({"n": 1}, "a", custom_metadata={LONG: 1}),
        lambda opened: opened().save({"n": 1}, "a", custom_metadata={"x": LONG[:1_000]}),
    ],
    ids=["key", "id", "pipeline", "field", "text"],
)
def test_a_text_that_is_too_long_for_its_indexes_is_refused_and_nothing_is_saved(opened, save):
    with pytest.raises(InvalidInputError, match="shorten the id"):
        save(opened)
    handle = opened()
    assert handle.list_checkpoints() == []
    handle.save({"n" * 9_000: 1}, "b" * 9_000)  # what repeats is compressed
    assert handle.check(read_data=True).problems == ()


# --- SQL


def test_sql_is_asked(handle):
    answer = handle.sql("SELECT checkpoint_id FROM checkpoints ORDER BY id", limit=2, seconds=5)
    assert (answer.columns, answer.rows, answer.is_cut) == (
        ("checkpoint_id",),
        (("c0",), ("c1",)),
        True,
    )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM checkpoints",
        "WITH gone AS (DELETE FROM removals RETURNING id) SELECT * FROM gone",
        "SELECT 1; COMMIT; DELETE FROM checkpoints",
        "COPY checkpoints TO PROGRAM 'cat'",
        "SELECT * FROM missing",
        "",
    ],
)
def test_what_does_more_than_ask_is_refused(handle, statement):
    with pytest.raises(InvalidInputError):
        handle.sql(statement)
    assert len(handle.list_checkpoints()) == 4


def test_what_python_cannot_hold_is_the_statements_fault(handle):
    with pytest.raises(InvalidInputError, match="cannot be asked: timestamp too large"):
        handle.sql("SELECT 'infinity'::timestamp")


def test_a_row_that_python_cannot_hold_is_damaged_and_the_server_is_there(handle):
    with handle._engine.database.write() as connection:
        connection.exec_driver_sql("UPDATE checkpoints SET created_at = 'infinity'")
    with pytest.raises(CorruptionError, match="a row that cannot be read"):
        handle.list_checkpoints()


def test_a_statement_that_takes_too_long_is_given_up(handle):
    with pytest.raises(InvalidInputError, match="longer than"):
        handle.sql("SELECT pg_sleep(10)", seconds=0.1)


def test_the_state_of_a_checkpoint_is_found_by_an_index(handle):
    """However many there are: with few rows a server reads them all, unless told not to.

    Nor does it join them by reading both in the order of ids, which is as good for a few.
    """
    where = {"chain_id": 1, "depth": 2}
    with handle.query() as connection:
        for way in ("seqscan", "mergejoin", "hashjoin"):
            connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        query = (
            queries.values_at()
            .params(where)
            .compile(connection, compile_kwargs={"literal_binds": True})
        )
        [[plan]] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}")
    found = json.dumps(plan)
    assert "Seq Scan" not in found
    assert '"Index Cond"' in found


def test_times_are_utc_whatever_the_server_thinks(handle, url, postgres):
    postgres.execute(f"ALTER DATABASE {sa.make_url(url).database} SET timezone = 'Asia/Kathmandu'")
    handle._engine.database.close()
    handle.save({"n": 1}, "now")
    found = handle.get_checkpoint_info("now")
    assert found.timestamp.endswith("+00:00")
    age = datetime.now(UTC) - datetime.fromisoformat(found.timestamp)
    assert abs(age.total_seconds()) < 60


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_commit_is_flushed_whatever_the_server_is_set_to(opened, url, postgres, durable):
    name = sa.make_url(url).database
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with opened(durable=durable)._engine.database.write() as connection:
        found = connection.scalar(sa.text("SHOW synchronous_commit"))
    postgres.execute(f"ALTER DATABASE {name} RESET synchronous_commit")
    assert found == ("on" if durable else "off")
