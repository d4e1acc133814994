"""The migrations, as Alembic is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection


def is_known(revision: str) -> bool:
    """Say whether a schema is that of this version or an older one."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(migrations())
    return revision in {each.revision for each in scripts.walk_revisions()}


def migrations(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for our migrations, on a connection if given."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "checkpointdb.migrations:.")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
