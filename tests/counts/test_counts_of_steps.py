"""How many functions of Python a save and a load call for each of many small keys."""

from __future__ import annotations

import pytest
from counting import functions_called

from checkpointdb import PipelineCheckpoint, RetentionPolicy

KEYS = 2_000
STATE = {f"key {number}": {"number": number, "label": "x"} for number in range(KEYS)}


@pytest.fixture
def handle(tmp_path):
    keep_all = {"retention_policy": RetentionPolicy.KEEP_ALL, "durable": False}
    with PipelineCheckpoint(tmp_path, **keep_all) as handle:
        handle.save(STATE, "first")
        handle.save({**STATE, "key 7": 7}, "second")
        handle.load("second")
        yield handle


# Where it says less than one, all keys are gone through by functions of C, or by loops.
PATHS = {
    "a save of which one key changed": (lambda handle: handle.save(STATE, "next"), 0.5),
    "a save of new keys": (lambda handle: handle.save({"new " + k: STATE[k] for k in STATE}), 40),
    "a load": (lambda handle: handle.load("second"), 2),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_calls_no_more_functions_for_each_key_than_it_did(handle, path):
    act, most = PATHS[path]
    found = functions_called(lambda: act(handle)) / KEYS
    assert found <= most, f"{path} calls {found:.1f} functions for each key, where {most} did"
