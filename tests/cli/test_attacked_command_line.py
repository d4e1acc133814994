"""What an attack on the command line found."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from checkpointdb import PipelineCheckpoint, load_encryption_key

LEGACY = Path(__file__).parents[1] / "legacy"
OLDER = Path(__file__).parents[1] / "upgrades" / "plain_0003"


def revision(directory):
    with closing(sqlite3.connect(directory / "checkpoints.db")) as database:
        return database.execute("SELECT version_num FROM checkpointdb_version").fetchone()


def test_a_key_file_encrypts_the_store_that_an_import_makes(run, key_file, tmp_path):
    for name in ("plain", "encrypted"):
        words = ("--store", tmp_path / name, "--key-file", key_file, "import", LEGACY / name)
        assert run(*words).code == 0
        with PipelineCheckpoint(tmp_path / name, load_encryption_key(key_file), True) as store:
            assert {each.is_encrypted for each in store.list_checkpoints()} == {True}


def test_check_falls_back_to_no_key_only_where_none_was_given(run, sealed, key_file, tmp_path):
    assert run("--store", sealed, "check").code == 0
    (tmp_path / "garbage").write_text("no key")
    for path in (tmp_path / "garbage", tmp_path / "nowhere"):
        assert run("--store", sealed, "--key-file", path, "check").code == 5


def test_a_copy_does_not_upgrade_its_target(run, tmp_path):
    shutil.copytree(OLDER, tmp_path / "older")
    assert run("copy", tmp_path / "older").code == 8
    assert revision(tmp_path / "older") == ("0003",)


def test_a_pipe_or_a_device_in_the_place_of_a_key_is_refused(run, tmp_path):
    shutil.copytree(LEGACY / "encrypted", tmp_path / "old")
    (tmp_path / "old" / "encryption.key").unlink()
    os.mkfifo(tmp_path / "old" / "encryption.key")
    result = run("--store", tmp_path / "new", "import", tmp_path / "old")
    assert (result.code, "no regular file" in result.err) == (5, True)


def test_a_source_in_which_nothing_is_whole_keys_no_store(run, tmp_path):
    shutil.copytree(LEGACY / "encrypted", tmp_path / "old")
    for path in (tmp_path / "old").glob("*.ckpt.gz"):
        path.write_bytes(b"damaged")
    assert run("--store", tmp_path / "new", "import", tmp_path / "old").code == 4
    assert not (tmp_path / "new" / "keyring.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--where", "@created_at > 9999-12-31T23:00-05:00"],
        ["list", "--where", "@created_at > 0001-01-01T00:00+05:00"],
        ["list", "--where", '@id = "\\ud800"'],
        ["check", "--grace-hours", "nan"],
        ["sql", "--seconds", "nan", "SELECT 1"],
        ["sql", "SELECT '\udcff'"],
        ["copy", "target", "--where", "n = 1) or (n = 2"],
    ],
    ids=lambda words: words[0] + words[-1][:9].encode("ascii", "replace").decode(),
)
def test_what_makes_no_sense_is_said_to_make_none(run, words):
    result = run(*words, "--json")
    assert (result.code, result.document["error"]["code"]) == (2, 2)


def test_a_number_beyond_every_column_compares_with_it(run):
    assert run("list", "--where", "@depth < 1" + "0" * 395, "--json").document["checkpoints"]


@pytest.mark.skipif(os.name != "posix", reason="there is no such signal here")
def test_a_terminated_import_leaves_nothing_behind(handle, tmp_path):
    handle.save({"noise": np.random.default_rng(1).random(2_000_000)}, "large")
    handle.export_checkpoint("large", tmp_path / "large.gz")
    target = tmp_path / "target"
    PipelineCheckpoint(target).close()
    words = ("--store", target, "import", tmp_path / "large.gz")
    command = [sys.executable, "-m", "checkpointdb", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(target.glob(".import-*")):
        pass
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in (0, 143)
    assert not list(target.glob(".import-*"))


def test_sweep_removes_what_a_killed_import_left_after_a_day(run, handle):
    old, new = (handle.checkpoint_dir / f".import-{name}" for name in ("old", "new"))
    for path in (old, new):
        path.mkdir()
        (path / "left.gz").write_bytes(b"left")
    os.utime(old, (0, 0))
    assert ".import-old" in run("sweep", "--json").document["removed_files"]
    assert (old.exists(), new.exists()) == (False, True)
