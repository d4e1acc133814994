"""Cut the power after each effect of an operation, and look at what a disk may have kept."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from effects import Names, Recorder
from kills import evenly
from lossy_disk import Change, Keeps, LossyDisk, Tree, write_tree
from operations import Operation
from trying import ACKNOWLEDGED, acknowledging, prepared, verdict

RANDOM_CUTS = 3


class Disk(NamedTuple):
    """What a cut left; `is_done`: at the moment when the operation was acknowledged."""

    where: str
    tree: Tree
    is_done: bool

    @property
    def is_before(self) -> bool:
        return ACKNOWLEDGED not in self.tree


def cut_everywhere(operation: Operation, sample: int | None) -> int:
    """Return how many disks were looked at; without a sample, every one that differs."""
    with prepared(operation) as place:
        count, disks = _disks(operation, place / "room")
        disks = _some(disks, sample)
        for number, disk in enumerate(disks):
            room = place / f"cut-{number}"
            write_tree(disk.tree, room)
            failed = verdict(operation, room)
            assert failed is None, f"{disk.where} of {count}: {failed}"
    return len(disks)


def _some(disks: list[Disk], sample: int | None) -> list[Disk]:
    """Return a sample of those before the acknowledgement, and all that a cut leaves just then."""
    if sample is None:
        return disks
    done = [each for each in disks if each.is_done]
    return evenly([each for each in disks if each.is_before], sample) + done


def _disks(operation: Operation, room: Path) -> tuple[int, list[Disk]]:
    """Every different disk that a cut leaves, each with the words for it."""
    recorder = Recorder(room)
    disk = LossyDisk(recorder)
    effects = list(recorder.record(acknowledging(operation, room)))
    found: dict[str, Disk] = {}
    acknowledged: Tree = {}
    for number, effect in enumerate(effects, 1):
        disk.do(effect)
        is_done = isinstance(effect, Names) and effect.changed[0][1] == ACKNOWLEDGED
        if is_done:  # somebody has heard it, whatever becomes of the file
            acknowledged = {ACKNOWLEDGED: b""}
        for how, keeps in _ways(number):
            tree = disk.after_a_cut(keeps)
            tree.pop(ACKNOWLEDGED, None)
            tree |= acknowledged
            where = f"cut after effect {number} ({how})"
            found.setdefault(_digest(tree), Disk(where, tree, is_done))
    return len(effects), list(found.values())


def _ways(number: int) -> Iterator[tuple[str, Keeps]]:
    """What of the unflushed is kept."""
    yield "nothing unflushed kept", lambda _: False
    yield "names kept", lambda what: isinstance(what, Change)
    yield "bytes kept", lambda what: not isinstance(what, Change)
    for seed in range(RANDOM_CUTS):
        chosen = random.Random(f"{number} {seed}")
        yield f"kept at random, {seed}", lambda _, chosen=chosen: chosen.random() < 0.5


def _digest(tree: Tree) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(tree.items()):
        digest.update(repr((name, None if content is None else len(content))).encode())
        digest.update(content or b"")
    return digest.hexdigest()
