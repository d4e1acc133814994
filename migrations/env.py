"""Run the migrations on the connection that `checkpointdb.database` hands over."""

from alembic import context

from checkpointdb import schema
from checkpointdb.database import VERSION_TABLE


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Leave the tables of others who live in the same database alone."""
    return kind != "table" or name in schema.metadata.tables


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    version_table=VERSION_TABLE,
    include_name=is_ours,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
