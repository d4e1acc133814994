"""An encrypted store of schema 0004, which knew no place but its directory for payloads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from make_encrypted_0004 import STATES

from checkpointdb import InvalidInputError, PipelineCheckpoint

VECTOR = Path(__file__).parent / "encrypted_0004"


@pytest.fixture
def vector(tmp_path):
    """A copy of the store, opened by the key that lies in it under another name."""
    shutil.copytree(VECTOR, tmp_path / "store")
    return tmp_path / "store"


def opened(vector, **options):
    return PipelineCheckpoint(vector, (VECTOR / "test.key").read_bytes(), True, **options)


def test_its_payloads_are_where_they_were(vector):
    with opened(vector) as store:
        assert store.payload_url is None
        assert {each: store.load(each) for each in STATES} == STATES
        store.save({**STATES["scored"], "n": 3}, "next")
        assert store.get_checkpoint_info("next").is_incremental
        assert store.check(read_data=True).is_ok


def test_they_are_copied_to_another_place_and_not_looked_for_there(vector, tmp_path):
    url = (tmp_path / "nas").as_uri()
    with pytest.raises(InvalidInputError, match="copy_into"):
        opened(vector, payload_url=url)
    with opened(vector) as store:
        store.copy_into(tmp_path / "there", payload_url=url)
    with opened(tmp_path / "there") as store:
        assert {each: store.load(each) for each in STATES} == STATES
        assert store.check(read_data=True).is_ok
