"""What of docs/ is made by code: `python -m docs.generate` writes it, and a test compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from . import benchmark_picture, interval_pictures, schema_diagram, schema_page

MADE: Final[dict[str, Callable[[], str]]] = {
    "pictures/benchmarks.svg": benchmark_picture.picture,
    "pictures/forgetting.svg": interval_pictures.forgetting,
    "pictures/fork.svg": interval_pictures.fork,
    "pictures/intervals.svg": interval_pictures.intervals,
    "pictures/schema.svg": schema_diagram.diagram,
    "reference/schema.md": schema_page.page,
}
