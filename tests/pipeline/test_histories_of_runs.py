"""Whatever failed and changed meanwhile: a run that ends has done each stage once, as it is now."""

from __future__ import annotations

import random

import pytest
from effort import some

from checkpointdb import KeepAll, KeepNewest, NotFoundError
from checkpointdb.pipeline import Pipeline

LOOPS = {"b": 2, "d": 2}  # stages that loop, and how often


class Failed(Exception):
    """What a stage raises."""


class Interrupted(BaseException):
    """What Ctrl-C raises."""


class History:
    """A run that is begun, broken, changed and resumed, by chance."""

    def __init__(self, handle, seed):
        self.handle = handle
        self.random = random.Random(seed)
        self.stages = dict.fromkeys("abcd", 1)  # with their versions, in their order

    def change(self):
        """Change, remove or insert a stage, or leave all as they are."""
        name = self.random.choice(list(self.stages))
        kind = self.random.choice(["version", "removed", "inserted", None, None, None])
        if kind == "version":
            self.stages[name] += 1
        elif kind == "removed" and len(self.stages) > 2:
            del self.stages[name]
        elif kind == "inserted":
            found = list(self.stages.items())
            new = self.random.choice([each for each in "abcdefg" if each not in self.stages])
            found.insert(self.random.randrange(len(found) + 1), (new, 1))
            self.stages = dict(found)

    def run(self):
        """Run or resume; return the state, None if that failed."""
        broken = self.random.choice(list(self.stages))
        fails_at = self.random.choice([None, None, (broken, None), (broken, 0), (broken, 1)])
        pipeline = Pipeline("plan", self.handle, background=self.random.random() < 0.4)
        for name, version in self.stages.items():
            pipeline.stage(name=name, version=str(version))(
                self.worker(pipeline, (name, version), fails_at)
            )
        where = self.random.choice(["latest", "latest", None, next(iter(self.stages))])
        try:
            return pipeline.run({"done": []}, "R", where, on_change="redo")
        except (Failed, Interrupted, NotFoundError):
            return None

    def worker(self, pipeline, what, fails_at):
        error = self.random.choice([Failed, Interrupted])

        def work(state):
            if pipeline.next_step("loop") == 0:
                state["done"] = [*state["done"], what]
            for number in pipeline.steps("loop", range(LOOPS.get(what[0], 0))):
                if fails_at == (what[0], number):
                    raise error
                state["done"] = [*state["done"], (*what, number)]
            if fails_at == (what[0], None):
                raise error

        return work

    def expected(self):
        done = []
        for name, version in self.stages.items():
            done += [(name, version)]
            done += [(name, version, number) for number in range(LOOPS.get(name, 0))]
        return {"done": done}


@pytest.mark.parametrize("seed", range(some(6, long=60)))
@pytest.mark.parametrize("policy", [KeepAll(), KeepNewest(2), KeepNewest(1)], ids=repr)
def test_a_run_that_ends_has_done_each_stage_as_it_is_now_once(store, policy, seed):
    history = History(store(retention_policy=policy), seed)
    for _ in range(8):
        history.change()
        state = history.run()
        assert state in (None, history.expected())
    assert history.handle.runs("plan")[0].status in ("completed", "failed", "interrupted")
