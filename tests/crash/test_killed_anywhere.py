"""kill -9 at random moments: every acknowledged save is there, and nothing is half there."""

from __future__ import annotations

import random
import signal
import time

import pytest
from breaking import KEEP_ALL, assert_sound, start, tags_of
from effort import some

from checkpointdb import PipelineCheckpoint

ROUNDS = some(4, long=6)


def killed_while_saving(directory, first, kind, chosen):
    """Let a child save from number `first` on, kill it, and return what it acknowledged."""
    with start("save_for_ever", directory, first, kind) as child:
        lines = [child.stdout.readline() for _ in range(chosen.randrange(1, 9))]
        time.sleep(chosen.uniform(0, 0.02))  # it waits for nothing: it chooses the moment
        child.kill()
        lines += child.stdout.readlines()
        errors = child.stderr.read()
    assert child.returncode == -signal.SIGKILL, errors
    return [line.strip() for line in lines]


@pytest.mark.parametrize("kind", ["small", "large"])
def test_every_acknowledged_save_survives_kills_at_random_moments(tmp_path, kind):
    chosen = random.Random(kind)
    acknowledged, number = set(), 0
    for _ in range(ROUNDS):
        acknowledged.update(killed_while_saving(tmp_path / "store", number, kind, chosen))
        with PipelineCheckpoint(tmp_path / "store", **KEEP_ALL) as handle:
            found = tags_of(handle)
        assert acknowledged <= found.keys()
        assert len(found) <= len(acknowledged) + 1, "more than the save under way came through"
        assert all(tag == f"tag {name[1:]}" for name, tag in found.items())
        acknowledged, number = set(found), len(found)
    assert_sound(tmp_path / "store")
