"""Power loss: what an acknowledged save rests on was flushed before it, in the right order.

The system calls of a script are read in their order, and each is held against what a file
system may forget: bytes that were not flushed, names in a directory that was not flushed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from breaking import needs_strace, run_well, strace

pytestmark = needs_strace

CALLS = "mkdir,rename,unlink,fsync,fdatasync,write,writev,pwrite64"
LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += \d+", re.MULTILINE)
WRITES = {"write", "writev", "pwrite64"}


class Disk:
    """What would be lost if the power went now."""

    def __init__(self, store: Path) -> None:
        self.store, self.unflushed, self.acknowledged = store, set(), 0

    def do(self, call: str, arguments: str) -> None:
        names = [Path(each) for each in re.findall(r'"([^"]*)"', arguments)]
        opened = re.match(r"\d+<([^>]*)>", arguments)
        if call in WRITES:
            self.write(arguments, Path(opened[1]))
        elif call in ("fsync", "fdatasync"):
            self.unflushed.discard(Path(opened[1]))
        elif call == "mkdir":
            self.unflushed.add(names[0].parent)
        elif call == "rename":
            assert names[0] not in self.unflushed, f"{names[1]} is named before it is flushed"
            self.unflushed.add(names[1].parent)
        elif names[0].suffix == ".gz":
            assert self.log not in self.unflushed, f"{names[0]} is unlinked before the commit"

    @property
    def log(self) -> Path:
        return self.store / "checkpoints.db-wal"

    def write(self, arguments: str, path: Path) -> None:
        if arguments.startswith("1<"):
            self.acknowledge(arguments)
        elif path.is_relative_to(self.store):
            if path == self.log:
                assert self.lost(self.store / "payloads") == [], "rows before their payload"
            self.unflushed.add(path)

    def acknowledge(self, what: str) -> None:
        self.acknowledged += 1
        assert self.lost(self.store.parent) == [], f"{what} is acknowledged before it is safe"

    def lost(self, below: Path) -> list[Path]:
        """What matters of it: not the name that a rename took away, nor a copy of the log."""
        harmless = {
            self.store / name
            for name in ("payloads/incoming", "checkpoints.db", "checkpoints.db-shm")
        }
        return [
            path
            for path in sorted(self.unflushed - harmless)
            if path.is_relative_to(below) and path.suffix != ".tmp"
        ]


@pytest.mark.parametrize("below", [".", "a/b"], ids=["beside others", "in new directories"])
def test_whatever_a_save_rests_on_is_flushed_before_it_is_acknowledged(tmp_path, below):
    store, log = tmp_path / "new" / below / "store", tmp_path / "log"
    run_well(
        "save_and_forget", store, under=strace("-y", "-s0", "-s64", f"-etrace={CALLS}", log=log)
    )
    disk = Disk(store)
    for call, arguments in LINE.findall(log.read_text()):
        disk.do(call, arguments)
    assert disk.acknowledged > 5
