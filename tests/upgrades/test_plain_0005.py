"""A store of schema 0005, in the clear: its states have no version, and what is saved next has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from make_plain_0005 import STATES

from checkpointdb import PipelineCheckpoint, RetentionPolicy, StateVersionError

VECTOR = Path(__file__).parent / "plain_0005"


@pytest.fixture
def vector(tmp_path):
    """A copy of the store."""
    shutil.copytree(VECTOR, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def open_store(vector):
    handles = []

    def opened(**options):
        handles.append(
            PipelineCheckpoint(vector, retention_policy=RetentionPolicy.KEEP_ALL, **options)
        )
        return handles[-1]

    yield opened
    for handle in handles:
        handle.close()
    with PipelineCheckpoint(vector) as handle:
        assert handle.check(read_data=True).problems == ()


def test_its_states_are_loaded_as_they_are_and_have_no_version(open_store):
    store = open_store()
    assert {each: store.load(each) for each in STATES} == STATES
    listed = store.list_checkpoints(reverse=False)
    assert [(each.checkpoint_id, each.state_version) for each in listed] == [
        (name, None) for name in STATES
    ]
    assert [each.pinned for each in listed] == [False, True, False]
    assert [each.custom_metadata for each in listed] == [{"state_version": 7}] * 3


def test_code_with_versions_upgrades_them_from_0(open_store):
    store = open_store(state_version=1, state_upgrades={0: lambda state: {**state, "new": True}})
    assert store.load("summed") == {**STATES["summed"], "new": True}
    with pytest.raises(StateVersionError, match="no upgrade from 0"):
        open_store(state_version=1).load("summed")


def test_what_is_saved_next_is_a_delta_with_a_version(open_store):
    store = open_store(state_version=1)
    store.save({**STATES["merged"], "sum": 6}, "next")
    info = store.get_checkpoint_info("next")
    assert (info.is_incremental, info.base_checkpoint_id) == (True, "merged")
    assert info.state_version == 1


def test_the_payloads_of_both_bring_the_database_back(vector, open_store):
    open_store(state_version=1).save({**STATES["merged"], "sum": 6}, "next")
    (vector / "checkpoints.db").unlink()
    PipelineCheckpoint.rebuild(vector)
    found = {each.checkpoint_id: each.state_version for each in open_store().list_checkpoints()}
    assert found == {**dict.fromkeys(["forgotten", *STATES]), "next": 1}
