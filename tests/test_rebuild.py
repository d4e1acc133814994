"""rebuild: the database made anew from the payload files, by the rule of the format page."""

from __future__ import annotations

import dataclasses
import gzip
import shutil
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from sqlalchemy import select, text

from checkpointdb import (
    CorruptionError,
    InvalidInputError,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreUnavailableError,
    format,
    manifest,
)
from checkpointdb.local_payloads import LocalReader
from checkpointdb.manifest import encode_manifest
from checkpointdb.manifests import read_manifest
from checkpointdb.rebuild import rebuild
from checkpointdb.schema import chains, checkpoints, pipelines
from checkpointdb.sealing import PLAIN
from checkpointdb.store.opening import open_directory

damages = pytest.mark.damages
NOISE = np.random.default_rng(5).bytes


@pytest.fixture
def rebuilt(store, tmp_path):
    """Copy a store's directory without its database, rebuild, return the report and a handle."""
    copies = iter(range(99))

    def rebuild_copy(handle, **options):
        is_unlinked = Event()  # what saves have freed: another thread does that, in order
        handle._engine.pool.send(is_unlinked.set)
        is_unlinked.wait()
        name = f"rebuilt {next(copies)}"
        ignored = shutil.ignore_patterns("checkpoints.db*", "incoming")
        shutil.copytree(handle.checkpoint_dir, tmp_path / name, ignore=ignored)
        report = PipelineCheckpoint.rebuild(tmp_path / name)
        return report, store(name, retention_policy=RetentionPolicy.KEEP_ALL, **options)

    return rebuild_copy


def same(one, other):
    assert list(one) == list(other)
    assert all(np.array_equal(one[key], other[key]) for key in one)


def payload_of(handle, checkpoint_id):
    return Path(handle.get_checkpoint_info(checkpoint_id).file_path)


def flip(path, place):
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def test_every_checkpoint_comes_back_with_all_that_the_store_knew_of_it(archive, rebuilt):
    state = {"array": np.arange(30_000), "text": "line\n" * 9_000, "": None, "n": 0}
    archive.save(state, "one", custom_metadata={"run": {"host": "n17"}, "tags": [1]})
    state["array"][3] = -1
    archive.save(state, "two")
    state = {"first": 1, **{key: state[key] for key in ("n", "array", "text")}}
    archive.save(state, "three")
    archive.load("one")
    archive.save({**state, "fork": 1}, "fork")
    archive.save({}, "nothing")
    report, copy = rebuilt(archive)
    assert report.checkpoints == ("one", "two", "three", "fork", "nothing")
    assert (report.left_out, report.unreadable) == ((), ())
    for old, new in zip(archive.list_checkpoints(), copy.list_checkpoints(), strict=True):
        moved = dataclasses.replace(old, file_path=new.file_path, pinned=True)
        assert new == moved
        same(copy.load(new.checkpoint_id), archive.load(new.checkpoint_id))
    assert copy.history("n") == archive.history("n")


def test_pipelines_come_back_each_with_its_own(store, rebuilt):
    for pipeline in ("a", "A", "../x", "\N{PARTY POPPER}"):
        store(pipeline=pipeline).save({"name": pipeline, "same": list(range(4_000))}, "same")
    report, copy = rebuilt(store())
    assert report.checkpoints == ("same",) * 4
    assert copy.pipelines() == sorted(["a", "A", "../x", "\N{PARTY POPPER}"])
    assert rebuilt(store(), pipeline="../x")[1].load("same")["name"] == "../x"


def test_what_comes_back_is_pinned(archive, rebuilt):
    archive.save({}, "one")
    assert rebuilt(archive)[1].get_checkpoint_info("one").pinned


def test_a_replaced_id_comes_back_as_it_was_saved_last(archive, rebuilt):
    archive.save({"n": 1}, "one")
    archive.save({"n": 1, "more": 1}, "upon")
    archive.save({"n": 2}, "one")
    report, copy = rebuilt(archive)
    assert report.checkpoints == ("upon", "one")
    assert copy.load("one") == {"n": 2}
    assert copy.load("upon") == {"n": 1, "more": 1}


def test_what_was_saved_last_comes_back_though_a_clock_was_put_back(archive, rebuilt, clock):
    archive.save({"n": 1}, "one")
    archive.save({"n": 1, "more": 1}, "upon")
    clock.advance(hours=-1)
    archive.save({"n": 2}, "one")
    report, copy = rebuilt(archive)
    assert report.checkpoints == ("upon", "one")
    assert copy.load("one") == {"n": 2}
    assert copy.load_latest()[0].checkpoint_id == "one"


def test_a_checkpoint_that_was_forgotten_and_is_no_longer_whole_is_left_out(archive, rebuilt):
    noise = NOISE(40_000)
    archive.save({"keep": noise}, "one")
    archive.save({"keep": noise, "own": NOISE(9_000)}, "two")
    archive.save({"keep": noise, "late": 1}, "three")
    archive.save({"keep": noise, "own": 1, "late": 1}, "four")
    archive.delete_checkpoint("two")
    archive.delete_checkpoint("three")
    report, copy = rebuilt(archive)
    assert "four" in report.checkpoints
    assert set(report.checkpoints) | set(report.left_out) >= {"one", "four"}
    assert copy.load("four") == archive.load("four")
    for each in report.checkpoints:
        copy.load(each)


def test_a_removed_key_stays_removed_though_its_opening_is_still_in_a_file(archive, rebuilt):
    noise = NOISE(40_000)
    archive.save({"noise": noise, "gone": "secret"}, "one")
    archive.save({"noise": noise}, "two")
    archive.save({"noise": noise, "n": 1}, "three")
    archive.delete_checkpoint("one")
    archive.delete_checkpoint("two")
    _, copy = rebuilt(archive)
    assert copy.load("three") == {"noise": noise, "n": 1}


def test_depths_and_sequences_are_never_used_again(archive, rebuilt):
    noise = NOISE(40_000)
    archive.save({"noise": noise}, "one")
    archive.save({"noise": noise, "n": 1}, "two")
    late = payload_of(archive, "two")
    kept = late.read_bytes()
    archive.delete_checkpoint("two")
    late.write_bytes(kept[:-1])  # not unlinked, and no longer readable
    report, copy = rebuilt(archive)
    assert report.checkpoints == ("one",)
    [(name, reason)] = report.unreadable
    assert name.endswith("0000000002-two.ckpt.gz")
    assert "cut off" in reason
    with copy.query() as connection:
        assert connection.scalar(select(pipelines.c.next_sequence)) == 3
    copy.save({}, "three")
    assert "0000000003-three" in copy.get_checkpoint_info("three").file_path
    (copy.checkpoint_dir / "payloads" / name).unlink()
    late.unlink()


def test_a_chain_goes_on_behind_the_deepest_checkpoint_that_any_file_mentions(archive, rebuilt):
    noise = NOISE(40_000)
    archive.save({"noise": noise}, "one")
    for number in range(3):
        archive.save({"noise": noise, "n": number}, "two" if number else "lost")
    archive.save({"noise": noise, "n": "x"}, "lost too")
    archive.delete_checkpoint("two")
    _, copy = rebuilt(archive)
    with copy.query() as connection:
        depths = connection.execute(
            select(chains.c.next_depth, checkpoints.c.depth).join(
                checkpoints, checkpoints.c.chain_id == chains.c.id
            )
        ).all()
    assert all(following > depth for following, depth in depths)
    assert max(following for following, _ in depths) == 5


def test_the_base_of_a_fork_is_found_again_or_is_none(archive, rebuilt):
    archive.save({"a": NOISE(9_000)}, "one")
    archive.save({**archive.load("one"), "b": 1}, "two")
    archive.load("one")
    archive.save({**archive.load("one"), "c": 1}, "fork")
    assert rebuilt(archive)[1].get_checkpoint_info("fork").base_checkpoint_id == "one"


def test_an_orphan_comes_back_since_nothing_tells_it_from_a_checkpoint(archive, rebuilt):
    archive.save({"n": 1}, "one")
    archive.save({"n": 2}, "two")
    late = payload_of(archive, "two")
    kept = late.read_bytes()
    archive.delete_checkpoint("two")
    late.write_bytes(kept)
    report, copy = rebuilt(archive)
    assert report.checkpoints == ("one", "two")
    assert copy.load("two") == {"n": 2}
    late.unlink()


def test_one_goes_on_from_a_rebuilt_store(archive, rebuilt):
    state = {"list": list(range(9_000)), "n": 0}
    archive.save(state, "one")
    archive.save({**state, "n": 1}, "two")
    _, copy = rebuilt(archive)
    copy.save({**copy.load("two"), "n": 2}, "three")
    assert copy.get_checkpoint_info("three").is_incremental
    assert copy.diff("two", "three").unchanged == ("list",)
    copy.delete_checkpoint("one")
    copy.delete_checkpoint("two")
    _, again = rebuilt(copy)
    assert again.load("three") == {**state, "n": 2}


# --- damage


@damages
def test_a_damaged_member_costs_the_checkpoints_that_need_it_and_no_others(archive, rebuilt):
    first, second = NOISE(1_500_000), NOISE(1_500_000)
    archive.save({"first": first, "second": second}, "both")
    archive.save({"second": second}, "second", base="both")
    archive.save({"first": first}, "first", base="both")
    flip(payload_of(archive, "both"), 1000)
    report, copy = rebuilt(archive)
    assert report.checkpoints == ("second",)
    assert report.left_out == ("both", "first")
    [(_, reason)] = report.unreadable
    assert "at 0" in reason
    assert copy.load("second") == {"second": second}


@damages
def test_a_damaged_copy_is_made_good_by_another(archive, rebuilt):
    state = {"list": list(range(90_000)), "n": 1}
    archive.save(state, "one")
    archive.save({**state, "n": 2}, "two")
    archive.save({**state, "n": 3}, "three", force_full=True)
    flip(payload_of(archive, "one"), 1000)
    report, copy = rebuilt(archive)
    assert {"two", "three"} <= set(report.checkpoints)
    assert copy.load("two") == {**state, "n": 2}


@damages
def test_what_is_no_payload_is_skipped_with_the_reason(archive, rebuilt):
    archive.save({"n": 1}, "one")
    path = payload_of(archive, "one")
    path.with_name("0000000007-noise.ckpt.gz").write_bytes(NOISE(500))
    path.with_name("0000000008-empty.ckpt.gz").write_bytes(b"")
    path.with_name("notes.ckpt.gz").write_bytes(path.read_bytes())
    path.with_name("readme.txt").write_bytes(b"of no concern")
    other = path.parent.with_name("p-other")
    other.mkdir()
    shutil.copy(path, other)
    report, copy = rebuilt(archive)
    assert report.checkpoints == ("one",)
    reasons = {Path(name).name: reason for name, reason in report.unreadable}
    assert "cut off" in reasons["0000000007-noise.ckpt.gz"]
    assert "cut off" in reasons["0000000008-empty.ckpt.gz"]
    assert "not the name of a payload" in reasons["notes.ckpt.gz"]
    assert "whose directory is 'p-default'" in reasons["0000000001-one.ckpt.gz"]
    with copy.query() as connection:
        assert connection.scalar(select(pipelines.c.next_sequence)) == 9


@damages
def test_a_payload_of_a_newer_format_is_skipped_and_says_so(archive, rebuilt):
    archive.save({"n": 1}, "one")
    archive.save({"n": 2}, "two")
    path = payload_of(archive, "two")
    raw = bytearray(path.read_bytes())
    raw[-60] = 2
    path.write_bytes(raw)
    report, _ = rebuilt(archive)
    assert report.checkpoints == ("one",)
    assert "upgrade checkpointdb" in report.unreadable[0][1]


@damages
def test_a_copy_of_a_payload_under_a_higher_sequence_brings_nothing_back_twice(archive, rebuilt):
    archive.save({"n": 1}, "one")
    path = payload_of(archive, "one")
    shutil.copy(path, path.with_name("0000000009-copy.ckpt.gz"))
    report, copy = rebuilt(archive)
    assert report.checkpoints == ("one",)
    assert "0000000009-copy" in copy.get_checkpoint_info("one").file_path


@damages
def test_payloads_that_contradict_one_another_are_refused(archive, rebuilt):
    """A chain belongs to one pipeline; a forged manifest claims it for another."""
    archive.save({"n": 1}, "one")
    path = payload_of(archive, "one")
    with LocalReader(path) as reader:
        manifest = read_manifest(reader, "p-a/0000000001-a.ckpt.gz", PLAIN)
    [checkpoint] = manifest.checkpoints
    forged = manifest._replace(checkpoints=(checkpoint._replace(pipeline="forged"),))
    [member] = manifest.members
    stored = path.read_bytes()[: member.stored_bytes]
    described = gzip.compress(encode_manifest(forged))
    footer = format.encode_footer(format.footer_of(len(stored), described))
    other = path.parent.with_name("p-forged")
    other.mkdir()
    (other / "0000000001-one.ckpt.gz").write_bytes(stored + described + footer)
    with pytest.raises(CorruptionError, match="contradict"):
        rebuilt(archive)


# --- into what


def test_a_database_that_is_not_empty_is_refused_and_left_as_it_is(archive):
    archive.save({"n": 1}, "one")
    opened = open_directory(archive.checkpoint_dir, durable=False, busy_seconds=9, upgrade=False)
    try:
        with pytest.raises(InvalidInputError, match="not empty"):
            rebuild(opened.database, opened.payloads)
    finally:
        opened.database.close()
    with pytest.raises(StoreUnavailableError, match="exists"):
        PipelineCheckpoint.rebuild(archive.checkpoint_dir)
    assert archive.load("one") == {"n": 1}


def test_a_rebuild_that_fails_writes_nothing(archive, tmp_path):
    archive.save({"n": 1}, "one")
    shutil.copytree(archive.checkpoint_dir / "payloads", tmp_path / "new" / "payloads")
    opened = open_directory(
        tmp_path / "new", durable=False, busy_seconds=9, upgrade=False, rebuilds=True
    )

    def stop(_done, _total):
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            rebuild(opened.database, opened.payloads, progress=stop)
        with opened.database.read() as connection:
            assert connection.execute(text("SELECT * FROM pipelines")).all() == []
        told = []
        report = rebuild(opened.database, opened.payloads, progress=lambda *n: told.append(n))
    finally:
        opened.database.close()
    assert report.checkpoints == ("one",)
    assert told == [(1, 1)]


def test_a_rebuild_for_which_memory_does_not_suffice_leaves_nothing_out(
    archive, tmp_path, monkeypatch
):
    """What it left out would seem to be a leftover, and be swept."""
    archive.save({"n": 1}, "one")
    shutil.copytree(archive.checkpoint_dir / "payloads", tmp_path / "new" / "payloads")

    def take_too_much(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(manifest.json, "loads", take_too_much)
        with pytest.raises(MemoryError):
            PipelineCheckpoint.rebuild(tmp_path / "new")
    assert PipelineCheckpoint.rebuild(tmp_path / "new").checkpoints == ("one",)


@pytest.mark.parametrize("name", ["a\0b", "\udcff"], ids=ascii)
def test_a_class_whose_name_no_column_holds_comes_back(archive, tmp_path, name):
    made = type("Made", (), {"__reduce__": lambda self: (complex, (1, 2))})
    made.__qualname__ = name
    archive.save({"made": made()}, "one")
    shutil.copytree(archive.checkpoint_dir / "payloads", tmp_path / "new" / "payloads")
    report = PipelineCheckpoint.rebuild(tmp_path / "new")
    assert (report.checkpoints, report.unreadable) == (("one",), ())


def test_a_directory_without_payloads_gives_an_empty_store(tmp_path):
    (tmp_path / "empty").mkdir()
    assert PipelineCheckpoint.rebuild(tmp_path / "empty").checkpoints == ()


def test_a_forgotten_checkpoint_of_which_a_part_is_gone_does_not_come_back(archive, rebuilt):
    for name, state in {
        "one": {"k": 1},
        "two": {"k": 2},
        "three": {"k": 2, "m": 1},
        "four": {"k": 3, "m": 1},
    }.items():
        archive.save(state, name)
    gone = payload_of(archive, "two")
    kept = payload_of(archive, "three")
    archive.delete_checkpoint("two")
    archive.delete_checkpoint("three")
    assert (gone.exists(), kept.exists()) == (False, True)
    report, handle = rebuilt(archive)
    assert sorted(report.checkpoints) == ["four", "one"]
    assert [handle.load(each) for each in ("one", "four")] == [{"k": 1}, {"k": 3, "m": 1}]
