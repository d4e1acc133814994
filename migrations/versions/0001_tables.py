"""Create the tables.

Revision: 0001. Frozen once released: imports only alembic and sqlalchemy.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
first_version = "0.1.0"  # of checkpointdb that reads and writes this schema

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Compared and sorted by code point, as SQLite does by itself.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "pipelines",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("next_sequence", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipelines")),
        sa.UniqueConstraint("name", name=op.f("uq_pipelines_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "removals",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removals")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "chains",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("uuid", TEXT, nullable=False),
        sa.Column("pipeline_id", BIG, nullable=False),
        sa.Column("next_depth", BIG, nullable=False),
        sa.Column("forked_from", BIG, nullable=True),
        sa.ForeignKeyConstraint(
            ["forked_from"],
            ["checkpoints.id"],
            name=op.f("fk_chains_forked_from_checkpoints"),
            use_alter=True,
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_chains_pipeline_id_pipelines")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chains")),
        sa.UniqueConstraint("uuid", name=op.f("uq_chains_uuid")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_chains_forked_from"), "chains", ["forked_from"], unique=False)
    op.create_index(op.f("ix_chains_pipeline_id"), "chains", ["pipeline_id"], unique=False)
    op.create_table(
        "payloads",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("pipeline_id", BIG, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("stored_bytes", BIG, nullable=False),
        sa.Column("raw_bytes", BIG, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("damaged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("key_epoch", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_payloads_pipeline_id_pipelines")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payloads")),
        sa.UniqueConstraint("name", name=op.f("uq_payloads_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_payloads_damaged",
        "payloads",
        ["pipeline_id"],
        unique=False,
        sqlite_where=sa.text("damaged_at IS NOT NULL"),
        postgresql_where=sa.text("damaged_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_payloads_pipeline_id"), "payloads", ["pipeline_id"], unique=False)
    op.create_table(
        "checkpoints",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("pipeline_id", BIG, nullable=False),
        sa.Column("checkpoint_id", TEXT, nullable=False),
        sa.Column("chain_id", BIG, nullable=False),
        sa.Column("depth", BIG, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("format_version", sa.Integer(), nullable=False),
        sa.Column("payload_id", BIG, nullable=False),
        sa.Column("is_incremental", sa.Boolean(), nullable=False),
        sa.Column("since_full", sa.Integer(), nullable=False),
        sa.Column("is_encrypted", sa.Boolean(), nullable=False),
        sa.Column("state_digest", sa.LargeBinary(), nullable=False),
        sa.Column("state_bytes", BIG, nullable=False),
        sa.Column("stored_bytes", BIG, nullable=False),
        sa.Column("key_count", sa.Integer(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("custom_metadata", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chain_id"], ["chains.id"], name=op.f("fk_checkpoints_chain_id_chains")
        ),
        sa.ForeignKeyConstraint(
            ["payload_id"], ["payloads.id"], name=op.f("fk_checkpoints_payload_id_payloads")
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_checkpoints_pipeline_id_pipelines")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint("chain_id", "depth", name=op.f("uq_checkpoints_chain_id_depth")),
        sa.UniqueConstraint(
            "pipeline_id", "checkpoint_id", name=op.f("uq_checkpoints_pipeline_id_checkpoint_id")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_checkpoints_payload_id"), "checkpoints", ["payload_id"], unique=False)
    op.create_index(
        op.f("ix_checkpoints_pipeline_id_created_at"),
        "checkpoints",
        ["pipeline_id", "created_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_checkpoints_pipeline_id_pinned_id"),
        "checkpoints",
        ["pipeline_id", "pinned", "id"],
        unique=False,
    )
    op.create_table(
        "members",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("payload_id", BIG, nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("stored_bytes", BIG, nullable=False),
        sa.Column("raw_bytes", BIG, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["payload_id"], ["payloads.id"], name=op.f("fk_members_payload_id_payloads")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_members_payload_id"), "members", ["payload_id"], unique=False)
    op.create_table(
        "checkpoint_metadata",
        sa.Column("checkpoint_id", BIG, autoincrement=False, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("number", sa.Float(), nullable=True),
        sa.Column("text", TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"],
            ["checkpoints.id"],
            name=op.f("fk_checkpoint_metadata_checkpoint_id_checkpoints"),
        ),
        sa.PrimaryKeyConstraint("checkpoint_id", "key", name=op.f("pk_checkpoint_metadata")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_checkpoint_metadata_key_number_checkpoint_id"),
        "checkpoint_metadata",
        ["key", "number", "checkpoint_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_checkpoint_metadata_key_text_checkpoint_id"),
        "checkpoint_metadata",
        ["key", "text", "checkpoint_id"],
        unique=False,
    )
    op.create_table(
        "chunks",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("pipeline_id", BIG, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("member_id", BIG, nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("raw_bytes", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_chunks_member_id_members")
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_chunks_pipeline_id_pipelines")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chunks")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_chunks_member_id"), "chunks", ["member_id"], unique=False)
    op.create_index(
        op.f("ix_chunks_pipeline_id_digest"), "chunks", ["pipeline_id", "digest"], unique=False
    )
    op.create_table(
        "state_values",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("pipeline_id", BIG, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("type_name", TEXT, nullable=False),
        sa.Column("serializer", TEXT, nullable=False),
        sa.Column("layout", TEXT, nullable=False),
        sa.Column("raw_bytes", BIG, nullable=False),
        sa.Column("payload_id", BIG, nullable=False),
        sa.Column("member_id", BIG, nullable=True),
        sa.Column("offset", BIG, nullable=True),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_state_values_member_id_members")
        ),
        sa.ForeignKeyConstraint(
            ["payload_id"], ["payloads.id"], name=op.f("fk_state_values_payload_id_payloads")
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_state_values_pipeline_id_pipelines")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_state_values")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_state_values_member_id"), "state_values", ["member_id"], unique=False)
    op.create_index(
        op.f("ix_state_values_payload_id"), "state_values", ["payload_id"], unique=False
    )
    op.create_index(
        op.f("ix_state_values_pipeline_id_digest"),
        "state_values",
        ["pipeline_id", "digest"],
        unique=False,
    )
    op.create_table(
        "entries",
        sa.Column("chain_id", BIG, autoincrement=False, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("from_depth", BIG, autoincrement=False, nullable=False),
        sa.Column("to_depth", BIG, nullable=True),
        sa.Column("value_id", BIG, nullable=True),
        sa.Column("position", BIG, nullable=False),
        sa.Column("payload_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["chain_id"], ["chains.id"], name=op.f("fk_entries_chain_id_chains")
        ),
        sa.ForeignKeyConstraint(
            ["payload_id"], ["payloads.id"], name=op.f("fk_entries_payload_id_payloads")
        ),
        sa.ForeignKeyConstraint(
            ["value_id"], ["state_values.id"], name=op.f("fk_entries_value_id_state_values")
        ),
        sa.PrimaryKeyConstraint("chain_id", "key", "from_depth", name=op.f("pk_entries")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_entries_chain_id_to_depth"), "entries", ["chain_id", "to_depth"], unique=False
    )
    op.create_index(op.f("ix_entries_payload_id"), "entries", ["payload_id"], unique=False)
    op.create_index(op.f("ix_entries_value_id"), "entries", ["value_id"], unique=False)
    op.create_table(
        "value_chunks",
        sa.Column("value_id", BIG, autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("chunk_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["chunk_id"], ["chunks.id"], name=op.f("fk_value_chunks_chunk_id_chunks")
        ),
        sa.ForeignKeyConstraint(
            ["value_id"], ["state_values.id"], name=op.f("fk_value_chunks_value_id_state_values")
        ),
        sa.PrimaryKeyConstraint("value_id", "seq", name=op.f("pk_value_chunks")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_value_chunks_chunk_id"), "value_chunks", ["chunk_id"], unique=False)
    # The tables refer to each other in a circle; SQLite takes the constraint as it creates.
    if op.get_context().dialect.name != "sqlite":
        op.create_foreign_key(
            op.f("fk_chains_forked_from_checkpoints"),
            "chains",
            "checkpoints",
            ["forked_from"],
            ["id"],
        )
