"""Filters and sort orders for lists of checkpoints: expressions in, Select out; pure.

A condition on metadata (`meta("accuracy") > 0.9`) or on keys (`has_key("graph")`) is an ordinary
SQLAlchemy expression that combines with any other.
"""

from checkpointdb.filters.conditions import Condition, has_key
from checkpointdb.filters.fields import Field, meta
from checkpointdb.filters.lists import planned_checkpoints, select_checkpoints
from checkpointdb.filters.planning import planned

__all__ = [
    "Condition",
    "Field",
    "has_key",
    "meta",
    "planned",
    "planned_checkpoints",
    "select_checkpoints",
]
