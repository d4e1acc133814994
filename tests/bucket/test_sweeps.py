"""Sweeps of a bucket, beside saves whose objects have no rows yet."""

from __future__ import annotations

import uuid

import pytest
from breaking import DaysAhead

from checkpointdb import sweep as sweep_module
from checkpointdb.object_payloads import ObjectPayloads


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
