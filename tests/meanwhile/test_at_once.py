"""Two calls of which one is made in the middle of the other are as one after the other."""

from __future__ import annotations

import pytest
from at_once import ACTS, four_saved, wrong_orders
from effort import LONG, some

PAIRS = [
    ("replace d", "delete d"),
    ("delete b", "save"),
    ("prune", "replace b"),
    ("merge d", "delete b"),
    ("compact", "prune"),
    ("load d", "replace b"),
    ("load the latest", "delete d"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    found = tmp_path_factory.mktemp("at once")
    (found / "room").mkdir()
    four_saved(found / "room")
    return found


@pytest.mark.parametrize(
    ("it", "other"),
    [(it, other) for it in ACTS for other in ACTS] if LONG else PAIRS,
)
def test_two_calls_at_once_are_as_one_after_the_other(place, it, other):
    count, wrong = wrong_orders(place, it, other, some(4, long=6))
    assert count > 0
    assert not wrong, "\n".join(wrong)
