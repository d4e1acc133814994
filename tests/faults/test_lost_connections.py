"""The connection to a server breaks, at the worst moments: what is told is true."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid

import psycopg
import pytest
import sqlalchemy as sa
from cut_connections import Proxy

from checkpointdb import (
    KeepNewest,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from checkpointdb.backup.lease import Lease, leased
from checkpointdb.local_payloads import LocalPayloads
from checkpointdb.postgres import server_url as url_of


@pytest.fixture
def proxy(postgres):
    proxy = Proxy(postgres.port)
    yield proxy
    proxy.close()


@pytest.fixture
def behind(tmp_path, server_url, proxy):
    """A store whose rows are behind the proxy."""
    url = sa.make_url(server_url).set(port=proxy.port)
    with PipelineCheckpoint(
        tmp_path / "store",
        database_url=url,
        retention_policy=RetentionPolicy.KEEP_ALL,
        busy_seconds=5,
    ) as handle:
        handle.save({"n": 0}, "first")
        yield handle
        proxy.refuses = False
        assert handle.check(read_data=True).problems == ()


def ids(handle):
    return sorted(each.checkpoint_id for each in handle.list_checkpoints())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_save_whose_commit_is_not_answered_is_saved_once(behind, proxy, when):
    proxy.cut = when
    behind.save({"n": 1}, "second")
    assert (proxy.cuts, ids(behind)) == (1, ["first", "second"])
    assert behind.load("second") == {"n": 1}
    assert behind.get_statistics()["payload_files"] == 2


def test_a_save_that_was_forgotten_before_it_was_known_counts_as_saved(
    behind, proxy, server_url, tmp_path, monkeypatch
):
    from checkpointdb.store import saving

    asked = saving.was_saved

    def after_another_forgot_it(*arguments):
        with PipelineCheckpoint(tmp_path / "store", database_url=server_url) as other:
            other.delete_checkpoint("second")
        return asked(*arguments)

    monkeypatch.setattr(saving, "was_saved", after_another_forgot_it)
    proxy.cut = "after"
    behind.save({"n": 1}, "second")
    assert ids(behind) == ["first"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_number_for_an_object_whose_commit_is_not_answered_is_asked_for_again(
    tmp_path, server_url, proxy, when
):
    url = sa.make_url(server_url).set(port=proxy.port)
    place = f"memory://{uuid.uuid4().hex}/a"
    with PipelineCheckpoint(tmp_path, database_url=url, payload_url=place) as handle:
        handle.save({"n": 0}, "first")
        proxy.cut = when
        handle.save({"n": 1}, "second")
        assert (proxy.cuts, handle.load("second")) == (1, {"n": 1})
        assert handle.check(read_data=True).problems == ()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_save_that_was_forgotten_while_a_push_holds_its_file_back_counts_as_saved(
    behind, proxy, server_url, tmp_path, monkeypatch, replaced
):
    from checkpointdb.store import saving

    asked = saving.was_saved
    other = PipelineCheckpoint(tmp_path / "store", database_url=server_url)

    def after_another_forgot_it(*arguments):
        if replaced:
            other.save({"n": "newer"}, "second")
        else:
            other.delete_checkpoint("second")
        return asked(*arguments)

    monkeypatch.setattr(saving, "was_saved", after_another_forgot_it)
    with other, leased(other._engine.database, "backup to somewhere"):
        proxy.cut = "after"
        behind.save({"n": 1}, "second")
        held_back = list(tmp_path.glob("store/payloads/*/*-second-*"))
    assert len(held_back) == 1 + replaced
    assert ids(behind) == (["first", "second"] if replaced else ["first"])
    if replaced:
        assert behind.load("second") == {"n": "newer"}
    behind.sweep()


def test_what_cannot_be_found_out_is_told_so(behind, proxy):
    behind._engine.database.busy_seconds = 0.3
    proxy.cut, proxy.refuses_after_a_cut = "after", True
    with pytest.raises(UnknownOutcomeError, match=r"127.0.0.1"):
        behind.save({"n": 1}, "second")


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_forgets_or_pins_is_done_once_though_its_commit_is_not_answered(behind, proxy, when):
    for name in ("second", "third", "fourth"):
        behind.save({"name": name}, name)
    proxy.cut = when
    behind.delete_checkpoint("first", missing_ok=False)
    proxy.cut = when
    behind.pin("third")
    plan = behind.plan_retention(KeepNewest(1))
    proxy.cut = when
    report = behind.prune(plan)
    assert (report.forgotten, report.freed_payloads, proxy.cuts) == (("second",), 1, 3)
    assert [each.pinned for each in behind.list_checkpoints()] == [False, True]
    assert behind.get_statistics()["payload_files"] == 2
    assert len(list(behind.checkpoint_dir.glob("payloads/p-*/*"))) == 2


def test_a_forget_that_cannot_be_found_out_says_so(behind, proxy):
    behind._engine.database.busy_seconds = 0.3
    proxy.cut, proxy.refuses_after_a_cut = "after", True
    with pytest.raises(UnknownOutcomeError, match="look"):
        behind.delete_checkpoint("first")
    proxy.refuses = False
    assert ids(behind) == []
    behind.delete_checkpoint("first")


def test_what_broke_a_connection_within_its_pipeline_of_rows_is_what_is_told(
    behind, monkeypatch, caplog
):
    """The driver leaves the pipeline open where its results are still awaited."""

    def break_off(cursor, *_):
        cursor.connection.pgconn.enter_pipeline_mode()
        raise psycopg.errors.AdminShutdown("terminating connection")

    monkeypatch.setattr(psycopg.Cursor, "executemany", break_off)
    with pytest.raises(StoreUnavailableError, match="terminating connection"):
        behind.save({"n": 1}, "second")
    monkeypatch.undo()
    behind.save({"n": 2}, "third")
    assert ids(behind) == ["first", "third"]
    assert caplog.records == []


def test_a_push_whose_lease_is_not_answered_keeps_nobody_out(behind, proxy, tmp_path, monkeypatch):
    take = Lease.take

    def take_unanswered(lease):
        proxy.cut = "after"
        monkeypatch.undo()
        take(lease)

    monkeypatch.setattr(Lease, "take", take_unanswered)
    with pytest.raises(UnknownOutcomeError):
        behind.push_backup(tmp_path / "nas")
    assert behind.push_backup(tmp_path / "nas").is_ok


@pytest.mark.parametrize("times", [2, 3])
def test_a_save_whose_connection_breaks_again_while_it_is_asked_for_is_no_less_there(
    behind, proxy, times
):
    proxy.cut = ["before"] * times
    behind.save({"n": 1}, "second")
    assert proxy.cut == []
    assert behind.load("second") == {"n": 1}


def test_a_restart_under_load_loses_nothing_that_was_acknowledged(tmp_path, server_url, postgres):
    """Some saves fail, and name the server; each that returned is there."""
    acknowledged, failed, stop = [], [], threading.Event()

    def save(name):
        with PipelineCheckpoint(
            tmp_path / "store",
            database_url=server_url,
            retention_policy=RetentionPolicy.KEEP_ALL,
            pipeline=name,
        ) as handle:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    handle.save({"n": number}, f"{number}")
                    acknowledged.append((name, f"{number}"))
                except (StoreUnavailableError, UnknownOutcomeError) as error:
                    failed.append(str(error))
                    stop.wait(0.05)

    PipelineCheckpoint(tmp_path / "store", database_url=server_url).close()
    threads = [threading.Thread(target=save, args=(f"p{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for mode in ("immediate", "fast"):
        before = len(acknowledged)
        while len(acknowledged) < before + 10:
            stop.wait(0.01)
        postgres.restart(mode)
    before = len(acknowledged)
    while len(acknowledged) < before + 10:
        stop.wait(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert all("127.0.0.1" in each for each in failed), failed
    for name in ("p0", "p1", "p2"):
        with PipelineCheckpoint(
            tmp_path / "store", database_url=server_url, pipeline=name
        ) as handle:
            assert {number for who, number in acknowledged if who == name} <= set(ids(handle))
            assert handle.check(read_data=True).problems == ()


def end_sessions_but(postgres, server_url):
    """What the server does to a session that stands idle in its transaction for too long."""
    engine = sa.create_engine(url_of(server_url), poolclass=sa.NullPool)
    others = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with engine.connect() as connection:
        connection.execute(others)


def rewrite(handle, step):
    if step == "save":
        handle.save(OLD | {"n": 2}, "latest")
    elif step == "merge":
        handle.merge("latest")
    else:
        handle.save({"b": handle.load("latest")["b"]}, "next")
        handle.delete_checkpoint("latest")
        handle.compact(min_dead=0.1)


OLD = {"n": 0, "a": os.urandom(30_000), "b": os.urandom(30_000)}


@pytest.mark.parametrize("step", ["save", "merge", "compact"])
def test_a_writer_that_stood_still_until_it_lost_its_lock_takes_no_file_of_another(
    tmp_path, server_url, postgres, monkeypatch, step
):
    """It wakes up where it was to rename its file, after another wrote the same id."""
    options = {
        "database_url": server_url,
        "busy_seconds": 5,
        "retention_policy": RetentionPolicy.KEEP_ALL,
    }
    with (
        PipelineCheckpoint(tmp_path / "store", **options) as slow,
        PipelineCheckpoint(tmp_path / "store", **options) as other,
    ):
        slow.save(OLD, "first")
        slow.save(OLD | {"b": os.urandom(20_000), "c": os.urandom(10_000)}, "latest")
        give_name = LocalPayloads.give_name
        slept = []

        def after_a_long_sleep(payloads, writer, name):
            if "-next" in name or slept:
                return give_name(payloads, writer, name)
            slept.append(name)
            end_sessions_but(postgres, server_url)
            other.save({"of": "another"}, "latest")
            return give_name(payloads, writer, name)

        monkeypatch.setattr(LocalPayloads, "give_name", after_a_long_sleep)
        with contextlib.suppress(StoreUnavailableError, UnknownOutcomeError):
            rewrite(slow, step)
        assert slept
        assert other.load("latest") == {"of": "another"}
        assert {each.kind for each in other.check(read_data=True).problems} <= {"orphan"}
