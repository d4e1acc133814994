"""check, sweep, rebuild, encrypt; key generate, list, add, remove, rotate."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from checkpointdb import PipelineCheckpoint, load_encryption_key


def test_check_verifies_every_byte_if_asked(run, handle):
    assert run("check", "--json").document["verified_bytes"] == 0
    sizes = [path.stat().st_size for path in handle.checkpoint_dir.rglob("*.ckpt.gz")]
    assert run("check", "--read-data", "--json").document["verified_bytes"] == sum(sizes)


def test_check_reads_a_part_if_asked(run, handle):
    first = run("check", "--read-data-subset", "10%", "--json").document
    assert (first["read_payloads"], first["payloads"]) == (1, 3)
    assert run("check", "--for", "5m", "--json").document["read_payloads"] == 3
    for words in (["--for", "soon"], ["--for", "0s"], ["--read-data-subset", "0%"]):
        assert run("check", *words).code == 2
    assert "every byte" in run("check", "--read-data", "--read-data-subset", "10%").err


def test_a_check_of_the_database_alone_tells_of_no_payloads(run, handle):
    assert run("db", "check").out == "3 checkpoints: no problems\n"
    handle.delete_checkpoint("fork")
    handle.delete_checkpoint("two")
    assert run("db", "check").out == "1 checkpoint: no problems\n"
    assert run("check").out == "1 checkpoint, 1 payload, 0 read, 0 B verified: no problems\n"


def test_check_needs_no_key(run, sealed):
    report = run("--store", sealed, "check", "--read-data", "--json").document
    assert (report["is_ok"], report["read_payloads"]) == (True, report["payloads"])


@pytest.mark.damages
def test_check_names_what_is_affected(run, handle):
    Path(handle.get_checkpoint_info("one").file_path).unlink()
    result = run("check")
    assert result.code == 4
    assert "missing" in result.out
    assert "verified: 1 problem\n" in result.out
    assert "one, two, fork" in result.out or "one, fork, two" in result.out
    assert not run("check", "--json").document["is_ok"]


@pytest.mark.damages
def test_repair_names_what_is_lost_and_ends_in_a_code_of_its_own(run, handle):
    assert run("repair").code == 0
    Path(handle.get_checkpoint_info("two").file_path).unlink()
    assert "damaged" not in run("show", "two").out
    assert run("check", "--read-data").code == 4
    assert "damaged:    yes" in run("show", "two").out
    rehearsed = run("repair", "--dry-run", "--json")
    result = run("repair", "--known-only", "--json")
    assert (rehearsed.code, result.code) == (9, 9)
    assert rehearsed.document["lost"] == result.document["lost"]
    assert {each["checkpoint_id"] for each in result.document["lost"]} == {"two"}
    told = run("repair").out
    assert "two of default" in told
    assert "keys of 0 checkpoints recovered, keys of 1 checkpoint lost" in told
    assert run("repair", "--forget-damaged", "--json").document["forgotten"] == [["default", "two"]]
    assert run("check", "--read-data").code == 0


@pytest.mark.damages
def test_an_unfinished_file_is_a_save_under_way_for_a_day(run, handle):
    path = handle.checkpoint_dir / "payloads" / "incoming"
    path.mkdir(exist_ok=True)
    (path / "0123.tmp").write_bytes(b"x")
    assert run("check").code == 0
    assert run("check", "--grace-hours", "0").code == 4


@pytest.mark.damages
def test_sweep_removes_what_a_crash_left(run, handle):
    path = handle.checkpoint_dir / "payloads" / "incoming" / "0123.tmp"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"left over")
    assert run("sweep", "--json").document["removed_files"] == []
    os.utime(path, (0, 0))
    document = run("sweep", "--json").document
    assert (document["removed_files"], document["freed_bytes"]) == (["incoming/0123.tmp"], 9)


def test_a_rebuilt_store_has_everything_and_pins_it(run, handle, tmp_path):
    lost = tmp_path / "lost"
    shutil.copytree(handle.checkpoint_dir / "payloads", lost / "payloads")
    assert sorted(run("--store", lost, "rebuild", "--json").document["checkpoints"]) == [
        "fork",
        "one",
        "two",
    ]
    found = run("--store", lost, "list", "--json").document["checkpoints"]
    assert all(each["pinned"] for each in found)


def test_a_directory_without_payloads_is_not_made_a_store(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert run("--store", tmp_path / "empty", "rebuild").code == 3
    assert list((tmp_path / "empty").iterdir()) == []


# --- keys


def test_encrypt_copies_the_store_under_a_key(run, key_file, tmp_path):
    target = tmp_path / "target"
    words = ("encrypt", target, "--new-key-file", key_file, "--json")
    assert [run(*words).document["copied"] for _ in range(2)] == [3, 0]
    with PipelineCheckpoint(target, load_encryption_key(key_file), True) as sealed:
        assert sealed.load("two")["n"] == 2
        assert sealed.get_checkpoint_info("fork").pinned


def test_encrypt_makes_no_key_by_itself(run, tmp_path):
    result = run("encrypt", tmp_path / "target")
    assert (result.code, "key generate" in result.err) == (5, True)
    assert not (tmp_path / "target").exists()


def test_a_generated_key_is_private_and_never_overwritten(run, tmp_path):
    path = tmp_path / "new.key"
    assert run("key", "generate", path).code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = path.read_bytes()
    assert key.decode() not in run("key", "generate", path, "--json").out
    refused = run("key", "generate", path)
    told = f"checkpointdb: {str(path)!r} exists and was not overwritten: name another file\n"
    assert (refused.code, refused.err) == (2, told)
    assert path.read_bytes() == key


def test_a_generated_key_without_a_file_is_printed(run, tmp_path):
    path = tmp_path / "new.key"
    path.write_text(run("key", "generate").out)
    assert load_encryption_key(path)


def test_keys_are_added_rotated_and_removed(run, sealed, key_file, tmp_path):
    keys = {name: tmp_path / name for name in ("second", "third")}
    for path in keys.values():
        run("key", "generate", path)
    opened = ("--store", sealed, "--json", "--key-file")
    [first] = run(*opened, key_file, "key", "list").document["key_ids"]
    added = run(*opened, key_file, "key", "add", "--new-key-file", keys["second"]).document[
        "key_id"
    ]
    rotated = run(*opened, keys["second"], "key", "rotate", "--new-key-file", keys["third"])
    assert rotated.document["key_id"] not in (first, added)
    assert run(*opened, keys["second"], "key", "list").code == 5
    assert run(*opened, keys["third"], "key", "remove", first).code == 0
    assert run(*opened, key_file, "list").code == 5
    assert run(*opened, keys["third"], "key", "list").document["key_ids"] == [
        rotated.document["key_id"]
    ]


def test_a_new_master_key_keeps_the_keys_that_are_named(run, sealed, key_file, tmp_path):
    kept, new = tmp_path / "kept", tmp_path / "new"
    for path in (kept, new):
        run("key", "generate", path)
    opened = ("--store", sealed, "--key-file")
    rotate = ("key", "rotate", "--new-key-file", new, "--keep-key-file", kept)
    run(*opened, key_file, "key", "add", "--new-key-file", kept)
    assert run(*opened, key_file, *rotate).code == 2
    refused = run(*opened, key_file, *rotate[:4], "--reencrypt")
    assert (refused.code, "--keep-key-file" in refused.err) == (5, True)
    assert run(*opened, key_file, *rotate, "--reencrypt").code == 0
    codes = [run(*opened, path, "check", "--read-data").code for path in (key_file, kept, new)]
    assert codes == [5, 0, 0]


def test_the_last_key_stays_and_an_id_is_asked_for(run, sealed, key_file):
    opened = ("--store", sealed, "--key-file", key_file, "key")
    [last] = run(*opened, "list").out.split()
    assert run(*opened, "remove", last).code == 5
    assert run(*opened, "remove", "no-id").code == 2


def test_the_database_of_an_encrypted_store_is_checked_too(run, sealed, key_file):
    opened = ("--store", sealed, "--key-file", key_file)
    assert run(*opened, "db", "check").code == 0
    assert run(*opened, "check", "--read-data").code == 0
