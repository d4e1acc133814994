"""A checkpoint that becomes a full of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from checkpointdb import (
    CorruptionError,
    KeepNewest,
    NotFoundError,
    PipelineCheckpoint,
    RetentionPolicy,
    generate_encryption_key,
)
from checkpointdb.local_payloads import LocalPayloads

pytestmark = pytest.mark.databases

KEY = generate_encryption_key()


def noise(seed, length=100_000):
    return np.random.default_rng(seed).bytes(length)


def states():
    return {
        str(n): {"large": noise(7, 900_000), "blob": noise(n), "same": noise(n), "n": n, "m": 0}
        for n in range(4)
    }


@pytest.fixture(params=["in the clear", "encrypted"])
def filled(request, tmp_path):
    key = KEY if request.param == "encrypted" else None
    options = {"durable": False, "retention_policy": RetentionPolicy.KEEP_ALL}
    with PipelineCheckpoint(tmp_path / "store", key, key is not None, **options) as handle:
        for name, state in states().items():
            handle.save(state, name, custom_metadata={"n": int(name)}, pinned=name == "3")
        yield handle
        assert handle.check(read_data=True).problems == ()


def key_of(handle):
    return KEY if (handle.checkpoint_dir / "keyring.json").exists() else None


def other(filled):
    key = key_of(filled)
    return PipelineCheckpoint(
        filled.checkpoint_dir,
        key,
        enable_encryption=None,
        durable=False,
        retention_policy=RetentionPolicy.KEEP_ALL,
    )


def rebuilt(filled, tmp_path):
    target = tmp_path / "rebuilt"
    shutil.copytree(filled.checkpoint_dir, target, ignore=shutil.ignore_patterns("*.db*"))
    key = key_of(filled)
    PipelineCheckpoint.rebuild(target, key)
    return PipelineCheckpoint(target, key, enable_encryption=None)


def assert_all(handle, but=()):
    for name, state in states().items():
        if name not in but:
            assert handle.load(name) == state


def test_its_one_file_is_enough(filled, tmp_path):
    report = filled.merge("3")
    assert report.is_merged
    for name in "012":
        filled.delete_checkpoint(name)
    [file] = (filled.checkpoint_dir / "payloads").glob("p-*/*")
    assert file.stat().st_size == report.stored_bytes
    assert filled.load("3") == states()["3"]


def test_it_keeps_what_it_is_and_becomes_a_full(filled):
    before = filled.get_checkpoint_info("3").to_dict()
    filled.merge("3")
    after = filled.get_checkpoint_info("3").to_dict()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "file_path", "hash_sha256", "size_bytes", "is_incremental", "base_checkpoint_id",
    }  # fmt: skip
    assert not after["is_incremental"]
    assert [each.checkpoint_id for each in filled.lineage()] == ["0", "1", "2", "3"]


def test_what_it_alone_kept_is_freed(filled):
    before = filled.get_statistics()["total_size_bytes"]
    report = filled.merge("3")
    after = filled.get_statistics()["total_size_bytes"]
    assert before + report.stored_bytes - report.freed_bytes == after
    assert report.freed_bytes > 100_000


@pytest.mark.parametrize("name", ["1", "2", "3"])
def test_all_others_load_as_before(filled, name):
    filled.merge(name)
    assert_all(filled)


def test_a_full_is_left_as_it_is(filled, tree):
    filled.merge("3")
    before = tree(filled.checkpoint_dir / "payloads")
    assert not filled.merge("0").is_merged
    assert not filled.merge("3").is_merged
    assert tree(filled.checkpoint_dir / "payloads") == before


def test_one_that_does_not_exist_is_not_found(filled):
    with pytest.raises(NotFoundError, match="nobody"):
        filled.merge("nobody")


def test_history_and_differences_stay(filled):
    history = [(each.checkpoint_id, each.digest) for each in filled.history("n")]
    diff = filled.diff("2", "3")
    filled.merge("3")
    assert [(each.checkpoint_id, each.digest) for each in filled.history("n")] == history
    assert filled.diff("2", "3") == diff


def test_a_fork_of_it_still_tells_what_it_was_forked_from(filled, tmp_path):
    with other(filled) as second:
        second.save({**second.load("3"), "fork": 1}, "fork")
    filled.merge("3")
    assert filled.get_checkpoint_info("fork").base_checkpoint_id == "3"
    assert filled.check(read_data=True).problems == ()
    with rebuilt(filled, tmp_path) as copy:
        assert copy.get_checkpoint_info("fork").base_checkpoint_id == "3"


def test_a_rebuild_brings_it_back_as_the_full_that_it_is(filled, tmp_path):
    filled.merge("2")
    filled.save({"x": 1}, "4")
    with rebuilt(filled, tmp_path) as copy:
        assert [each.checkpoint_id for each in copy.lineage()] == ["0", "1", "2", "3", "4"]
        assert not copy.get_checkpoint_info("2").is_incremental
        assert_all(copy)


def test_a_writer_whose_last_was_merged_forks_from_it(filled):
    filled.merge("3")
    state = {**states()["3"], "n": 9}
    filled.save(state, "next")
    found = filled.get_checkpoint_info("next")
    assert (found.base_checkpoint_id, found.is_incremental) == ("3", True)
    assert found.size_bytes < 50_000
    assert filled.load("next") == state


@pytest.mark.parametrize("is_fork", [False, True])
def test_a_save_that_was_under_way_notices_that_its_base_was_merged(filled, monkeypatch, is_fork):
    """A fork's first depth is that of a merged one: the depth alone would not tell."""
    name = "3"
    if is_fork:
        filled.save({**filled.load("0"), "fork": 1}, name := "fork")

    original = LocalPayloads.create

    def merge_before_the_lock(payloads, name_of_file):
        monkeypatch.undo()
        with other(filled) as second:
            second.merge(name)
        return original(payloads, name_of_file)

    monkeypatch.setattr(LocalPayloads, "create", merge_before_the_lock)
    state = {**filled.load(name), "n": 9}
    filled.save(state, "next")
    assert filled.load("next") == state
    assert filled.get_checkpoint_info("next").base_checkpoint_id == name


def test_a_checkpoint_that_was_replaced_meanwhile_is_not_touched(filled, monkeypatch):
    original = LocalPayloads.create

    def replace_first(payloads, name_of_file):
        monkeypatch.undo()
        with other(filled) as second:
            second.save({"x": 1}, "3", force_full=True)
        return original(payloads, name_of_file)

    monkeypatch.setattr(LocalPayloads, "create", replace_first)
    assert not filled.merge("3").is_merged
    assert filled.load("3") == {"x": 1}


def test_one_compacted_meanwhile_is_merged_from_where_it_is_now(filled, monkeypatch):
    filled.delete_checkpoint("2")
    filled.delete_checkpoint("1")
    original = LocalPayloads.open

    def compact_first(payloads, name):
        monkeypatch.undo()
        filled.compact(min_dead=0.01)
        return original(payloads, name)

    monkeypatch.setattr(LocalPayloads, "open", compact_first)
    assert filled.merge("3").is_merged
    assert_all(filled, but={"1", "2"})


def test_retention_counts_it_where_it_was(filled):
    with other(filled) as second:
        filled.merge("1")
        assert second.prune(KeepNewest(1)).forgotten == ("0", "1")


def test_compaction_after_it_keeps_the_chain_that_it_left(filled, tmp_path):
    filled.merge("1")
    filled.delete_checkpoint("0")
    filled.compact(min_dead=0.01)
    assert_all(filled, but={"0"})
    with rebuilt(filled, tmp_path) as copy:
        assert_all(copy, but={"0"})
        assert not copy.get_checkpoint_info("1").is_incremental


@pytest.mark.damages
def test_rows_that_are_not_the_state_that_was_saved_are_not_merged(archive, alter):
    """Its file still says what it was: a rebuild brings that back, as long as it is there."""
    for number, state in states().items():
        archive.save(state, number)
    alter(archive, "DELETE FROM entries WHERE key = 'n' AND to_depth IS NULL")
    file = Path(archive.get_checkpoint_info("3").file_path)
    with pytest.raises(CorruptionError, match="rebuild"):
        archive.merge("3")
    assert file.exists()


@pytest.mark.damages
def test_what_is_not_whole_is_not_merged(archive):
    for name, state in states().items():
        archive.save(state, name)
    file = Path(archive.get_checkpoint_info("2").file_path)
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(CorruptionError, match="member"):
        archive.merge("2")
    assert archive.get_checkpoint_info("2").is_incremental


# --- a manifest that is lost


@pytest.fixture(params=["in the clear", "encrypted"])
def described(request, tmp_path):
    """A store with a full and one upon it, none of whose values lie in one payload alone."""
    key = KEY if request.param == "encrypted" else None
    options = {"durable": False, "retention_policy": RetentionPolicy.KEEP_ALL}
    with PipelineCheckpoint(tmp_path / "store", key, key is not None, **options) as handle:
        handle.save(states()["0"], "0", custom_metadata={"n": 0})
        more = {**states()["0"], "more": 1}
        handle.save(more, "upon", custom_metadata={"k": [1]}, pinned=True)
        yield handle


@pytest.mark.damages
@pytest.mark.parametrize("name", ["0", "upon"])
@pytest.mark.parametrize("at", [-1, -120], ids=["footer", "manifest"])
def test_a_checkpoint_that_is_only_in_the_database_is_written_anew(described, tmp_path, name, at):
    before = described.get_checkpoint_info(name)
    file = Path(before.file_path)
    raw = bytearray(file.read_bytes())
    raw[at] ^= 1
    file.write_bytes(raw)
    state = described.load(name)
    assert ("default", name) in described.repair().only_in_database
    assert described.merge(name).is_merged
    assert ("default", name) not in described.repair().only_in_database
    after = described.get_checkpoint_info(name)
    kept = ("timestamp", "custom_metadata", "pinned", "state_bytes", "state_version", "state_keys")
    assert [getattr(after, each) for each in kept] == [getattr(before, each) for each in kept]
    assert not after.is_incremental
    assert described.load(name) == state
    with rebuilt(described, tmp_path) as found:
        assert found.load(name) == state
        assert found.get_checkpoint_info(name).custom_metadata == before.custom_metadata
    described.delete_checkpoint("upon" if name == "0" else "0")
    assert described.check(read_data=True).problems == ()
    assert described.load(name) == state


@pytest.mark.damages
def test_what_was_written_anew_is_rebuilt_where_it_was_in_the_order(described, tmp_path):
    described.save({"n": 1}, "later", force_full=True)
    file = Path(described.get_checkpoint_info("0").file_path)
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    described.repair()
    assert described.merge("0").is_merged
    with rebuilt(described, tmp_path) as found:
        assert found.load_latest()[0].checkpoint_id == "later"


@pytest.mark.damages
def test_what_cannot_be_read_is_not_merged_by_its_rows(described):
    file = Path(described.get_checkpoint_info("0").file_path)
    file.write_bytes(bytes(file.stat().st_size))
    described.repair()
    with pytest.raises(CorruptionError):
        described.merge("0")


@pytest.mark.damages
@pytest.mark.parametrize("column", ["state_bytes = -1", "custom_metadata = '[1]'"])
def test_rows_that_describe_nothing_are_not_made_a_manifest(described, alter, column):
    file = Path(described.get_checkpoint_info("0").file_path)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    described.repair()
    alter(described, f"UPDATE checkpoints SET {column} WHERE checkpoint_id = '0'")
    with pytest.raises(CorruptionError, match=r"checkpoints\.db"):
        described.merge("0")
