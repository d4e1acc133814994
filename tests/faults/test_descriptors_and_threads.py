"""No descriptors left, no threads to be had: our errors, nothing lost, and it works again later."""

from __future__ import annotations

import threading

import pytest
from breaking import assert_sound, run_well, tags_of

from checkpointdb import PipelineCheckpoint


def test_without_descriptors_errors_are_ours_and_nothing_is_lost(tmp_path):
    pytest.importorskip("resource")
    lines = run_well("starve_of_descriptors", tmp_path / "store")
    failed = [line for line in lines if line.startswith("failed")]
    assert failed
    assert all("too many files" in line for line in failed), failed
    assert all(line.split()[2] == "StoreUnavailableError" for line in failed), failed
    assert lines[-1] == "saved after"
    with PipelineCheckpoint(tmp_path / "store") as handle:
        found = tags_of(handle)
    assert {line.split()[1] for line in lines if line.startswith("saved")} == found.keys()
    assert_sound(tmp_path / "store", allowed=set())


@pytest.mark.parametrize("to_be_had", [0, 1])
def test_a_save_without_threads_is_slower_and_as_whole(tmp_path, monkeypatch, to_be_had):
    numpy = pytest.importorskip("numpy")
    state = {"noise": numpy.random.default_rng(1).random(1_500_000), "text": "some text " * 800_000}
    started, start = [], threading.Thread.start

    def refuse(thread):
        if len(started) >= to_be_had and thread.name.startswith("checkpointdb"):
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    with PipelineCheckpoint(tmp_path) as handle:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        for number in range(3):
            handle.save({**state, "number": number}, f"s{number}", force_full=True)
        monkeypatch.undo()
        loaded = handle.load("s2")
        assert (loaded["noise"] == state["noise"]).all()
        assert loaded["text"] == state["text"]
        assert handle.check(read_data=True).problems == ()
