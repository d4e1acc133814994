"""How much each run of the tests tries: a sample by default, all of it by `make test-long`."""

from __future__ import annotations

import os

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
SECONDS = 3_600 if NIGHTLY else 300  # that one test may take
LONG = NIGHTLY or bool(os.environ.get("CHECKPOINTDB_LONG_TESTS"))


def some(sample, *, long):
    """Return how many examples, rounds or cases to try: `long` of them if there is time."""
    return long if LONG else sample
