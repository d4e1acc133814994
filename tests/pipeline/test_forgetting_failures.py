"""What failed is forgotten when somebody says so, and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from checkpointdb import InvalidInputError
from checkpointdb.pipeline import Pipeline

LATER = datetime.now(UTC) + timedelta(days=1)


def prepare(_state):
    """Leave a checkpoint."""


def finish(state):
    state["done"] = True


def fail(_state):
    raise LookupError("the password is 1234")


@pytest.fixture
def failed(archive):
    """Runs of two workflows that failed."""
    for workflow, run in (("plan", "A"), ("plan", "B"), ("other", "A")):
        with pytest.raises(LookupError):
            Pipeline(workflow, archive, [prepare, fail]).run({}, f"{workflow} {run}")
    return archive


def left(handle):
    return [each.run_id for each in reversed(handle.failures())]


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ([], {}, []),
        (["plan"], {}, ["other A"]),
        (["plan", "plan A"], {}, ["plan B", "other A"]),
        ([], {"run_id": "nobody"}, ["plan A", "plan B", "other A"]),
        (["other"], {"before": LATER}, ["plan A", "plan B"]),
        ([], {"before": LATER - timedelta(days=2)}, ["plan A", "plan B", "other A"]),
    ],
)
def test_what_failed_is_forgotten_as_far_as_one_says(failed, arguments, options, expected):
    before = left(failed)
    assert failed.forget_failures(*arguments, **options) == len(before) - len(expected)
    assert left(failed) == expected


def test_a_run_whose_failure_was_forgotten_can_be_resumed_as_ever(failed):
    failed.forget_failures()
    pipeline = Pipeline("plan", failed, [prepare, finish])
    assert {each.status for each in pipeline.runs()} == {"unfinished"}
    assert pipeline.run({}, "plan A", "latest") == {"done": True}


def test_another_pipelines_failures_stay(failed, store):
    other = store(pipeline="another")
    assert other.forget_failures() == 0
    assert len(failed.failures()) == 3


def test_a_time_that_is_none_is_refused(failed):
    with pytest.raises(InvalidInputError, match="datetime"):
        failed.forget_failures(before="yesterday")
