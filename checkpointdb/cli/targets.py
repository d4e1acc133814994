"""Options about another store than the one that a command is given."""

from __future__ import annotations

import click

target_url_option = click.option(
    "--target-payload-url",
    metavar="URL",
    help="Where a TARGET that is made keeps its payloads, such as s3://bucket/prefix.",
)
