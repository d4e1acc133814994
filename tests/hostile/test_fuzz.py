"""Payloads and manifests, mutated: the exact bytes, or an error of ours that names the file.

Whatever found something is kept in `corpus/` and replayed; `make fuzz` looks further.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from attacked import IDS, OPTIONS, assert_ours, copy_store, load_right
from effort import LONG
from forging import forged_manifests, mutated, put_together, read_payload, taken_apart
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpointdb import CheckpointError, CorruptionError, PipelineCheckpoint
from checkpointdb.manifest import decode_manifest, encode_manifest

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.ckpt.gz"))
# Fixtures of a function are those of all of its examples: each begins with a fresh copy.
again = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
rarely = again if LONG else settings(again, max_examples=20)  # those that take a store each


@pytest.fixture(scope="module")
def payloads(pattern):
    """Every payload of a sound store, by its name below the root."""
    root = pattern / "payloads"
    return {path.relative_to(root).as_posix(): path for path in sorted(root.glob("p-*/*"))}


def payload_in(directory, payloads, data):
    """Choose a payload, and return where its copy is and what it was."""
    name = data.draw(st.sampled_from(sorted(payloads)))
    return directory / "payloads" / name, payloads[name].read_bytes()


@again
@given(data=st.data())
def test_a_mutated_payload_gives_its_bytes_or_is_refused(payloads, tmp_path, data):
    path = tmp_path / "mutated.ckpt.gz"
    source = data.draw(st.sampled_from(sorted(payloads.values())))
    path.write_bytes(data.draw(mutated(source.read_bytes())))
    with suppress(CorruptionError):
        assert read_payload(path) == read_payload(source)


@rarely
@given(data=st.data())
def test_a_store_with_a_mutated_payload_gives_right_states_or_names_the_file(
    pattern, payloads, tmp_path, data
):
    directory = copy_store(pattern, tmp_path / "store")
    path, raw = payload_in(directory, payloads, data)
    path.write_bytes(data.draw(mutated(raw)))
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        for each in IDS:
            assert_ours(lambda each=each: load_right(handle, each))
        if path.read_bytes() != raw:
            assert path.name in str(handle.check(read_data=True).problems)
    assert_rebuilt(directory)


@again
@given(data=st.data())
def test_a_forged_manifest_is_believed_whole_or_not_at_all(payloads, data):
    source = data.draw(st.sampled_from(sorted(payloads.values())))
    _, document = taken_apart(source.read_bytes())
    raw = data.draw(forged_manifests(document))
    try:
        found = decode_manifest(raw)
    except CorruptionError:
        return
    assert json.loads(raw)["members"] == [
        [*each[:3], each.sha256.hex(), [list_of(chunk) for chunk in each.chunks]]
        for each in found.members
    ]
    assert decode_manifest(encode_manifest(found)) == found


def list_of(chunk):
    return chunk.raw_bytes if chunk.digest is None else [chunk.raw_bytes, chunk.digest.hex()]


@rarely
@given(data=st.data())
def test_a_rebuild_beside_a_forged_manifest_gives_right_states_or_names_the_file(
    pattern, payloads, tmp_path, data
):
    directory = copy_store(pattern, tmp_path / "store")
    path, raw = payload_in(directory, payloads, data)
    members, document = taken_apart(raw)
    path.write_bytes(put_together(members, data.draw(forged_manifests(document))))
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        assert_ours(lambda: handle.check(read_data=True))
    assert_rebuilt(directory)


def assert_rebuilt(directory):
    """Make the database anew: what comes back can be read, or names the file at fault."""
    for path in directory.glob("checkpoints.db*"):
        path.unlink()
    try:
        PipelineCheckpoint.rebuild(directory)
    except CorruptionError as error:
        told = str(error)
    else:
        told = ""
    if told:
        assert ".ckpt.gz" in told
        return
    with suppress(CheckpointError), PipelineCheckpoint(directory, **OPTIONS) as handle:
        assert_ours(lambda: handle.check(read_data=True))
        for each in handle.list_checkpoints():
            assert_ours(lambda each=each: handle.load(each.checkpoint_id))


# --- what found something


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name.split(".")[0])
def test_what_found_something_once_costs_a_rebuild_that_file_alone(copy, path):
    directory = copy()
    target = directory / "payloads" / "p-default" / f"0000000090-{path.name}"
    shutil.copy(path, target)
    for database in directory.glob("checkpoints.db*"):
        database.unlink()
    report = PipelineCheckpoint.rebuild(directory)
    assert [Path(name).name for name, _ in report.unreadable] == [target.name]
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        for each in IDS:
            load_right(handle, each)


def test_the_corpus_is_there():
    assert len(CORPUS) >= 10
