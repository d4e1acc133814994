"""Note what was backed up where, and who holds payloads back meanwhile.

Revision: 0008, after 0007. Frozen once released: imports only alembic and sqlalchemy.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
first_version = "0.1.0"  # of checkpointdb that reads and writes this schema

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Compared and sorted by code point, as SQLite does by itself.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

CHECKPOINT_BACKUPS = """
CREATE VIEW checkpoint_backups AS
SELECT pipelines.name AS pipeline,
       checkpoints.checkpoint_id,
       remotes.url AS remote,
       backed_up.backed_up_at
  FROM checkpoints
  JOIN pipelines ON pipelines.id = checkpoints.pipeline_id
  LEFT JOIN backed_up ON backed_up.checkpoint_row = checkpoints.id
  LEFT JOIN remotes ON remotes.id = backed_up.remote_id
"""


def upgrade() -> None:
    op.create_table(
        "remotes",
        sa.Column("id", BIG, primary_key=True, autoincrement=True),
        sa.Column("url", TEXT, nullable=False),
        sa.Column("snapshot", TEXT),
        sa.Column("pending", TEXT),
        sa.Column("mark", TEXT),
        sa.Column("pushed_at", sa.DateTime(timezone=True)),
        sa.Column("failed_at", sa.DateTime(timezone=True)),
        sa.Column("failure", TEXT),
        sa.UniqueConstraint("url", name="uq_remotes_url"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "backups",
        sa.Column("remote_id", BIG, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("stored_bytes", BIG, nullable=False),
        sa.Column("copied_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("remote_id", "name", name="pk_backups"),
        sa.ForeignKeyConstraint(["remote_id"], ["remotes.id"], name="fk_backups_remote_id_remotes"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "backed_up",
        sa.Column("checkpoint_row", BIG, nullable=False),
        sa.Column("remote_id", BIG, nullable=False),
        sa.Column("backed_up_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_row", "remote_id", name="pk_backed_up"),
        sa.ForeignKeyConstraint(
            ["remote_id"], ["remotes.id"], name="fk_backed_up_remote_id_remotes"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_backed_up_remote_id", "backed_up", ["remote_id"])
    op.create_table(
        "leases",
        sa.Column("purpose", TEXT, nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("purpose", name="pk_leases"),
        sqlite_with_rowid=False,
    )
    op.execute(CHECKPOINT_BACKUPS)


def downgrade() -> None:
    op.execute("DROP VIEW checkpoint_backups")
    for name in ("leases", "backed_up", "backups", "remotes"):
        op.drop_table(name)
