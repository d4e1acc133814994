"""SIGKILL just before system calls of a repair: the next one ends it, and nothing more is lost."""

from __future__ import annotations

import re
import shutil
from collections import Counter

import pytest
from breaking import inject, needs_strace, run, run_well, strace, tags_of
from victims import DAMAGED

from checkpointdb import PipelineCheckpoint

pytestmark = needs_strace

SAMPLES = {"pwrite64": (0.1, 0.4, 0.6), "fdatasync": (0.5,)}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A damaged store, and how many calls of each kind its repair makes."""
    folder = tmp_path_factory.mktemp("damaged")
    run_well("save_and_damage", folder / "store")
    shutil.copytree(folder / "store", folder / "counted")
    log = folder / "log"
    calls = strace(f"-etrace={','.join(SAMPLES)}", log=log)
    assert run_well("repair", folder / "counted", under=calls) == ["recovered b c"]
    return folder / "store", Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    ("syscall", "share"), [(call, share) for call, shares in SAMPLES.items() for share in shares]
)
def test_a_repair_that_was_killed_is_ended_by_the_next(tmp_path, damaged, syscall, share):
    store, calls = damaged
    shutil.copytree(store, tmp_path / "store")
    when = 1 + int(share * calls[syscall])
    assert run("repair", tmp_path / "store", under=inject(syscall, "signal=SIGKILL", when)) == []
    with PipelineCheckpoint(tmp_path / "store") as handle:
        assert handle.repair().lost == ()
        assert tags_of(handle) == DAMAGED
        assert {each.kind for each in handle.check(read_data=True).problems} == {"missing"}
