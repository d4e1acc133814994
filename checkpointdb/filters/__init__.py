"""Filters and sort orders for lists of checkpoints: expressions in, Select out; pure.

A condition on metadata (`meta("accuracy") > 0.9`) or on keys (`has_key("graph")`) is an ordinary
SQLAlchemy expression that combines with any other.
"""

from checkpointdb.filters.conditions import Condition, has_key, is_backed_up
from checkpointdb.filters.expressions import (
    fields_in,
    parse_fields,
    parse_sort,
    parse_where,
)
from checkpointdb.filters.fields import Field, meta
from checkpointdb.filters.lists import select_checkpoints

__all__ = [
    "Condition",
    "Field",
    "fields_in",
    "has_key",
    "is_backed_up",
    "meta",
    "parse_fields",
    "parse_sort",
    "parse_where",
    "select_checkpoints",
]
