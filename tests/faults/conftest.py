"""A small file system of its own, for faults that a directory cannot have."""

from __future__ import annotations

import subprocess
import sys

import pytest


class Disk:
    """A tmpfs of four megabytes, mounted while a test runs."""

    def __init__(self, path):
        self.path = path

    def remount(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path):
    """A full disk or a read-only one needs a file system of its own, and root to mount it."""
    if sys.platform != "linux":
        pytest.skip("a small file system can only be mounted on Linux")
    path = tmp_path / "disk"
    path.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)]
    mounted = subprocess.run(options, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)
