"""${message}

Revision: ${up_revision}, after ${down_revision}. Frozen once released: imports only alembic
and sqlalchemy.
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None
first_version = ""  # of checkpointdb that reads and writes this schema


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
