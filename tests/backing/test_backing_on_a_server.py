"""Backups of stores whose rows are on a server, and into such: every row is the same there."""

from __future__ import annotations

import threading
import uuid
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from breaking import KEEP_ALL

from checkpointdb import (
    InvalidInputError,
    KeepNewest,
    PipelineCheckpoint,
    StoreUnavailableError,
    generate_encryption_key,
    sweep,
)
from checkpointdb.backup import lease
from checkpointdb.backup.lease import leased
from checkpointdb.database import Database
from checkpointdb.schema import metadata
from checkpointdb.store import backing, saved, trash

OF_A_MACHINE = {"leases", "removals", "backed_up", "backups", "remotes", "place"}


@pytest.fixture
def urls(emptied):
    """URLs of databases without rows."""
    return emptied()


@pytest.fixture
def handle(tmp_path, urls):
    """A store with a fork, an old stage that was forgotten, a pin, and metadata of all kinds."""
    with PipelineCheckpoint(tmp_path / "store", database_url=next(urls), **KEEP_ALL) as handle:
        for number in range(4):
            state = {"n": number, "text": "x" * number, f"k{number}": list(range(900))}
            given = {"score": number / 3, "name": f"a ' \" % ü {number}", "big": 2**70, "no": None}
            handle.save(state, f"c{number}", custom_metadata=given)
        handle.load("c1")
        handle.save({"fork": b"\0" * 3_000_000}, "forked")
        handle.delete_checkpoint("c0")
        handle.pin("c2")
        yield handle


def rows_of(database):
    with database.read() as connection:
        return {
            table.name: connection.execute(sa.select(table).order_by(*table.primary_key)).all()
            for table in metadata.sorted_tables
            if table.name not in OF_A_MACHINE
        }


def test_a_pull_has_the_very_rows_of_the_server(handle, nas, tmp_path):
    assert handle.push_backup(nas).is_ok
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        assert rows_of(back._engine.database) == rows_of(handle._engine.database)
        assert back.check(read_data=True).problems == ()
        back.save({"n": 9}, "on")
        back.push_backup(nas)
    with pytest.raises(InvalidInputError, match="another copy of this one"):
        handle.push_backup(nas)


def test_what_is_pulled_to_a_server_goes_on_there(handle, nas, tmp_path, urls):
    handle.push_backup(nas)
    other = next(urls)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back", database_url=other)
    assert {each.name for each in (tmp_path / "back").iterdir()} == {"payloads"}
    with PipelineCheckpoint(tmp_path / "back", database_url=other, **KEEP_ALL) as back:
        assert rows_of(back._engine.database) == rows_of(handle._engine.database)
        back.load("c3")
        back.save({"n": 9, "text": "new"}, "on")
        assert back.load("on")["n"] == 9
        assert back.push_backup(nas).copied_payloads == 1
        assert back.check(read_data=True).problems == ()
    with pytest.raises(StoreUnavailableError, match="belongs to another database"):
        PipelineCheckpoint(tmp_path / "back", database_url=next(urls))


def test_a_server_that_has_rows_is_not_pulled_to(handle, nas, tmp_path):
    handle.push_backup(nas)
    taken = handle._engine.database.server_url
    before = rows_of(handle._engine.database)
    with pytest.raises(InvalidInputError, match="is not empty"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "back", database_url=taken)
    assert rows_of(handle._engine.database) == before
    assert not (tmp_path / "back").exists()


def test_a_pull_to_a_server_that_was_interrupted_is_gone_on_with(
    handle, nas, tmp_path, urls, monkeypatch
):
    handle.push_backup(nas)
    other = next(urls)
    with monkeypatch.context() as patched:
        patched.setattr(backing, "_publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            PipelineCheckpoint.pull_backup(nas, tmp_path / "back", database_url=other)
    handle.save({"n": 5}, "later")
    handle.push_backup(nas)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back", database_url=other)
    database = Database(other)
    assert rows_of(database) == rows_of(handle._engine.database)
    database.close()


def test_bucket_and_key_bring_back_what_was_on_a_server_with_payloads_in_a_bucket(
    tmp_path, urls, nas
):
    key = generate_encryption_key()
    place = f"memory://{uuid.uuid4().hex}"
    options = {"database_url": next(urls), "payload_url": place, "enable_encryption": True}
    with PipelineCheckpoint(tmp_path / "store", key, **options) as handle:
        handle.save({"secret": "of all"}, "x")
        handle.push_backup(nas)
        renewed = generate_encryption_key()
        handle.rotate_key(renewed, reencrypt=True)
        handle.save({"secret": "of few"}, "y")
        handle.push_backup(nas)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    with PipelineCheckpoint(tmp_path / "back", renewed, True) as back:
        assert (back.load("x"), back.load("y")) == ({"secret": "of all"}, {"secret": "of few"})


def test_what_is_pushed_while_others_save_and_forget_is_one_state(handle, nas, tmp_path):
    url, is_over = handle._engine.database.server_url, threading.Event()

    def work(pipeline):
        options = {"database_url": url, "retention_policy": KeepNewest(2)}
        with PipelineCheckpoint(tmp_path / "store", pipeline=pipeline, **options) as writer:
            number = 0
            while not is_over.is_set() or not number:
                writer.save({"text": f"{number} " * 400, "n": number}, f"w{number}")
                number += 1

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for each in threads:
        each.start()
    reports = [handle.push_backup(nas) for _ in range(3)]
    is_over.set()
    for each in threads:
        each.join()
    assert [each.unreadable for each in reports] == [(), (), ()]
    for report in reports:
        directory = tmp_path / report.snapshot
        PipelineCheckpoint.pull_backup(nas, directory, snapshot=report.snapshot)
        with PipelineCheckpoint(directory, **KEEP_ALL) as back:
            assert back.check(read_data=True).problems == ()


class Fast(datetime):
    """The clock of a machine that is an hour ahead."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(hours=1)


@pytest.mark.parametrize("how", ["replace", "delete", "sweep"])
def test_a_machine_whose_clock_is_ahead_unlinks_nothing_while_another_pushes(
    handle, monkeypatch, how
):
    payload = handle.checkpoint_dir / handle.get_checkpoint_info("c1").file_path
    with leased(handle._engine.database, "backup to somewhere"):
        for module in (saved, trash, sweep, lease):
            monkeypatch.setattr(module, "datetime", Fast)
        if how == "replace":
            handle.save({"n": 9}, "c1", force_full=True)
        else:
            handle.delete_checkpoint("c1")
        if how == "sweep":
            handle.sweep()
        handle._engine.pool.close()  # what was to be unlinked is
        assert payload.exists()
        monkeypatch.undo()


def test_a_server_that_is_restarted_during_a_push_costs_nothing(handle, nas, tmp_path, postgres):
    restarts = [postgres.restart]
    report = handle.push_backup(nas, progress=lambda *_: restarts.pop()() if restarts else None)
    assert (report.is_ok, restarts) == (True, [])
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        assert rows_of(back._engine.database) == rows_of(handle._engine.database)


def test_what_was_pulled_is_kept_where_the_database_is_not_empty(store, tmp_path, server_url):
    handle = store()
    handle.save({"n": 1}, "one")
    handle.push_backup(tmp_path / "remote")
    with PipelineCheckpoint(tmp_path / "other", database_url=server_url) as other:
        other.save({"n": 2}, "two")
    with pytest.raises(InvalidInputError, match="is not empty"):
        PipelineCheckpoint.pull_backup(
            tmp_path / "remote", tmp_path / "pulled", database_url=server_url
        )
    assert list((tmp_path / ".pulled.pull" / "payloads").glob("p-*/*"))
    PipelineCheckpoint.pull_backup(tmp_path / "remote", tmp_path / "pulled")
    with PipelineCheckpoint(tmp_path / "pulled") as pulled:
        assert pulled.load("one") == {"n": 1}
