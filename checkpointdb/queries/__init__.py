"""The questions, by name. Each returns a Select, takes no connection, has a total order.

Hot ones are built once and take bound parameters, named in their docstrings; the others take
their arguments.
"""

from checkpointdb.queries.batches import BATCH, batches
from checkpointdb.queries.damage import (
    copies_of,
    described_by,
    keys_with,
    marked_payloads,
    pieces_in,
)
from checkpointdb.queries.heads import (
    chunks_by_digest,
    damaged_payloads,
    head_values,
    keyring_generation,
    members_of_values,
    place_of_save,
    values_by_digest,
)
from checkpointdb.queries.listed import items, listed
from checkpointdb.queries.listings import (
    ages,
    history,
    ids,
    lineage,
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
from checkpointdb.queries.needs import freed_payloads, payload_needs
from checkpointdb.queries.states import (
    chunks_of,
    covers,
    members_by_id,
    members_of_payload,
    state_at,
    state_keys,
    values_at,
)
from checkpointdb.queries.walks import (
    all_chains,
    checkpoints_of_chain,
    entries_of_chain,
    member_offsets,
    metadata_of_checkpoints,
    metadata_rows,
    payload_name,
    payload_names,
    payload_sequences,
    payloads_before,
)

__all__ = [
    "BATCH",
    "ages",
    "all_chains",
    "batches",
    "checkpoints_of_chain",
    "chunks_by_digest",
    "chunks_of",
    "copies_of",
    "covers",
    "damaged_payloads",
    "described_by",
    "entries_of_chain",
    "freed_payloads",
    "head_values",
    "history",
    "ids",
    "items",
    "keyring_generation",
    "keys_with",
    "lineage",
    "listed",
    "marked_payloads",
    "member_offsets",
    "members_by_id",
    "members_of_payload",
    "members_of_values",
    "metadata_of_checkpoints",
    "metadata_rows",
    "newest_place",
    "overview",
    "parent",
    "payload_name",
    "payload_names",
    "payload_needs",
    "payload_sequences",
    "payloads_before",
    "pieces_in",
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
