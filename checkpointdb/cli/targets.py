"""Options about another store than the one that a command is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_payload_url = click.option(
    "--target-payload-url",
    metavar="URL",
    help="Where a TARGET that is made keeps its payloads, such as s3://bucket/prefix.",
)
_database_url = click.option(
    "--target-database-url",
    metavar="URL",
    help="The server that has the TARGET's rows, such as postgresql://host/database.",
)


def target_url_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command be told where the parts of another store are."""
    return _payload_url(_database_url(command))
