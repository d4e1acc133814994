"""What every place for backups does, a directory or a bucket."""

from __future__ import annotations

import pytest

from checkpointdb import CorruptionError, PipelineCheckpoint, RetentionPolicy, StoreUnavailableError
from checkpointdb.backup.remote import remote_at
from checkpointdb.bucket import PART_BYTES

LARGE = 2 * PART_BYTES + 7


@pytest.fixture
def remote(place, tmp_path):
    return remote_at(place or tmp_path / "backups")


def listed(remote, directory):
    return [(blob.path, blob.stored_bytes) for blob in remote.blobs(directory)]


def content(remote, path):
    reader = remote.open(path)
    try:
        return reader.read(0, reader.stored_bytes)
    finally:
        reader.close()


def test_what_was_put_is_listed_read_and_deleted(remote):
    assert listed(remote, "payloads") == []
    remote.put("payloads/p-b/1.gz", iter([b"one", b"", b"two"]))
    remote.put("payloads/p-a/2.gz", iter([bytes(PART_BYTES)] * 2 + [b"x" * 7]))
    remote.put("snapshots/1.gz", iter([]))
    assert listed(remote, "payloads") == [("payloads/p-a/2.gz", LARGE), ("payloads/p-b/1.gz", 6)]
    assert listed(remote, "snapshots") == [("snapshots/1.gz", 0)]
    assert content(remote, "payloads/p-b/1.gz") == b"onetwo"
    assert content(remote, "payloads/p-a/2.gz")[-8:] == b"\0xxxxxxx"
    remote.put("payloads/p-b/1.gz", iter([b"whole again"]))
    assert content(remote, "payloads/p-b/1.gz") == b"whole again"
    for _ in range(2):
        remote.delete("payloads/p-b/1.gz")
    assert listed(remote, "payloads") == [("payloads/p-a/2.gz", LARGE)]
    with pytest.raises(FileNotFoundError):
        remote.open("payloads/p-b/1.gz")
    assert list(remote.unfinished()) == []


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_blob_whose_source_fails_does_not_appear(remote, blocks):
    def pieces():
        for _ in range(blocks):
            yield bytes(PART_BYTES - 1)
        raise CorruptionError("damaged", payload="p")

    with pytest.raises(CorruptionError, match="damaged"):
        remote.put("payloads/p-b/1.gz", pieces())
    assert listed(remote, "payloads") == []
    assert list(remote.unfinished()) == []


def test_a_small_blob_is_swapped_only_for_what_was_seen(remote):
    assert remote.small("latest.json") is None
    assert remote.swap("latest.json", None, b"1")
    assert not remote.swap("latest.json", None, b"2")
    assert not remote.swap("latest.json", b"0", b"2")
    assert remote.small("latest.json") == b"1"
    assert remote.swap("latest.json", b"1", b"2")
    assert remote.small("latest.json") == b"2"


def test_a_store_is_pushed_and_pulled(place, tmp_path, store):
    handle = store(retention_policy=RetentionPolicy.KEEP_ALL)
    states = {f"s{n}": {"n": n, "text": f"{n} " * 9_000} for n in range(3)}
    for name, state in states.items():
        handle.save(state, name)
    where = place or tmp_path / "backups"
    assert handle.push_backup(where).copied_payloads == 3
    assert handle.push_backup(where).copied_payloads == 0
    assert handle.verify_backup(where, read_data=True).is_ok
    PipelineCheckpoint.pull_backup(where, tmp_path / "back")
    with PipelineCheckpoint(tmp_path / "back") as back:
        assert back.check(read_data=True).is_ok
        assert {name: back.load(name) for name in states} == states


def test_a_place_that_cannot_be_reached_is_named(tmp_path, store):
    (tmp_path / "file").write_text("in the way")
    handle = store()
    handle.save({"a": 1}, "a")
    with pytest.raises(StoreUnavailableError, match="file"):
        handle.push_backup(tmp_path / "file" / "backups")
