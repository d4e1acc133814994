"""Note the version of its code's states with which a checkpoint was saved, and show it in the view.

Revision: 0006, after 0005. Frozen once released: imports only alembic and sqlalchemy.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
first_version = "0.1.0"  # of checkpointdb that reads and writes this schema

# The new column comes last: who reads `SELECT *` finds all others where they were.
CHECKPOINT_OVERVIEW = """
CREATE VIEW checkpoint_overview AS
SELECT pipelines.name AS pipeline,
       checkpoints.checkpoint_id,
       checkpoints.created_at,
       CASE WHEN checkpoints.is_incremental THEN 'incremental' ELSE 'full' END AS kind,
       coalesce(
           (SELECT earlier.checkpoint_id
              FROM checkpoints AS earlier
             WHERE earlier.chain_id = checkpoints.chain_id
               AND earlier.depth < checkpoints.depth
             ORDER BY earlier.depth DESC
             LIMIT 1),
           origin.checkpoint_id
       ) AS parent_checkpoint_id,
       chains.uuid AS chain,
       checkpoints.depth,
       checkpoints.key_count,
       checkpoints.state_bytes,
       checkpoints.stored_bytes,
       checkpoints.pinned,
       payloads.name AS payload,
       checkpoints.custom_metadata AS metadata,
       checkpoints.state_version
  FROM checkpoints
  JOIN pipelines ON pipelines.id = checkpoints.pipeline_id
  JOIN chains ON chains.id = checkpoints.chain_id
  JOIN payloads ON payloads.id = checkpoints.payload_id
  LEFT JOIN checkpoints AS origin ON origin.id = chains.forked_from
"""


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("state_version", sa.Integer()))
    op.execute("DROP VIEW checkpoint_overview")
    op.execute(CHECKPOINT_OVERVIEW)
