"""Where the payloads of a store lie, if not in its own directory.

Revision: 0005, after 0004. Frozen once released: imports only alembic and sqlalchemy.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
first_version = "0.1.0"  # of checkpointdb that reads and writes this schema


def upgrade() -> None:
    op.create_table(
        "place",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("claim", sa.Text(), nullable=False),
        sa.Column("payload_url", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_place"),
    )


def downgrade() -> None:
    op.drop_table("place")
