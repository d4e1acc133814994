"""Stores with payloads elsewhere, at the prompt."""

from __future__ import annotations

import pytest


@pytest.fixture
def url(tmp_path):
    return (tmp_path / "nas" / "payloads").as_uri()


def test_a_store_is_copied_to_a_place_and_tended_there(run, url, tmp_path):
    target = tmp_path / "moved"
    assert run("copy", target, "--target-payload-url", url).code == 0
    assert not (target / "payloads" / "p-default").exists()
    listed = run("--store", target, "list", "--json").document["checkpoints"]
    assert [each["checkpoint_id"] for each in listed] == ["fork", "two", "one"]
    assert run("--store", target, "check", "--read-data").code == 0
    assert run("--store", target, "get", "one", "n").out == "1\n"
    assert run("--store", target, "--payload-url", f"{url}/other", "list").code == 2


def test_a_lost_database_is_made_anew_from_a_place(run, url, tmp_path):
    run("copy", tmp_path / "moved", "--target-payload-url", url)
    again = run("--store", tmp_path / "new", "rebuild", "--payload-url", url, "--json")
    assert again.document["checkpoints"] == ["one", "two", "fork"]
    assert run("--store", tmp_path / "new", "check", "--read-data").code == 0


def test_an_import_makes_a_store_with_its_payloads_elsewhere(run, url, tmp_path):
    run("export", "one", tmp_path / "one.ckpt.gz")
    made = run(
        "--store", tmp_path / "new", "--payload-url", url, "import", tmp_path / "one.ckpt.gz"
    )
    assert made.code == 0
    assert list((tmp_path / "nas").rglob("*-one.ckpt.gz"))
    assert run("--store", tmp_path / "new", "check").code == 0


def test_what_is_no_url_of_a_place_is_a_mistake_of_usage(run, tmp_path):
    failed = run("--store", tmp_path / "new", "--payload-url", "ftp://host/x", "import", tmp_path)
    assert failed.code == 2
    assert "s3://" in failed.err


def test_an_encrypted_copy_goes_to_a_place(run, url, tmp_path, key_file):
    done = run(
        "encrypt", tmp_path / "sealed", "--new-key-file", key_file, "--target-payload-url", url
    )
    assert done.code == 0
    assert (tmp_path / "nas" / "payloads" / "keyring.json").exists()
    assert run("--store", tmp_path / "sealed", "check", "--read-data").code == 0


def test_a_pull_to_a_place_is_refused_before_anything_is_fetched(run, url, tmp_path):
    assert run("backup", "push", tmp_path / "backup").code == 0
    pull = ("--store", tmp_path / "new", "backup", "pull", tmp_path / "backup")
    failed = run("--payload-url", url, *pull)
    assert failed.code == 2
    assert "--target-payload-url" in failed.err
    assert not (tmp_path / "new").exists()
    assert run(*pull).code == 0
    assert (
        run(
            "--store", tmp_path / "new", "copy", tmp_path / "moved", "--target-payload-url", url
        ).code
        == 0
    )
    assert run("--store", tmp_path / "moved", "get", "one", "n").out == "1\n"
