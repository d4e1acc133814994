"""Forgetting leaves every other checkpoint as it was, wherever in its chain the gap is."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from checkpointdb import PipelineCheckpoint, RetentionPolicy
from checkpointdb.chunking import cut_buffer

SAVES = 7


def state_at(step):
    """Keys that change at each step, at each second and third, once, that come and that go."""
    state = {f"each {every}": step // every for every in (1, 2, 3)}
    state |= {"once": step >= 4, "text": "the same " * 500}
    if step % 3:
        state["comes and goes"] = step // 3
    return state


@pytest.mark.parametrize("count", [1, 2, 3])
def test_whatever_is_forgotten_all_others_load_as_they_were_saved(store, count):
    for gone in combinations(range(SAVES), count):
        name = "-".join(map(str, gone))
        archive = store(name, retention_policy=RetentionPolicy.KEEP_ALL)
        for step in range(SAVES):
            archive.save(state_at(step), str(step))
        for step in gone:
            archive.delete_checkpoint(str(step))
        for step in sorted(set(range(SAVES)) - set(gone)):
            assert archive.load(str(step)) == state_at(step), (gone, step)
        archive.save(state_at(SAVES), str(SAVES))
        assert archive.load(str(SAVES)) == state_at(SAVES)
        archive.close()


def test_when_all_are_forgotten_no_row_and_no_file_is_left(archive):
    for step in range(SAVES):
        archive.save(state_at(step), str(step))
    for step in (3, 0, 6, 2, 5, 1, 4):
        archive.delete_checkpoint(str(step))
    assert not list(archive.checkpoint_dir.rglob("*.ckpt.gz"))
    with archive.query() as connection:
        for table in ("checkpoints", "entries", "state_values", "chunks", "members", "payloads"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0


def test_a_payload_stays_for_the_chunks_that_a_later_value_has_from_it(archive):
    lines = [f"line {number} of a long text\n" for number in range(20_000)]
    archive.save({"text": "".join(lines)}, "one")
    edited = "".join([*lines[:9_000], "a line more\n", *lines[9_000:]])
    archive.save({"text": edited}, "two")
    file = Path(archive.get_checkpoint_info("one").file_path)
    archive.delete_checkpoint("one")
    assert file.exists()
    assert archive.load("two") == {"text": edited}
    archive.delete_checkpoint("two")
    assert not file.exists()


def test_a_payload_stays_for_a_value_that_is_defined_in_it_and_nothing_else(archive, alter):
    array = np.random.default_rng(1).integers(0, 2**60, 400_000)
    block = cut_buffer(array.nbytes)[0] // array.itemsize
    swapped = np.concatenate([array[block : 2 * block], array[:block], array[2 * block :]])
    long = "what is pickled beside it, too long to be stored again " * 50
    archive.save({"a": [array, long]}, "one")
    archive.save({"a": [swapped, long]}, "two")  # every block of it is known
    archive.save({"b": [swapped, long]}, "three")  # opened here, defined in two, stored in one
    in_two = "payload_id = (SELECT id FROM payloads WHERE name LIKE '%-two%')"
    assert alter(archive, f"SELECT 1 FROM members WHERE {in_two}") == []
    file = Path(archive.get_checkpoint_info("two").file_path)
    archive.delete_checkpoint("one")
    archive.delete_checkpoint("two")
    assert file.exists()
    assert np.array_equal(archive.load("three")["b"][0], swapped)
    (archive.checkpoint_dir / "checkpoints.db").rename(archive.checkpoint_dir / "lost.db")
    archive.close()
    PipelineCheckpoint.rebuild(archive.checkpoint_dir)
    with PipelineCheckpoint(archive.checkpoint_dir) as rebuilt:
        assert np.array_equal(rebuilt.load("three")["b"][0], swapped)
