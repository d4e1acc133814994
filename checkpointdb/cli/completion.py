"""Ids and keys offered by the shell, read from the store that the words before them name."""

from __future__ import annotations

from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from checkpointdb import CheckpointError, checkpoints
from checkpointdb.cli.session import Session

_MOST = 100


def complete_id(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the newest ids that begin so; none if the store cannot be opened just now."""
    session = ctx.find_root().ensure_object(Session)
    session.busy_seconds = 0.2
    begins = checkpoints.c.checkpoint_id.startswith(incomplete, autoescape=True)
    with suppress(CheckpointError), session.open() as store:
        found = [each.checkpoint_id for each in store.list_checkpoints(where=begins, limit=_MOST)]
        return [CompletionItem(each) for each in found if each.isprintable()]
    return []
