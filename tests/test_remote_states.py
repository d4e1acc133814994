"""A state as a remote has it: of what version the code takes, with streams that can be read."""

from __future__ import annotations

import gc
import random
import tempfile

import pytest

from checkpointdb import (
    CloudBackupConfig,
    RetentionPolicy,
    StateVersionError,
    StreamedValue,
    generate_encryption_key,
)

NOISE = random.Random(6).randbytes(3 << 20)
KEY = {"encryption_key": generate_encryption_key(), "enable_encryption": True}


@pytest.fixture
def code(store, tmp_path):
    """Handles of one store that is backed up, each of another version of a pipeline's code."""

    def handle(version=None, upgrades=None, name="store", **options):
        return store(
            name,
            state_version=version,
            state_upgrades=upgrades,
            cloud_backup_config=CloudBackupConfig(True, url=(tmp_path / "nas").as_uri()),
            retention_policy=RetentionPolicy.KEEP_ALL,
            **options,
        )

    return handle


@pytest.fixture
def rooms(tmp_path, monkeypatch):
    """Where temporary directories are made: they are listed by it."""
    room = tmp_path / "rooms"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    return lambda: list(room.glob("checkpointdb-*"))


def test_it_is_upgraded_as_by_a_load(code):
    old = code(1)
    old.save({"old": 1}, "x")
    old.push_backup()
    new = code(2, {1: lambda state: {"new": state["old"]}})
    assert new.restore_from_cloud("x") == new.load("x") == {"new": 1}
    assert old.restore_from_cloud("x") == code().restore_from_cloud("x") == {"old": 1}
    with pytest.raises(StateVersionError, match="newer than this code"):
        code(0).restore_from_cloud("x")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param(KEY, id="encrypted", marks=pytest.mark.damages),
    ],
)
def test_its_streams_can_be_read_as_long_as_they_are_there(code, rooms, options):
    name = "sealed" if options else "store"
    handle = code(name=name, **options)
    handle.save({"stream": StreamedValue(NOISE), "n": 1}, "x")
    handle.push_backup()
    handle.delete_checkpoint("x")
    stream = handle.restore_from_cloud("x")["stream"]
    gc.collect()
    assert b"".join(stream) == b"".join(stream) == NOISE
    assert len(rooms()) == 1
    del stream
    gc.collect()
    assert rooms() == []


def test_a_stream_that_an_upgrade_hides_can_be_read_too(code):
    old = code(1)
    old.save({"stream": StreamedValue(NOISE)}, "x")
    old.push_backup()
    new = code(2, {1: lambda state: {"streams": [state["stream"]]}})
    [stream] = new.restore_from_cloud("x")["streams"]
    gc.collect()
    assert b"".join(stream) == NOISE


def test_without_streams_nothing_stays(code, rooms):
    handle = code()
    handle.save({"n": 1}, "x")
    handle.push_backup()
    assert handle.restore_from_cloud("x") == {"n": 1}
    assert rooms() == []
