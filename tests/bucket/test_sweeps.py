"""Sweeps of a bucket, beside saves whose objects have no rows yet."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from breaking import DaysAhead

from checkpointdb import sweep as sweep_module
from checkpointdb.bucket import Bucket
from checkpointdb.bucket_urls import parse_url
from checkpointdb.inventory import under_lock
from checkpointdb.object_payloads import ObjectPayloads
from checkpointdb.sweep import sweep


@pytest.fixture
def before_the_row(monkeypatch):
    """Let something happen once, when a save has uploaded its payload."""
    give_name = ObjectPayloads.give_name

    def patch(happen):
        left = [happen]

        def patched(self, writer, name):
            if left:
                left.pop()(name)
            give_name(self, writer, name)

        monkeypatch.setattr(ObjectPayloads, "give_name", patched)

    return patch


@pytest.fixture(params=["memory", "moto"])
def url(request):
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return request.getfixturevalue("moto").place()


def test_a_machine_whose_clock_is_ahead_sweeps_away_no_upload(placed, monkeypatch):
    """Told by what it asks for: under the lock of a save it could remove nothing anyway."""
    handle = placed()
    handle.save({"n": 1}, "one")
    payloads = handle._engine.payloads
    [file] = payloads.files()
    upload = payloads.create(file.name.replace("-one-", "-running-"))
    upload.write([b"as yet without a row"])
    upload.finish()
    monkeypatch.setattr(sweep_module, "datetime", DaysAhead, raising=False)
    assert handle.sweep().removed_files == ()
    assert [each.name for each in payloads.files()] == sorted([file.name, upload.name])
    upload.discard()


def test_a_sweep_that_finds_nothing_asks_the_bucket_for_no_time(placed, monkeypatch):
    handle = placed()
    handle.save({"n": 1}, "one")
    monkeypatch.setattr(ObjectPayloads, "now", None)
    assert handle.sweep().removed_files == ()


def denied(request):
    return "deny" if request.startswith(("DELETE", "POST")) else None


@pytest.fixture
def left_over(proxy, proxied, placed):
    """A store of which nine payloads could not be deleted when they were forgotten."""
    handle = placed(payload_url=proxied)
    for number in range(10):
        handle.save({"n": number}, f"c{number}-", force_full=True)
    proxy.fault = denied
    for number in range(9):
        handle.delete_checkpoint(f"c{number}-")
    handle.sweep()
    proxy.fault = lambda _request: None
    proxy.requests.clear()
    return handle


def sent(proxy, method):
    return len([each for each in proxy.requests if each.startswith(method)])


on_s3 = pytest.mark.parametrize("url", ["moto"], indirect=True)


@on_s3
def test_a_sweep_deletes_many_objects_by_one_request_for_which_it_holds_the_lock(
    left_over, proxy, monkeypatch
):
    monkeypatch.setattr(sweep_module, "_AT_ONCE", 4)
    holds = []

    def counted(database):
        holds.append(sent(proxy, "POST"))
        return under_lock(database)

    monkeypatch.setattr(sweep_module, "under_lock", counted)
    assert len(left_over.sweep().removed_files) == 9
    assert holds == [0, 0, 1, 2]  # the first asks what there is to remove
    assert (sent(proxy, "POST"), sent(proxy, "DELETE"), sent(proxy, "HEAD")) == (3, 0, 0)


@on_s3
def test_so_are_objects_without_a_row(left_over, alter, proxy):
    alter(left_over, "DELETE FROM removals")
    later = datetime.now(UTC) + timedelta(days=2)
    engine = left_over._engine
    assert len(sweep(engine.database, engine.payloads, now=later).removed_files) == 9
    assert (sent(proxy, "POST"), sent(proxy, "DELETE"), sent(proxy, "HEAD")) == (1, 0, 0)


@on_s3
def test_others_save_while_a_sweep_lists_the_bucket(left_over, placed, proxy, monkeypatch):
    proxy.fault = denied
    other = placed(busy_seconds=1)  # which would delete them when it is opened
    proxy.fault = lambda _request: None
    listed, names = ObjectPayloads.files, iter("abcdef")

    def listing(self):
        other.save({"n": 1}, next(names))
        return listed(self)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectPayloads, "files", listing)
        assert len(left_over.sweep().removed_files) == 9
    assert other.load("a") == {"n": 1}


@on_s3
def test_a_bucket_that_is_out_of_reach_is_not_tried_for_each_object(left_over, proxy):
    proxy.fault = lambda request: "drop" if request.startswith("POST") else None
    assert left_over.sweep().removed_files == ()
    assert sent(proxy, "POST") == 1
    proxy.fault = lambda _request: None
    assert len(left_over.sweep().removed_files) == 9


def test_an_object_that_is_locked_keeps_no_other(url):
    from obstore.exceptions import GenericError

    class Locking:
        def __init__(self, store):
            self.store = store

        def delete(self, paths):
            if "b" in paths:
                raise GenericError(
                    "DeleteObjects request failed for key b: no (code: AccessDenied)"
                )
            self.store.delete(paths)

    bucket = Bucket(parse_url(url))
    for path in "abc":
        bucket.replace(path, b"1")
    bucket._made = Locking(bucket._store)
    failed = bucket.delete_all(["a", "b", "c", "missing"])
    assert list(failed) == ["b"]
    assert "permission is denied" in str(failed["b"])
    bucket._made = bucket._made.store
    assert [bucket.find(path) is None for path in "abc"] == [True, False, True]
    bucket.delete("b")


def test_a_save_whose_upload_was_swept_away_starts_over(placed, before_the_row):
    handle = placed()
    handle.save({"n": 1}, "one")
    before_the_row(handle._engine.payloads.delete)
    handle.save({"n": 2}, "two")
    assert handle.load("two") == {"n": 2}


@pytest.mark.parametrize("call", ["merge", "compact"])
def test_what_rewrites_payloads_starts_over_too(placed, before_the_row, call):
    handle = placed()
    same = [f"{n:x}" for n in range(5_000)]
    handle.save({"same": same, "gone": list(range(10_000, 20_000))}, "first")
    handle.save({"same": same}, "second")
    handle.delete_checkpoint("first")
    swept = []
    before_the_row(lambda name: swept.append(handle._engine.payloads.delete(name)))
    handle.merge("second") if call == "merge" else handle.compact(min_dead=0.1)
    assert swept
    assert handle.load("second") == {"same": same}
