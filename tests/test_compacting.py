"""Payloads that are mostly dead, written again without what is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from checkpointdb import (
    InvalidInputError,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreUnavailableError,
    generate_encryption_key,
)
from checkpointdb.local_payloads import LocalPayloads, LocalWriter

pytestmark = pytest.mark.databases

KEY = generate_encryption_key()


def noise(seed, length=200_000):
    return np.random.default_rng(seed).bytes(length)


def states():
    """Three saves whose blobs change, beside a value that stays in the first."""
    return {
        str(n): {"kept": noise(7, 500_000), "blob": noise(n, 650_000), "n": n, f"only {n}": n}
        for n in range(4)
    }


def fill(handle):
    """Save, and forget all but two: what is left of the first payloads is little."""
    for name, state in states().items():
        handle.save(state, name, custom_metadata={"n": int(name)})
    for name in ("0", "1"):
        handle.delete_checkpoint(name)
    return handle


@pytest.fixture(params=["in the clear", "encrypted"])
def filled(request, tmp_path):
    key = KEY if request.param == "encrypted" else None
    options = {"durable": False, "retention_policy": RetentionPolicy.KEEP_ALL}
    with PipelineCheckpoint(tmp_path / "store", key, key is not None, **options) as handle:
        yield fill(handle)


def files(handle):
    return sorted((handle.checkpoint_dir / "payloads").glob("p-*/*"))


def stored_bytes(handle):
    return sum(path.stat().st_size for path in files(handle))


def assert_whole(handle, names=("2", "3")):
    for name in names:
        assert handle.load(name) == states()[name]
    assert handle.check(read_data=True).problems == ()


def test_what_is_dead_goes_and_what_is_alive_stays(filled):
    before = stored_bytes(filled)
    report = filled.compact()
    assert len(report.rewritten) == 2  # of the second, what says that a key is gone
    assert (report.written, report.left) == (1, ())
    assert before - stored_bytes(filled) == report.freed_bytes > 600_000
    assert_whole(filled)


def test_a_dry_run_names_what_the_real_run_rewrites_and_changes_nothing(filled):
    before = files(filled)
    planned = filled.compact(dry_run=True)
    assert files(filled) == before
    done = filled.compact()
    assert planned.rewritten == done.rewritten
    assert planned.freed_bytes == pytest.approx(done.freed_bytes, rel=0.05)
    assert (planned.is_dry_run, planned.written) == (True, 0)


def test_a_second_run_finds_nothing_to_do(filled):
    filled.compact()
    assert filled.compact().rewritten == ()


def test_checkpoints_keep_all_but_their_file(filled):
    before = [each.to_dict() for each in filled.list_checkpoints()]
    filled.compact(min_dead=0.01)
    after = [each.to_dict() for each in filled.list_checkpoints()]
    for one, other in zip(before, after, strict=True):
        for field in ("file_path", "hash_sha256", "size_bytes"):
            one.pop(field), other.pop(field)
    assert before == after


def test_several_become_one(archive):
    archive.save({"large": noise(7, 1_000_000)}, "first")
    for number in range(6):  # of each save one blob stays and a larger one goes
        state = {f"keep {number}": noise(number, 20_000), "blob": noise(number + 100)}
        archive.save({**(archive.load_latest() or (None, {}))[1], **state}, str(number))
    last = archive.load("5")
    for number in range(5):
        archive.delete_checkpoint(str(number))
    report = archive.compact()
    assert len(report.rewritten) == 5
    assert report.written == 1
    assert archive.load("5") == last


def test_values_of_one_digest_are_not_put_into_one_manifest(archive):
    for number in range(4):  # small values are stored again and again: two of one digest live
        state = {"n": number % 2, "blob": noise(number), f"keep {number}": 1}
        archive.save({**(archive.load_latest() or (None, {}))[1], **state}, str(number))
    for number in (0, 1):
        archive.save({"blob": 1}, str(number))
    archive.delete_checkpoint("3")
    want = archive.load("2")
    archive.compact(min_dead=0.01)
    assert archive.load("2") == want


def test_a_rebuild_brings_back_what_was_compacted(filled, tmp_path):
    filled.compact()
    key = KEY if (filled.checkpoint_dir / "keyring.json").exists() else None
    filled.close()
    for path in filled.checkpoint_dir.glob("checkpoints.db*"):
        path.unlink()
    report = PipelineCheckpoint.rebuild(filled.checkpoint_dir, key)
    assert report.checkpoints == ("2", "3")
    with PipelineCheckpoint(filled.checkpoint_dir, key, enable_encryption=None) as handle:
        assert_whole(handle)


def test_a_writer_that_saved_before_goes_on(filled):
    """Its head names members that are gone; its values and chunks keep their ids."""
    filled.compact(min_dead=0.01)
    state = {**states()["3"], "blob": noise(3, 650_000) + b"more"}
    filled.save(state, "next")
    assert filled.load("next") == state
    [place] = [each for each in filled.lineage() if each.checkpoint_id == "next"]
    assert (place.parent_id, place.depth) == ("3", 4)
    assert place.stored_bytes < 100_000
    assert filled.check(read_data=True).problems == ()


def test_a_reader_that_planned_before_asks_the_rows_again(filled, monkeypatch):
    def compact_first(payloads, name):
        monkeypatch.undo()
        filled.compact(min_dead=0.01)
        return LocalPayloads.open(payloads, name)

    monkeypatch.setattr(LocalPayloads, "open", compact_first)
    assert filled.load("2") == states()["2"]


@pytest.mark.damages
def test_a_damaged_payload_is_left_as_it_is_and_named(archive):
    fill(archive)
    first = files(archive)[0]
    raw = bytearray(first.read_bytes())
    raw[100:200] = bytes(100)
    first.write_bytes(raw)
    report = archive.compact()
    [(name, _)] = report.left
    assert first.as_posix().endswith(name)
    assert first.read_bytes() == raw
    assert len(report.rewritten) == 1  # the other one
    assert archive.load("3", keys=["n"]) == {"n": 3}
    assert archive.compact().left == ((name, "it is marked as damaged"),)


@pytest.mark.damages
def test_a_payload_of_which_a_row_names_other_bytes_is_left_as_it_is(archive, alter):
    """A rebuild finds what was saved there, as long as its file is there."""
    large = noise(7, 1_000_000)
    archive.save({"large": large, "blob": noise(8, 500_000)}, "0")
    archive.save({"large": large}, "1")
    archive.delete_checkpoint("0")
    first = "(SELECT min(id) FROM chunks)"
    alter(archive, f'UPDATE chunks SET "offset" = "offset" + 1 WHERE id = {first}')
    report = archive.compact(min_dead=0.01)
    assert report.rewritten == ()
    assert len(report.left) == 1


@pytest.mark.damages
def test_many_damaged_payloads_do_not_keep_the_others_from_it(archive):
    state = {"large": noise(7, 2_000_000)}
    archive.save(state, "first")
    for number in range(9):
        state |= {f"keep {number}": noise(number, 9_000), "blob": noise(number + 99, 30_000)}
        archive.save(state, str(number))
    paths = [Path(archive.get_checkpoint_info(str(number)).file_path) for number in range(8)]
    for number in range(8):
        archive.delete_checkpoint(str(number))
    for path in paths[1:7]:
        path.write_bytes(bytes(path.stat().st_size))
    paths[0].unlink()
    report = archive.compact()
    assert [name for name, _ in report.left] == [f"p-default/{path.name}" for path in paths[:7]]
    assert report.left[0][1] == "its file is missing: run repair"
    assert report.rewritten == (f"p-default/{paths[7].name}",)
    assert {why for _, why in archive.compact().left} == {"it is marked as damaged"}


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(bytes(9)), Path.unlink],
                         ids=["changed", "gone"])  # fmt: skip
def test_what_it_finds_damaged_is_stored_again_by_the_next_save(archive, damage):
    fill(archive)
    damage(files(archive)[0])
    [(name, _)] = archive.compact().left
    archive.save(states()["2"], "again")
    archive.delete_checkpoint("2")
    archive.delete_checkpoint("3")
    assert archive.load("again") == states()["2"]
    assert name not in {f"p-default/{path.name}" for path in files(archive)}


@pytest.mark.damages
def test_what_is_damaged_while_it_is_rewritten_is_marked_and_the_rest_goes_on(archive, monkeypatch):
    fill(archive)
    first, second = files(archive)[:2]
    open_as_ever, opened = LocalPayloads.open, []

    def damage_first(payloads, name):
        if opened.count(f"p-default/{first.name}") == 1:  # whole when its chunks were carried
            first.write_bytes(bytes(first.stat().st_size))
        opened.append(name)
        return open_as_ever(payloads, name)

    monkeypatch.setattr(LocalPayloads, "open", damage_first)
    report = archive.compact(min_dead=0.3)
    monkeypatch.undo()
    assert [name for name, _ in report.left] == [f"p-default/{first.name}"]
    assert report.rewritten == (f"p-default/{second.name}",)
    assert archive.repair().damaged[0][0] == f"p-default/{first.name}"


def test_payloads_that_cannot_be_read_now_are_not_told_as_damaged(archive, monkeypatch):
    fill(archive)

    def fail(*_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "pread", fail)
    for act in (archive.compact, lambda: archive.merge("3")):
        with pytest.raises(StoreUnavailableError, match="cannot be read"):
            act()
    monkeypatch.undo()
    assert_whole(archive)


@pytest.mark.parametrize("share", [0, 1.5, -1, "half", None])
def test_a_share_that_is_none_is_refused(archive, share):
    with pytest.raises(InvalidInputError, match="min_dead"):
        archive.compact(min_dead=share)


def test_what_changes_while_it_is_rewritten_is_looked_at_again(filled, monkeypatch):
    def forget_first(payloads, name):
        monkeypatch.undo()
        filled.delete_checkpoint("2")
        return LocalPayloads.create(payloads, name)

    monkeypatch.setattr(LocalPayloads, "create", forget_first)
    filled.compact()
    assert_whole(filled, ["3"])


def test_two_compactions_at_once_rewrite_each_payload_once(filled, monkeypatch):
    def compact_first(writer):
        monkeypatch.undo()
        filled.compact()
        writer.finish()

    monkeypatch.setattr(LocalWriter, "finish", compact_first)
    report = filled.compact()
    assert (report.written, report.left) == (0, ())
    assert_whole(filled)


def test_what_would_not_become_smaller_stays_and_is_told(store):
    """What is alive shrank to a hundredth when it was saved, and is stored as it is by now."""
    handle = store(compression_level="smallest", retention_policy=RetentionPolicy.KEEP_ALL)
    handle.save({"alive": "word " * 9_000, "dead": "other " * 30_000}, "old")
    handle.save({"alive": "word " * 9_000}, "new")
    handle.delete_checkpoint("old")
    before = files(handle)
    report = store(compression_level="stored").compact()
    assert report.not_smaller == (f"p-default/{before[0].name}",)
    assert (report.rewritten, report.written, report.freed_bytes, report.left) == ((), 0, 0, ())
    assert files(handle) == before
    assert handle.compact().not_smaller == ()
    assert files(handle) != before


def test_progress_is_told(filled):
    told = []
    filled.compact(progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 2)]
