"""One operation, stopped everywhere by kills and by power cuts."""

from __future__ import annotations

import numpy  # noqa: F401 - before the forks, each of which would import it
from further import EVERY
from kills import killed_everywhere
from power_cuts import cut_everywhere


def stopped_everywhere(
    name: str, *, most_kills: int | None, most_cuts: int | None
) -> tuple[int, int, str | None]:
    """Return how many kills and disks were tried, and what was wrong."""
    try:
        disks = 0 if most_cuts == 0 else cut_everywhere(EVERY[name], most_cuts)
        tried = 0 if most_kills == 0 else killed_everywhere(EVERY[name], most_kills)
    except AssertionError as error:
        return 0, 0, str(error)
    return tried, disks, None
