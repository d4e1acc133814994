"""Failures that somebody records by hand: kept as they are, or refused at the door."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from checkpointdb import InvalidInputError
from checkpointdb.runs import Failure

pytestmark = pytest.mark.databases

NAN, INF = float("nan"), float("inf")
EAST = timezone(timedelta(hours=5))
GOOD = Failure(
    workflow="plan",
    run_id="R",
    stage=1,
    name="read",
    version=None,
    outcome="failed",
    error_type="LookupError",
    message="not there",
    location=None,
    traceback_digest="0123",
    checkpoint_id=None,
    seconds=1.5,
    failed_at=datetime(2026, 7, 1, 12, tzinfo=UTC),
)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"stage": 2**31 - 1, "seconds": 3, "message": None},
        {"version": "2", "location": "a.py:1 in f", "checkpoint_id": "R_stage_1"},
        {"failed_at": datetime(2026, 7, 1, 12, tzinfo=EAST)},
        {"failed_at": datetime.min.replace(tzinfo=UTC)},
    ],
)
def test_a_failure_comes_back_as_it_was_recorded(archive, given):
    archive.record_failure(replace(GOOD, **given))
    assert archive.failures() == [replace(GOOD, **given)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *(({"seconds": each}, "finite") for each in (NAN, -INF, "1", None, 10**5000)),
        *(({"stage": each}, "stage") for each in (2**31, 2**70, "x", 1.5, None, -1, True)),
        *(({name: None}, name) for name in ("workflow", "run_id", "name", "outcome")),
        *(({name: None}, name) for name in ("error_type", "traceback_digest", "failed_at")),
        *(({name: 5}, name) for name in ("workflow", "version", "message", "checkpoint_id")),
        ({"name": "\0"}, "NUL"),
        ({"failed_at": "2026-07-01"}, "datetime"),
        ({"failed_at": datetime.min.replace(tzinfo=EAST)}, "years"),
    ],
)
def test_what_no_row_can_hold_is_refused(archive, given, said):
    with pytest.raises(InvalidInputError, match=said):
        archive.record_failure(replace(GOOD, **given))
    assert archive.failures() == []


def test_what_is_no_failure_and_a_time_that_is_none_are_refused(archive):
    with pytest.raises(InvalidInputError, match="a Failure is expected, not str"):
        archive.record_failure("it failed")
    with pytest.raises(InvalidInputError, match="before is not in the years"):
        archive.forget_failures(before=datetime.max.replace(tzinfo=timezone(-timedelta(hours=5))))
