"""Paths, of which no store and no file can come, are refused in words about them."""

from __future__ import annotations

import errno
import os

import pytest

from checkpointdb import (
    InvalidInputError,
    PipelineCheckpoint,
    StoreUnavailableError,
    generate_encryption_key,
)


@pytest.mark.parametrize("below", ["", "x", "x/y"])
@pytest.mark.parametrize("url", [None, "postgresql://nobody@127.0.0.1:9/x"])
def test_a_file_is_said_to_be_one_where_a_store_is_wanted(tmp_path, below, url):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(StoreUnavailableError) as caught:
        PipelineCheckpoint(tmp_path / "notes" / below, database_url=url)
    assert str(caught.value) == f"{str(tmp_path / 'notes')!r} is a file, and no store's directory"
    assert [each.name for each in tmp_path.iterdir()] == ["notes"]


def test_what_others_ask_of_a_file_is_answered_alike(tmp_path):
    (tmp_path / "notes").write_text("mine")
    for ask in (PipelineCheckpoint.database_info, PipelineCheckpoint.check_without_key):
        with pytest.raises(StoreUnavailableError, match="is a file, and no store's directory"):
            ask(tmp_path / "notes")


def test_where_no_store_is_concerned_none_is_said_to_be_gone(store, tmp_path):
    handle = store()
    handle.save({"a": 1}, "a")
    for use, words in (
        (lambda: handle.import_checkpoint(tmp_path / "x"), "a file that export_checkpoint"),
        (lambda: handle.export_checkpoint("a", tmp_path / "no" / "x"), "there is no directory"),
        (lambda: PipelineCheckpoint("/proc/x/y"), "name another"),
    ):
        with pytest.raises(StoreUnavailableError, match=words) as caught:
            use()
        assert caught.value.errno == errno.ENOENT
        assert "was the store removed" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [("", "is empty"), (5, "not int"), (b"x", "not bytes"), (None, "not NoneType")],
    ids=repr,
)
@pytest.mark.parametrize(
    "use",
    [
        PipelineCheckpoint,
        PipelineCheckpoint.rebuild,
        PipelineCheckpoint.database_info,
        PipelineCheckpoint.upgrade_database,
        PipelineCheckpoint.upgrade_sql,
        PipelineCheckpoint.check_without_key,
        lambda path: PipelineCheckpoint.pull_backup("backup", path),
        lambda path: PipelineCheckpoint.pull_backup("backup", path, rebuild=True),
    ],
)
def test_what_is_no_path_of_a_store_is_refused(tmp_path, monkeypatch, use, path, words):
    monkeypatch.chdir(tmp_path)  # where an empty path would make a store
    with pytest.raises(InvalidInputError, match=f"the store's directory .*{words}"):
        use(path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "use",
    [
        PipelineCheckpoint.copy_into,
        lambda store, path: store.encrypt_into(path, generate_encryption_key()),
        PipelineCheckpoint.import_legacy,
    ],
)
def test_an_empty_path_is_not_the_current_directory(store, tmp_path, monkeypatch, use):
    handle = store()
    handle.save({"a": 1}, "x")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InvalidInputError, match="is empty"):
        use(handle, "")
    assert not [*(tmp_path / "here").iterdir()]


def test_a_place_beside_which_nothing_can_be_looked_at_is_refused_in_our_words(
    tmp_path, monkeypatch
):
    """Whether it is the payload directory of another store is told by what is beside it."""
    stat = os.stat

    def failing(path, **options):
        if str(path) == str(tmp_path / "disk" / "checkpoints.db"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", failing)
    place = (tmp_path / "disk" / "payloads").as_uri()
    with pytest.raises(StoreUnavailableError, match=r"disk/checkpoints\.db' cannot be looked at"):
        PipelineCheckpoint(tmp_path / "store", payload_url=place)
