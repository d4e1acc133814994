"""Note when the bytes of each payload were last read and verified.

Revision: 0004, after 0003. Frozen once released: imports only alembic and sqlalchemy.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
first_version = "0.1.0"  # of checkpointdb that reads and writes this schema


def upgrade() -> None:
    op.add_column("payloads", sa.Column("checked_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("payloads", "checked_at")
