"""States that are backed up, and what is found of them where they were pushed or pulled to."""

from __future__ import annotations

from breaking import KEEP_ALL

from checkpointdb import PipelineCheckpoint


def state_of(number):
    return {"n": number, "text": f"text {number} " * 500, "shared": list(range(2_000))}


def states_of(directory, key=None, pipeline="default"):
    """Every state of a pipeline in a store, which must pass `check`."""
    with PipelineCheckpoint(directory, key, key is not None, pipeline=pipeline, **KEEP_ALL) as it:
        assert it.check(read_data=True).problems == ()
        listed = it.list_checkpoints(reverse=False)
        return {each.checkpoint_id: it.load(each.checkpoint_id) for each in listed}


def ids_in(directory):
    """Every id in a store, in the order of saving; it must pass `check`."""
    return list(states_of(directory))


def payloads_at(nas):
    return sorted((nas / "payloads").glob("*/*.ckpt.gz"))


def once(act):
    """A progress callback that acts when it is first called."""
    acts = [act]

    def moved(done, total):
        if acts:
            acts.pop()()

    return moved
