"""The questions, by name. Each returns a Select, takes no connection, has a total order.

Hot ones are built once and take bound parameters, named in their docstrings; the others take
their arguments.
"""

from checkpointdb.queries.batches import BATCH, batches
from checkpointdb.queries.heads import (
    chunks_by_digest,
    damaged_payloads,
    head_values,
    members_of_values,
    place_of_save,
    values_by_digest,
)
from checkpointdb.queries.listings import (
    history,
    newest_place,
    overview,
    parent,
    pipeline_id,
    pipeline_names,
    place_by_checkpoint_id,
    place_by_row,
    statistics,
    stored_bytes,
)
from checkpointdb.queries.states import (
    chunks_of,
    covers,
    members_by_id,
    state_at,
    state_keys,
    values_at,
)

__all__ = [
    "BATCH",
    "batches",
    "chunks_by_digest",
    "chunks_of",
    "covers",
    "damaged_payloads",
    "head_values",
    "history",
    "members_by_id",
    "members_of_values",
    "newest_place",
    "overview",
    "parent",
    "pipeline_id",
    "pipeline_names",
    "place_by_checkpoint_id",
    "place_by_row",
    "place_of_save",
    "state_at",
    "state_keys",
    "statistics",
    "stored_bytes",
    "values_at",
    "values_by_digest",
]
