"""A store whose payloads are objects does all that one in a directory does."""

from __future__ import annotations

import random
import re
import sys
import time

import numpy as np
import pytest

from checkpointdb import (
    InvalidInputError,
    NotFoundError,
    NotSupportedError,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreUnavailableError,
    generate_encryption_key,
)
from checkpointdb.store.places import payloads_at

BLOB = random.Random(3).randbytes(3_000_000)
STATE = {"blob": BLOB, "words": [f"word {n}" for n in range(2_000)], "n": 1}


def objects(url, tmp_path):
    return list(payloads_at(url, tmp_path, durable=False).files())


def below(url, name):
    place, mark, options = url.partition("?")
    return f"{place}/{name}{mark}{options}"


def same(found, expected):
    return found.keys() == expected.keys() and all(
        np.array_equal(found[key], expected[key]) for key in found
    )


@pytest.mark.parametrize(
    "ask",
    [
        lambda plain, url: PipelineCheckpoint(plain.checkpoint_dir / "new", payload_url=url),
        lambda plain, url: plain.push_backup(url),
        lambda plain, url: PipelineCheckpoint.pull_backup(url, plain.checkpoint_dir / "pulled"),
    ],
    ids=["store", "push", "pull"],
)
def test_without_the_package_for_buckets_it_is_said_how_to_get_it(monkeypatch, archive, ask):
    archive.save({"a": 1}, "x")
    for name in [each for each in sys.modules if each.partition(".")[0] == "obstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)  # as if it were not installed
    with pytest.raises(NotSupportedError, match=r"pip install 'checkpointdb\[cloud\]'"):
        ask(archive, "s3://bucket/without-package")


def wait_until_listed(url, directory, ids):
    """What a save frees is deleted after it; Ceph's gateway lists for a moment what was deleted."""
    deadline = time.monotonic() + 20
    while [each.name.split("-")[2] for each in objects(url, directory)] != ids:
        assert time.monotonic() < deadline, [each.name for each in objects(url, directory)]
        time.sleep(0.2)


def test_states_go_to_the_bucket_and_come_back(placed, url, tmp_path):
    handle = placed()
    handle.save(STATE, "one")
    handle.save({**STATE, "n": 2}, "two")
    assert handle.load("one") == STATE
    assert handle.load("two", keys=["n"]) == {"n": 2}
    assert handle.lazy("two")["words"] == STATE["words"]
    assert len(objects(url, tmp_path)) == 2
    assert list((handle.checkpoint_dir / "payloads").glob("p-*")) == []
    found = handle.get_checkpoint_info("one").file_path
    assert found.startswith(f"{url.partition('?')[0]}/p-default/0000000001-one")


def test_a_store_remembers_where_its_payloads_are(placed, url):
    placed().save(STATE, "one")
    again = placed()
    assert again.payload_url == url
    assert again.load("one") == STATE
    again.save({"n": 3}, "two")
    assert PipelineCheckpoint.check_without_key(again.checkpoint_dir, read_data=True).is_ok


def test_another_place_than_the_one_that_is_remembered_is_refused(placed, url):
    handle = placed()
    handle.save(STATE, "one")
    named = re.escape(url.partition("?")[0])
    with pytest.raises(InvalidInputError, match=f"keeps its payloads in '{named}'"):
        placed(payload_url=below(url, "c"))
    assert placed(payload_url=below(url, "")).load("one") == STATE


def test_a_store_that_has_its_payloads_beside_it_does_not_move(store, url):
    store().save(STATE, "one")
    with pytest.raises(InvalidInputError, match=r"keeps its payloads in '.*payloads'"):
        store(payload_url=url)
    assert store().payload_url is None


def test_a_place_that_was_never_used_may_be_changed(placed, url):
    placed()
    handle = placed(payload_url=below(url, "c"))
    handle.save(STATE, "one")
    assert placed().payload_url == below(url, "c")


def test_forgetting_deletes_objects(placed, url, tmp_path):
    handle = placed(retention_policy=RetentionPolicy.KEEP_N_RECENT, retention_count=2)
    for number in range(4):
        handle.save({"blob": BLOB[number:1_000]}, f"{number}", force_full=True)
    wait_until_listed(url, tmp_path, ["2", "3"])
    handle.delete_checkpoint("2")
    wait_until_listed(url, tmp_path, ["3"])


def test_a_replaced_id_leaves_one_object(placed, url, tmp_path):
    handle = placed()
    handle.save(STATE, "one")
    handle.save({"n": 2}, "one", force_full=True)
    assert handle.load("one") == {"n": 2}
    wait_until_listed(url, tmp_path, ["one"])


def test_compact_and_merge_rewrite_objects(placed, url, tmp_path):
    handle = placed()
    first = {f"k{n}": BLOB[n * 90_000 : (n + 1) * 90_000] for n in range(20)}
    handle.save(first, "one")
    handle.save({**first, "k3": 1}, "two")
    second = {**first, **{f"k{n}": 0 for n in range(7, 20)}}
    handle.save(second, "three")
    handle.delete_checkpoint("one")
    handle.delete_checkpoint("two")
    report = handle.compact(min_dead=0.1)
    assert report.freed_bytes > 0
    assert not report.left
    handle.save({**second, "n": 5}, "four")
    handle.merge("four")
    assert handle.load("four") == {**second, "n": 5}
    assert handle.load("three") == second


def test_repair_takes_a_lost_object_out_of_service(placed, url, tmp_path):
    handle = placed()
    handle.save({"a": BLOB[:50_000]}, "one", force_full=True)
    handle.save({"a": BLOB[:50_000], "b": BLOB[50_000:90_000]}, "two", force_full=True)
    [lost, _] = objects(url, tmp_path)
    payloads_at(url, tmp_path, durable=False).delete(lost.name)
    [problem] = handle.check().problems
    assert problem.kind == "missing"
    handle.repair()
    assert handle.load("one") == {"a": BLOB[:50_000]}
    handle.sweep()
    handle.delete_checkpoint("one")


def test_a_checkpoint_is_exported_and_imported(placed, store, tmp_path):
    handle = placed()
    handle.save({**STATE, "n": 0}, "zero")
    handle.save(STATE, "one", custom_metadata={"a": 1})
    handle.export_checkpoint("one", tmp_path / "one.ckpt.gz")
    handle.delete_checkpoint("one")
    handle.import_checkpoint(tmp_path / "one.ckpt.gz")
    assert handle.load("one") == STATE
    local = store()
    local.import_checkpoint(tmp_path / "one.ckpt.gz")
    assert local.get_checkpoint_info("one").custom_metadata == {"a": 1}


def test_a_store_is_copied_into_a_bucket_and_back(store, placed, url, tmp_path):
    local = store(retention_policy=RetentionPolicy.KEEP_ALL)
    local.save({"array": np.arange(9_000)}, "one", pinned=True)
    local.save({"array": np.arange(9_000), "n": 2}, "two", custom_metadata={"a": 1})
    assert local.copy_into(tmp_path / "there", payload_url=url) == 2
    there = placed("there")
    assert there.payload_url == url
    there.copy_into(tmp_path / "back")
    back = store("back", retention_policy=RetentionPolicy.KEEP_ALL)
    for name in ("one", "two"):
        ours, theirs = local.get_checkpoint_info(name), back.get_checkpoint_info(name)
        assert (ours.timestamp, ours.pinned) == (theirs.timestamp, theirs.pinned)
        assert same(local.load(name), back.load(name))
    assert local.copy_into(tmp_path / "there") == 0


def test_a_database_that_is_lost_is_made_anew_from_the_bucket(url, tmp_path):
    with PipelineCheckpoint(tmp_path / "store", payload_url=url) as old:
        old.save(STATE, "one")
        old.save({**STATE, "n": 2}, "two")
        report = PipelineCheckpoint.rebuild(tmp_path / "new" / "store", payload_url=url)
        assert report.checkpoints == ("one", "two")
        with PipelineCheckpoint(tmp_path / "new" / "store") as found:
            assert found.payload_url == url
            assert found.load("two") == {**STATE, "n": 2}
            found.save({"n": 3}, "three")
            assert found.check(read_data=True).is_ok
    # The old one may still live somewhere: it is no longer let in.
    with (
        PipelineCheckpoint(tmp_path / "store") as old,
        pytest.raises(StoreUnavailableError, match="belongs to another database"),
    ):
        old.save({"n": 3}, "four")


def test_an_encrypted_store_needs_its_key_and_the_bucket_alone(placed, url, tmp_path):
    key, other = generate_encryption_key(), generate_encryption_key()
    with PipelineCheckpoint(tmp_path / "sealed", key, True, payload_url=url) as sealed:
        sealed.save(STATE, "one")
        sealed.add_key(other)
    with pytest.raises(NotFoundError):
        PipelineCheckpoint(tmp_path / "none", None, None)
    with pytest.raises(Exception, match="does not open this store"):
        PipelineCheckpoint.rebuild(tmp_path / "new", generate_encryption_key(), payload_url=url)
    assert not (tmp_path / "new").exists()
    PipelineCheckpoint.rebuild(tmp_path / "new", other, payload_url=url)
    with PipelineCheckpoint(tmp_path / "new", key, True) as found:
        assert found.load("one") == STATE
        found.save({**STATE, "n": 2}, "two")
        assert found.check(read_data=True).is_ok


def test_an_encrypted_store_is_sealed_anew_and_its_keyring_follows(tmp_path, url):
    key, new = generate_encryption_key(), generate_encryption_key()
    with PipelineCheckpoint(tmp_path / "sealed", key, True, payload_url=url) as sealed:
        sealed.save(STATE, "one")
        sealed.save({**STATE, "n": 2}, "two")
        sealed.rotate_key(new, reencrypt=True)
        sealed.compact(min_dead=0.01)
        sealed.merge("two")
        assert sealed.check(read_data=True).is_ok
        assert sealed.load("two") == {**STATE, "n": 2}
    there = payloads_at(url, tmp_path, durable=False).note("keyring.json")
    assert there == (tmp_path / "sealed" / "keyring.json").read_bytes()
    with pytest.raises(Exception, match="does not open this store"):
        PipelineCheckpoint.rebuild(tmp_path / "new", key, payload_url=url)


def test_a_keyring_that_is_lost_in_the_bucket_comes_back_before_the_next_save(tmp_path, url):
    key = generate_encryption_key()
    place = payloads_at(url, tmp_path, durable=False)
    with PipelineCheckpoint(tmp_path / "sealed", key, True, payload_url=url) as sealed:
        sealed.save(STATE, "one")
    place.put_note("keyring.json", b"damaged")
    with PipelineCheckpoint(tmp_path / "sealed", key, True) as sealed:
        sealed.save({"n": 2}, "two")
    assert place.note("keyring.json") == (tmp_path / "sealed" / "keyring.json").read_bytes()
