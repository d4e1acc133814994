"""What every payload store does, wherever its bytes are."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from checkpointdb import CorruptionError, StoreUnavailableError
from checkpointdb.database_errors import LostRace
from checkpointdb.store.places import payloads_at

NAME = "p-default/0000000001-first-0a1b2c3d.ckpt.gz"
OTHER = "p-other/0000000002-second-0a1b2c3d.ckpt.gz"


@pytest.fixture
def payloads(place, tmp_path):
    found = payloads_at(place, tmp_path, durable=False)
    if not found.names_first:
        Path(found.locate(NAME)).parent.parent.mkdir(parents=True)
    return found


def put(payloads, name=NAME, *pieces):
    writer = payloads.create(name)
    for piece in pieces or (b"content",):
        writer.write([piece])
    writer.finish()
    payloads.publish(writer, name)


def read_all(payloads, name=NAME):
    reader = payloads.open(name)
    try:
        return reader.read(0, reader.stored_bytes)
    finally:
        reader.close()


def test_what_is_published_is_read_back(payloads):
    put(payloads, NAME, b"some ", memoryview(b"content"))
    assert read_all(payloads) == b"some content"
    assert payloads.exists(NAME)


def test_what_is_kept_meanwhile_is_no_payload_and_has_no_name(payloads):
    with payloads.scratch() as file:
        file.write(b"read twice")
        file.seek(0)
        assert file.read(4) == b"read"
        assert [*payloads.files(), *payloads.unfinished()] == []


@pytest.mark.skipif(not hasattr(os, "writev"), reason="there are no short writes of many pieces")
def test_what_a_short_write_left_is_written_after_it(payloads, monkeypatch):
    def write_some(file, pieces):
        return os.write(file, b"".join(pieces)[:7])

    monkeypatch.setattr(os, "writev", write_some)
    put(payloads, NAME, b"some ", b"content that is longer")
    assert read_all(payloads) == b"some content that is longer"


def test_a_payload_of_many_parts_is_read_back(payloads):
    blocks = [bytes([number]) * (1 << 20) for number in range(18)]
    put(payloads, NAME, *blocks)
    assert read_all(payloads) == b"".join(blocks)


def test_a_range_ends_where_the_payload_ends(payloads):
    put(payloads, NAME, b"0123456789")
    reader = payloads.open(NAME)
    assert reader.stored_bytes == 10
    found = [reader.read(*each) for each in [(2, 3), (8, 5), (10, 1), (99, 1), (0, 0)]]
    reader.close()
    assert found == [b"234", b"89", b"", b"", b""]


def test_ranges_come_in_the_order_asked_for(payloads):
    block = bytes(range(256)) * 4096
    put(payloads, NAME, *[block] * 10)
    ranges = [(0, 5), (5, 3), (400_000, 7), (9 << 20, 4), (3, 2), (20, 0), (1 << 20, 9 << 20)]
    reader = payloads.open(NAME)
    found = list(reader.read_each(ranges))
    reader.close()
    whole = block * 10
    assert found == [whole[offset : offset + length] for offset, length in ranges]


def test_many_threads_read_one_payload(payloads):
    put(payloads, NAME, bytes(range(250)))
    reader = payloads.open(NAME)
    found = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: reader.read(n, 50)}))
        for n in range(0, 200, 25)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader.close()
    assert found == {n: bytes(range(n, n + 50)) for n in range(0, 200, 25)}


def test_nothing_is_seen_before_it_is_finished(payloads):
    writer = payloads.create(NAME)
    writer.write([bytes(10 << 20)])
    assert not payloads.exists(NAME)
    assert list(payloads.files()) == []
    writer.discard()


@pytest.mark.parametrize("size", [7, 10 << 20], ids=["small", "large"])
@pytest.mark.parametrize("finished", [False, True], ids=["unfinished", "finished"])
def test_what_is_discarded_leaves_nothing(payloads, size, finished):
    writer = payloads.create(NAME)
    writer.write([bytes(size)])
    if finished:
        writer.finish()
    writer.discard()
    assert not payloads.exists(NAME)
    assert [*payloads.files(), *payloads.unfinished()] == []


def test_what_is_published_is_not_discarded(payloads):
    writer = payloads.create(NAME)
    writer.write([b"content"])
    writer.finish()
    payloads.publish(writer, NAME)
    writer.discard()
    assert read_all(payloads) == b"content"


def test_files_are_listed_by_name_with_length_and_time(payloads):
    for name in (OTHER, NAME, NAME.replace("01-first", "10-third")):
        put(payloads, name, name.encode())
    found = list(payloads.files())
    assert [each.name for each in found] == [NAME, NAME.replace("01-first", "10-third"), OTHER]
    assert [each.stored_bytes for each in found] == [len(each.name) for each in found]
    assert all(each.modified_at.tzinfo is not None for each in found)


def test_a_deleted_payload_is_gone_and_may_be_deleted_again(payloads):
    put(payloads)
    put(payloads, OTHER)
    payloads.delete(NAME)
    payloads.delete(NAME)
    assert [each.name for each in payloads.files()] == [OTHER]
    with pytest.raises(FileNotFoundError):
        payloads.open(NAME)


def test_many_are_deleted_and_those_that_cannot_be_are_named(payloads):
    names = [NAME.replace("01-first", f"{number:02}-one") for number in range(20)]
    for name in [*names, OTHER]:
        put(payloads, name)
    failed = payloads.delete_all([*names, "p-a/../../x", NAME])
    assert list(failed) == ["p-a/../../x"]
    assert [each.name for each in payloads.files()] == [OTHER]


@pytest.mark.parametrize("name", ["p-a/../../x", "/etc/passwd", "x", "p-a/b\\c", "p-a/\0", 7, ""])
def test_a_forged_name_leads_nowhere(payloads, name):
    for method in (payloads.exists, payloads.open, payloads.delete, payloads.locate):
        with pytest.raises(CorruptionError, match="is not the name of a payload"):
            method(name)


@pytest.mark.parametrize("size", [7, 9 << 20], ids=["small", "large"])
def test_a_payload_that_has_its_name_first_replaces_none(payloads, size):
    if not payloads.names_first:
        pytest.skip("a file gets its name under the lock, when it is free")
    put(payloads, NAME, b"of another")
    with pytest.raises(StoreUnavailableError, match="exists already"):
        put(payloads, NAME, bytes(size))
    assert read_all(payloads) == b"of another"


def test_a_payload_that_was_swept_before_its_commit_is_not_published(payloads):
    if not payloads.names_first:
        pytest.skip("a file gets its name under the lock")
    writer = payloads.create(NAME)
    writer.write([b"content"])
    writer.finish()
    payloads.delete(NAME)
    with pytest.raises(LostRace, match="is gone"):
        payloads.publish(writer, NAME)


def test_the_time_is_that_of_the_clock_that_dates_files(payloads):
    put(payloads)
    [file] = payloads.files()
    assert timedelta(0) <= payloads.now() - file.modified_at < timedelta(minutes=1)
    assert [each.name for each in payloads.files()] == [NAME]
    assert list(payloads.unfinished()) == []
