"""What a stage returns beside a state, as JSON holds it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from checkpointdb.custom_metadata import as_scalar


def plain(value: Any) -> Any:
    """Return metrics with plain numbers in them; what is none is left for the save to refuse.

    A scalar of NumPy or PyTorch becomes the number that it is. What JSON has no number for (NaN, an
    infinity) becomes null: it depends on the data, and hours of work must not be lost by it.
    """
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    value = as_scalar(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
