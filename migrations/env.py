"""Run the migrations on the connection that `checkpointdb.database` hands over, or write them.

Without a connection (Alembic's offline mode) the statements of `dialect` are written instead.
"""

from alembic import context

from checkpointdb import schema
from checkpointdb.database import VERSION_TABLE


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Leave the tables of others who live in the same database alone."""
    return kind != "table" or name in schema.metadata.tables


if context.is_offline_mode():
    context.configure(
        dialect_name=context.config.attributes["dialect"],
        version_table=VERSION_TABLE,
        transactional_ddl=True,  # of SQLite Alembic does not believe it
    )
else:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=schema.metadata,
        version_table=VERSION_TABLE,
        include_name=is_ours,
        compare_type=True,
    )
with context.begin_transaction():
    context.run_migrations()
