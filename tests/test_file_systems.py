"""A database on a network's file system is warned of, and one that two directories have."""

from __future__ import annotations

import os

import pytest

from checkpointdb.store import file_systems
from checkpointdb.store.file_systems import network_file_system


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    """Write a table of mounts, in which `{}` stands for this test's directory."""
    table = tmp_path / "mounts"
    monkeypatch.setattr(file_systems, "MOUNTS", table)

    def write(*lines):
        root = str(tmp_path).replace(" ", "\\040")
        table.write_text("".join(f"{line.format(root)} rw 0 0\n" for line in lines))

    return write


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "fuse.sshfs", "fuse.s3fs"]
)
def test_what_a_network_brings_is_known_by_its_name(mounts, tmp_path, kind):
    mounts("/dev/sda1 / ext4", f"host:/share {{}} {kind}")
    assert network_file_system(tmp_path / "store") == kind
    assert network_file_system(tmp_path.parent) is None


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.ntfs-3g"]
)
def test_a_disk_of_this_machine_is_none(mounts, tmp_path, kind):
    mounts("host:/ / nfs", f"/dev/sdb1 {{}} {kind}")
    assert network_file_system(tmp_path / "store") is None


def test_the_innermost_mount_decides_and_of_one_place_the_last(mounts, tmp_path):
    mounts("/dev/sda1 / ext4", "h:/s {}/a nfs", "/dev/sdb1 {}/a/b ext4", "h:/t {}/a/b/c cifs")
    mount_of = {each: network_file_system(tmp_path / each) for each in ("a", "a/b", "a/b/c", "ab")}
    assert mount_of == {"a": "nfs", "a/b": None, "a/b/c": "cifs", "ab": None}
    mounts("h:/s {}/a nfs", "/dev/sdb1 {}/a ext4")
    assert network_file_system(tmp_path / "a") is None


def test_names_with_spaces_and_links_lead_to_their_mount(mounts, tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    mounts("/dev/sda1 / ext4", "h:/s {}/a\\040b nfs")
    assert network_file_system(tmp_path / "link" / "store") == "nfs"


def test_without_a_table_nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "none")
    assert network_file_system(tmp_path) is None


def test_a_broken_table_is_no_error(mounts, tmp_path):
    mounts("", "x", "a b")
    assert network_file_system(tmp_path) is None


def test_a_store_on_one_is_opened_with_one_warning(mounts, store, caplog):
    mounts("h:/s {} nfs4")
    for number in range(3):
        store().save({"n": number}, f"{number}")
    [warned] = [each for each in caplog.records if "network" in each.getMessage()]
    assert "nfs4" in warned.getMessage()
    assert "payload_url='file:///" in warned.getMessage()


def test_a_copy_by_hard_links_is_opened_with_one_warning(store, tmp_path, caplog):
    with store() as original:
        original.save({"n": 0}, "0")
    (tmp_path / "copy").mkdir()
    os.link(original.checkpoint_dir / "checkpoints.db", tmp_path / "copy" / "checkpoints.db")
    for _ in range(2):
        store().close()
    [warned] = [each for each in caplog.records if "hard links" in each.getMessage()]
    assert "has 2 names" in warned.getMessage()
    (tmp_path / "copy" / "checkpoints.db").unlink()
