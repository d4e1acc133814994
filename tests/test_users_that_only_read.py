"""A user of a server who may only read: all is read and checked, and nothing else."""

from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa
from postgres_server import alter

from checkpointdb import PipelineCheckpoint, RetentionPolicy, StoreUnavailableError

KEEP_ALL = {"retention_policy": RetentionPolicy.KEEP_ALL}


@pytest.fixture
def url(emptied):
    """The URL of a database without rows."""
    return sa.make_url(next(emptied()))


@pytest.fixture
def handle(tmp_path, url):
    """A handle of who may write."""
    with PipelineCheckpoint(tmp_path / "store", database_url=url, **KEEP_ALL) as handle:
        for number in range(3):
            handle.save({"n": number, "text": f"{number}" * 9_000}, f"c{number}")
        yield handle


@pytest.fixture
def reader(handle, url, postgres):
    """A handle of who may only read."""
    postgres.execute("CREATE ROLE reader LOGIN")
    alter(url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", ())
    as_reader = url.set(username="reader")
    with PipelineCheckpoint(handle.checkpoint_dir, database_url=as_reader, **KEEP_ALL) as reader:
        yield reader
    alter(url, "DROP OWNED BY reader", ())
    postgres.execute("DROP ROLE reader")


def test_every_byte_is_checked_though_that_cannot_be_noted(reader, caplog):
    with caplog.at_level(logging.WARNING, logger="checkpointdb"):
        report = reader.check(read_data=True)
    assert (report.problems, report.read_payloads) == ((), 3)
    assert [each.message.count("could not be noted") for each in caplog.records] == [1]


def test_damage_is_reported_and_so_is_a_file_without_a_row(reader):
    [first, second, _] = sorted(reader.checkpoint_dir.glob("payloads/p-*/*"))
    first.write_bytes(first.read_bytes()[:-40] + bytes(40))
    second.with_name(second.name.replace("-c1", "-c9")).write_bytes(b"a stranger")
    found = {each.kind: each for each in reader.check(read_data=True).problems}
    assert found.keys() == {"damaged", "manifest", "orphan"}
    assert "may be saved just now" in found["orphan"].detail


def test_what_writes_is_refused_and_says_what_the_user_lacks(reader):
    assert reader.load("c1")["n"] == 1
    for act in (lambda: reader.save({"n": 9}, "x"), lambda: reader.pin("c1"), reader.sweep):
        with pytest.raises(StoreUnavailableError, match="this user may not"):
            act()
