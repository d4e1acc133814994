"""What is written to a file of the caller's choice: which names it may take, and which not."""

from __future__ import annotations

import errno
import os

import pytest

from checkpointdb import InvalidInputError, StreamedValue, generate_encryption_key

LONG = ["x" * 255, "\N{PARTY POPPER}" * 60, "x" * 251 + ".txt"]


@pytest.fixture(params=["stream", "export"])
def write(request, archive):
    """Write something to a file, one way or another."""
    if request.param == "stream":
        return StreamedValue(b"bytes").save_to
    archive.save({"a": 1}, "x")
    return lambda path, overwrite=False: archive.export_checkpoint("x", path, overwrite=overwrite)


@pytest.mark.parametrize("name", LONG, ids=["long", "of many bytes", "with a suffix"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_may_be_as_long_as_a_file_system_takes(write, tmp_path, name, overwrite):
    target = tmp_path / name
    write(target, overwrite=overwrite)
    assert target.stat().st_size > 0
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("name", ["", ".", "..", "directory", "pipe"])
def test_what_is_no_file_is_never_overwritten(write, tmp_path, monkeypatch, name):
    """A pipe stands for what is worse, such as /dev/null."""
    here = tmp_path / "above" / "here"
    (here / "directory").mkdir(parents=True)
    os.mkfifo(here / "pipe")
    monkeypatch.chdir(here)
    before = sorted((tmp_path / "above").rglob("*"))
    with pytest.raises(InvalidInputError, match="no file"):
        write(name, overwrite=True)
    with pytest.raises(InvalidInputError, match="exists"):
        write(name)
    assert sorted((tmp_path / "above").rglob("*")) == before
    assert (here / "pipe").is_fifo()


def test_a_directory_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        StreamedValue(b"bytes").save_to(tmp_path / "nowhere" / "file")
    assert caught.value.filename == str(tmp_path / "nowhere")


def test_a_link_is_replaced_and_not_what_it_points_to(write, tmp_path):
    (tmp_path / "pointed to").write_bytes(b"precious")
    link = tmp_path / "link"
    link.symlink_to("pointed to")
    write(link, overwrite=True)
    assert not link.is_symlink()
    assert (tmp_path / "pointed to").read_bytes() == b"precious"
    assert link.stat().st_mode & 0o777 == 0o600


def test_a_link_to_nowhere_is_taken_for_a_name_that_exists(write, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    with pytest.raises(InvalidInputError, match="exists"):
        write(link)
    assert link.is_symlink()


def test_where_a_file_system_has_no_hard_links_a_file_appears_all_the_same(
    write, tmp_path, monkeypatch
):
    def no_links(*_arguments, **_options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    write(tmp_path / "new")
    assert (tmp_path / "new").stat().st_size > 0
    with pytest.raises(InvalidInputError, match="exists"):
        write(tmp_path / "new")


def test_a_backup_goes_where_there_are_no_hard_links(archive, tmp_path, monkeypatch):
    def no_links(*_arguments, **_options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    archive.save({"a": 1}, "x")
    monkeypatch.setattr(os, "link", no_links)
    for _ in range(2):
        archive.push_backup(tmp_path / "remote")
    archive.pull_backup(tmp_path / "remote", tmp_path / "copy")


def test_a_key_gets_no_name_that_exists_where_there_are_no_hard_links(tmp_path):
    target = tmp_path / ("k" * 255)
    generate_encryption_key(str(target))
    with pytest.raises(FileExistsError):
        generate_encryption_key(str(target))
