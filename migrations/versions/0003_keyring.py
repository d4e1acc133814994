"""Create the table of the keyring: a copy of `keyring.json`, which is another of it.

Revision: 0003, after 0002. Frozen once released: imports only alembic and sqlalchemy.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
first_version = "0.1.0"  # of checkpointdb that reads and writes this schema


def upgrade() -> None:
    op.create_table(
        "keyring",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keyring")),
    )


def downgrade() -> None:
    op.drop_table("keyring")
