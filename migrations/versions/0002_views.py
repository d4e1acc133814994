"""Create the views for people with `sqlite3` in hand. Their names and columns are a promise.

Revision: 0002, after 0001. Frozen once released: imports only alembic and sqlalchemy.

In SQL, since neither Alembic nor SQLAlchemy Core has an operation for views; it is the SQL
that SQLite and PostgreSQL share.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
first_version = "0.1.0"  # of checkpointdb that reads and writes this schema

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
       checkpoints.custom_metadata AS metadata
  FROM checkpoints
  JOIN pipelines ON pipelines.id = checkpoints.pipeline_id
  JOIN chains ON chains.id = checkpoints.chain_id
  JOIN payloads ON payloads.id = checkpoints.payload_id
  LEFT JOIN checkpoints AS origin ON origin.id = chains.forked_from
"""

CHECKPOINT_KEYS = """
CREATE VIEW checkpoint_keys AS
SELECT pipelines.name AS pipeline,
       checkpoints.checkpoint_id,
       entries.key,
       entries.position,
       state_values.type_name AS type,
       state_values.raw_bytes,
       entries.from_depth = checkpoints.depth AS opened_here,
       state_values.digest
  FROM checkpoints
  JOIN pipelines ON pipelines.id = checkpoints.pipeline_id
  JOIN entries
    ON entries.chain_id = checkpoints.chain_id
   AND entries.from_depth <= checkpoints.depth
   AND (entries.to_depth IS NULL OR entries.to_depth > checkpoints.depth)
  JOIN state_values ON state_values.id = entries.value_id
"""

# An entry is a version of its key if the key was not the same before: at the nearest earlier
# checkpoint of the chain or, at a chain's beginning, where that goes on from.
KEY_HISTORY = """
CREATE VIEW key_history AS
SELECT pipeline,
       key,
       chain,
       checkpoint_id,
       created_at,
       CASE WHEN digest IS NULL THEN 'removed' ELSE 'set' END AS change,
       type,
       raw_bytes,
       digest,
       checkpoint_row
  FROM (SELECT pipelines.name AS pipeline,
               entries.key,
               chains.uuid AS chain,
               first.checkpoint_id,
               first.created_at,
               first.id AS checkpoint_row,
               state_values.type_name AS type,
               state_values.raw_bytes,
               state_values.digest,
               (SELECT old_value.digest
                  FROM checkpoints AS earlier
                  JOIN entries AS old
                    ON old.chain_id = earlier.chain_id
                   AND old.key = entries.key
                   AND old.from_depth <= earlier.depth
                   AND (old.to_depth IS NULL OR old.to_depth > earlier.depth)
                  LEFT JOIN state_values AS old_value ON old_value.id = old.value_id
                 WHERE earlier.id = coalesce(
                           (SELECT nearest.id
                              FROM checkpoints AS nearest
                             WHERE nearest.chain_id = first.chain_id
                               AND nearest.depth < first.depth
                             ORDER BY nearest.depth DESC
                             LIMIT 1),
                           chains.forked_from)) AS digest_before
          FROM pipelines
          JOIN chains ON chains.pipeline_id = pipelines.id
          JOIN entries ON entries.chain_id = chains.id
          JOIN checkpoints AS first
            ON first.chain_id = entries.chain_id
           AND first.depth = (SELECT min(covered.depth)
                                FROM checkpoints AS covered
                               WHERE covered.chain_id = entries.chain_id
                                 AND covered.depth >= entries.from_depth)
          LEFT JOIN state_values ON state_values.id = entries.value_id) AS versions
 WHERE digest <> digest_before
    OR (digest IS NULL) <> (digest_before IS NULL)
"""

PAYLOAD_USAGE = """
CREATE VIEW payload_usage AS
SELECT pipelines.name AS pipeline,
       payloads.name AS payload,
       payloads.stored_bytes,
       payloads.raw_bytes,
       coalesce((SELECT sum(chunks.raw_bytes)
                   FROM members
                   JOIN chunks ON chunks.member_id = members.id
                  WHERE members.payload_id = payloads.id), 0)
       + coalesce((SELECT sum(state_values.raw_bytes)
                     FROM members
                     JOIN state_values ON state_values.member_id = members.id
                    WHERE members.payload_id = payloads.id), 0) AS alive_raw_bytes,
       (SELECT count(*)
          FROM checkpoints
         WHERE checkpoints.payload_id = payloads.id) AS checkpoints,
       payloads.created_at,
       payloads.damaged_at
  FROM payloads
  JOIN pipelines ON pipelines.id = payloads.pipeline_id
"""


def upgrade() -> None:
    for view in (CHECKPOINT_OVERVIEW, CHECKPOINT_KEYS, KEY_HISTORY, PAYLOAD_USAGE):
        op.execute(view)
