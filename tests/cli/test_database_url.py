"""`--database-url`: a store whose rows are on a server, at the prompt."""

from __future__ import annotations

import pytest


@pytest.fixture
def url(emptied):
    return next(emptied())


def test_a_store_is_copied_to_a_server_and_looked_at_there(run, handle, tmp_path, url, monkeypatch):
    target = tmp_path / "there"
    assert run("copy", target, "--target-database-url", url).code == 0
    there = ("--store", target, "--database-url", url)
    ids = [each["checkpoint_id"] for each in run("list", "--json").document["checkpoints"]]
    found = run(*there, "list", "--json").document["checkpoints"]
    assert [each["checkpoint_id"] for each in found] == ids
    monkeypatch.setenv("CHECKPOINTDB_DATABASE_URL", url)
    for command in (["check"], ["db", "check"], ["sweep"], ["db", "upgrade"]):
        assert run("--store", target, *command).code == 0, command
    info = run("--store", target, "db", "info", "--json").document
    assert (info["state"], info["engine"].split()[0]) == ("current", "PostgreSQL")
    assert run("--store", target, "sql", "SELECT count(*) FROM pipelines").code == 0


def test_a_directory_without_its_url_is_refused(run, handle, tmp_path, url):
    run("copy", tmp_path / "there", "--target-database-url", url)
    failed = run("--store", tmp_path / "there", "list")
    assert (failed.code, "database_url" in failed.err) == (7, True)


def test_a_database_is_made_anew_on_a_server(run, handle, tmp_path, url, emptied):
    run("copy", tmp_path / "there", "--target-database-url", url)
    urls = emptied()
    next(urls)
    done = run("--store", tmp_path / "there", "--database-url", next(urls), "rebuild", "--json")
    assert (done.code, bool(done.document["checkpoints"])) == (0, True)
