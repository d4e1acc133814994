"""import, export, copy."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from checkpointdb import PipelineCheckpoint, load_encryption_key
from checkpointdb.cli.session import Session

LEGACY = Path(__file__).parents[1] / "legacy"


def test_a_directory_of_the_predecessor_becomes_a_store(run, tmp_path):
    words = ("--store", tmp_path / "new", "import", LEGACY / "plain", "--time-zone", "UTC")
    first, second = (run(*words, "--json").document for _ in range(2))
    index = json.loads((LEGACY / "plain" / "checkpoint_index.json").read_text())
    assert sorted(first["imported"]) == sorted(index["checkpoints"])
    assert (second["imported"], sorted(second["present"])) == ([], sorted(first["imported"]))


def test_what_was_encrypted_arrives_encrypted(run, tmp_path):
    done = run("--store", tmp_path / "new", "import", LEGACY / "encrypted")
    assert done.code == 0
    assert "the store is encrypted now, by the key of what was imported (fernet:" in done.err
    assert "encrypted now" not in run("import", LEGACY / "plain").err
    key = load_encryption_key(LEGACY / "encrypted" / "encryption.key")
    with PipelineCheckpoint(tmp_path / "new", key, True) as store:
        assert {each.is_encrypted for each in store.list_checkpoints()} == {True}


def test_encrypted_checkpoints_do_not_come_into_a_store_in_the_clear_unasked(run):
    refused = run("import", LEGACY / "encrypted")
    assert (refused.code, "--allow-plain" in refused.err) == (5, True)
    assert run("import", LEGACY / "encrypted", "--allow-plain").code == 0


def test_an_encrypted_file_without_its_key_says_how_to_give_it(run, sealed, key_file, tmp_path):
    file = tmp_path / "one.gz"
    assert run("--store", sealed, "--key-file", key_file, "export", "one", file).code == 0
    refused = run("import", file)
    assert (refused.code, "--source-key-file" in refused.err) == (5, True)
    words = ("export", "one", file, "--force", "--plain", "--file-key-file", key_file)
    refused = run("--store", sealed, "--key-file", key_file, *words)
    assert (refused.code, "--plain" in refused.err) == (5, True)


def test_numbers_that_json_does_not_have_come_as_texts(run, tmp_path):
    shutil.copytree(LEGACY / "plain", tmp_path / "old")
    index = tmp_path / "old" / "checkpoint_index.json"
    told = json.loads(index.read_text())
    [*_, last] = sorted(told["checkpoints"])
    told["checkpoints"][last]["custom_metadata"] = {"loss": float("nan")}
    index.write_text(json.dumps(told))
    assert run("--store", tmp_path / "new", "import", tmp_path / "old").code == 0
    found = run("--store", tmp_path / "new", "show", last, "--json").document
    assert found["metadata"]["custom_metadata"] == {"loss": "NaN"}


def test_one_checkpoint_goes_through_a_file(run, handle, tmp_path):
    assert run("export", "two", tmp_path / "two.gz").code == 0
    assert run("export", "two", tmp_path / "two.gz").code == 2
    assert "pass --force" in run("export", "two", tmp_path / "two.gz").err
    assert run("export", "two", tmp_path / "two.gz", "--force").code == 0
    assert run("export", "none", tmp_path / "none.gz").code == 3
    assert run("--store", tmp_path / "other", "import", tmp_path / "two.gz").code == 0
    with PipelineCheckpoint(tmp_path / "other") as other:
        assert other.load("two")["n"] == handle.load("two")["n"]


def test_a_query_is_copied_and_then_the_rest(run, tmp_path):
    target = tmp_path / "target"
    words = ("copy", target, "--json", "--where")
    assert run(*words, "accuracy > 0.9").document["copied"] == 1
    assert run("copy", target, "--json").document["copied"] == 2
    assert run("delete", "--store", target, "two", "--yes").code == 0
    assert run("copy", target).out == "1 checkpoint was copied\n"
    assert len(run("--store", target, "list", "--json").document["checkpoints"]) == 3
    assert run(*words, "accuracy >").code == 2


@pytest.mark.parametrize("plain", [True, False])
def test_a_copy_of_an_encrypted_store_is_encrypted_unless_told_otherwise(
    run, sealed, key_file, tmp_path, plain
):
    opened = ("--store", sealed, "--key-file", key_file)
    assert run(*opened, "copy", tmp_path / "target", *["--plain"] * plain).code == 0
    code = run("--store", tmp_path / "target", "get", "one").code
    assert code == (0 if plain else 5)


def test_a_source_that_is_not_there_makes_no_store(run, tmp_path):
    assert run("--store", tmp_path / "new", "import", tmp_path / "nothing").code == 2
    assert not (tmp_path / "new").exists()


def test_a_copy_is_of_the_pipeline_that_is_named_and_else_of_all(run, store, tmp_path):
    store(pipeline="other").save({"a": 1}, "apart")
    for words in (["--pipeline", "other"], ["--only-pipeline", "other"]):
        target = tmp_path / words[0]
        assert run("copy", target, *words, "--json").document["copied"] == 1
        assert run("--store", target, "pipelines", "--json").document["pipelines"] == ["other"]
    assert run("copy", tmp_path / "all", "--json").document["copied"] == 4


def test_a_pull_is_of_the_pipeline_that_is_named_and_else_of_all(run, handle, store, tmp_path):
    store(pipeline="other").save({"a": 1}, "apart")
    nas = tmp_path / "nas"
    handle.push_backup(nas)
    for words in (["--pipeline", "other"], ["--only-pipeline", "other", "--pipeline", "default"]):
        target = tmp_path / words[0]
        pulled = run("--store", target, "backup", "pull", nas, *words, "--json")
        assert pulled.document["checkpoints"] == 1
        assert "apart" in run("--store", target, "--pipeline", "other", "list").out
    pull = ("backup", "pull", nas, "--store")
    assert run(*pull, tmp_path / "all", "--json").document["checkpoints"] == 4
    assert run(*pull, tmp_path / "none", "--pipeline", "nobody").code == 3
    refused = run(*pull, tmp_path / "none", "--pipeline", "other", "--rebuild")
    assert (refused.code, "leave out --pipeline" in refused.err) == (2, True)


def test_a_list_of_snapshots_counts_them_and_ends_in_its_code_where_there_are_none(run, tmp_path):
    missing = run("backup", "list", tmp_path / "nas")
    assert (missing.code, "there is no backup at" in missing.err) == (3, True)
    pushed = run("backup", "push", tmp_path / "nas").out
    assert pushed.startswith("3 checkpoints are backed up, 3 of 3 payloads copied, ")
    assert run("backup", "list", tmp_path / "nas").out.endswith(f"1 snapshot at {tmp_path}/nas\n")


def test_what_stays_of_a_failed_import_does_not_hide_why_it_failed(run, tmp_path, monkeypatch):
    def failing(path, **_options):
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    (tmp_path / "noise").write_bytes(b"noise")
    monkeypatch.setattr(os, "rmdir", failing)
    failed = run("--store", tmp_path / "new", "import", tmp_path / "noise")
    assert (failed.code, "noise" in failed.err) == (4, True)
    assert not (tmp_path / "new").exists()


def test_an_import_beside_which_another_made_the_store_says_so_and_changes_nothing(
    run, tmp_path, monkeypatch
):
    run("export", "one", tmp_path / "one.ckpt")
    make = Session.open_or_make

    def make_after_another(self):
        monkeypatch.undo()
        with PipelineCheckpoint(tmp_path / "new") as other:
            other.save({"n": 1}, "theirs")
        return make(self)

    monkeypatch.setattr(Session, "open_or_make", make_after_another)
    words = ("--store", tmp_path / "new", "import", tmp_path / "one.ckpt")
    refused = run(*words)
    assert refused.code == 7
    assert "another process has made the store" in refused.err
    assert "run it again" in refused.err
    assert not list(tmp_path.glob(".new*"))
    assert run(*words).code == 0
    with PipelineCheckpoint(tmp_path / "new") as store:
        assert {each.checkpoint_id for each in store.list_checkpoints()} == {"theirs", "one"}


def test_a_file_that_cannot_be_imported_leaves_no_store(run, tmp_path, tree):
    (tmp_path / "noise").write_bytes(b"noise")
    (tmp_path / "above").mkdir()
    new = tmp_path / "above" / "new"
    assert run("--store", new, "import", tmp_path / "noise").code == 4
    assert tree(tmp_path / "above") == {}


def test_a_store_of_as_long_a_name_as_there_can_be_is_made_for_an_import(run, handle, tmp_path):
    handle.export_checkpoint("one", tmp_path / "one")
    name = "\N{GRINNING FACE}" * 60  # 240 bytes
    assert run("--store", tmp_path / name, "import", tmp_path / "one").code == 0


def test_a_file_is_imported_into_a_store_that_is_made_for_it(run, handle, tmp_path, tree):
    assert run("export", "two", tmp_path / "two.gz").code == 0
    new = tmp_path / "above" / "new"
    assert run("--store", new, "import", tmp_path / "two.gz", "--json").code == 0
    assert sorted(path.name for path in new.parent.iterdir()) == ["new"]
    with PipelineCheckpoint(new) as other:
        assert other.load("two")["n"] == 2
        assert other.check(read_data=True).problems == ()


def test_a_copy_renames_what_it_is_told_to(run, store, tmp_path):
    other = store("other")
    other.save({"mine": 1}, "two")
    target = other.checkpoint_dir
    assert run("copy", target).code == 2
    assert run("copy", target, "--on-conflict", "rename", "--json").document["copied"] == 3
    assert other.load("two") == {"mine": 1}
    assert other.load("two-copied")["n"] == 2
