"""Commands about which checkpoints stay: pin, unpin, delete."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import click

from checkpointdb import CheckpointError
from checkpointdb.cli.command import Command, Output
from checkpointdb.cli.completion import complete_id
from checkpointdb.cli.exits import ERROR, OK, PARTIAL, Exit, exit_for
from checkpointdb.cli.session import Session
from checkpointdb.cli.terminal import Table, safe, write

_SHAPE: Final = {
    "done": ["text"],
    "failed": [{"checkpoint_id": "text", "code": "number", "name": "text", "message": "text"}],
}
_ids = click.argument(
    "checkpoint_ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_id
)


@click.command(cls=Command, shape=_SHAPE)
@_ids
@click.pass_obj
def pin(session: Session, checkpoint_ids: tuple[str, ...]) -> Output:
    """Exempt checkpoints from retention."""
    with session.open() as store:
        return _each(checkpoint_ids, store.pin, "pinned")


@click.command(cls=Command, shape=_SHAPE)
@_ids
@click.pass_obj
def unpin(session: Session, checkpoint_ids: tuple[str, ...]) -> Output:
    """Let retention have checkpoints again."""
    with session.open() as store:
        return _each(checkpoint_ids, store.unpin, "unpinned")


@click.command(cls=Command, shape=_SHAPE)
@_ids
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.pass_obj
def delete(session: Session, checkpoint_ids: tuple[str, ...], yes: bool) -> Output:
    """Forget checkpoints, pinned ones too; every other loads as before."""
    with session.open() as store:
        names = ", ".join(map(safe, checkpoint_ids))
        if not yes and not is_meant(f"Delete {names}?"):
            return Output({"done": [], "failed": []}, "nothing was deleted", ERROR)
        return _each(
            checkpoint_ids, lambda each: store.delete_checkpoint(each, missing_ok=False), "deleted"
        )


def is_meant(question: str, what: list[str | Table] | None = None) -> bool:
    """Ask on the terminal, below what it is about. Raises UsageError where there is none."""
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked whether this is meant: pass --yes")
    for part in what or []:
        write(part, err=True)
    return click.confirm(question, err=True)


def _each(ids: tuple[str, ...], act: Callable[[str], object], done_word: str) -> Output:
    """Do something with each; one that fails does not keep the others from it."""
    done: list[str] = []
    failed: list[dict[str, Any]] = []
    ends: list[Exit] = []
    for each in dict.fromkeys(ids):
        try:
            act(each)
            done.append(each)
        except CheckpointError as error:
            found = exit_for(error)
            ends.append(found)
            facts = {"code": found.code, "name": found.name, "message": str(error)}
            failed.append({"checkpoint_id": each, **facts})
    return Output(
        {"done": done, "failed": failed},
        [f"{done_word} {safe(each)}" for each in done],
        OK if not ends else PARTIAL if done else ends[0],
        tuple(each["message"] for each in failed),
    )


COMMANDS: Final[tuple[click.Command, ...]] = (pin, unpin, delete)
