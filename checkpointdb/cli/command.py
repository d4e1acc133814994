"""A command: it returns what it found, which is printed as text or as one JSON document."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from checkpointdb.cli.amounts import Number
from checkpointdb.cli.documents import Shape, as_json
from checkpointdb.cli.exits import OK, Exit
from checkpointdb.cli.session import Session
from checkpointdb.cli.terminal import Table, safe, write


class Output(NamedTuple):
    """What a command found: a document for programs, text for people, notes on stderr."""

    document: Any
    text: str | Table | list[str | Table] = ""
    exit: Exit = OK
    notes: tuple[str, ...] = ()

    def show(self, *, is_json: bool) -> None:
        """Print the document or the text, and the notes."""
        if is_json:
            click.echo(as_json(self.document))
        else:
            for part in self.text if isinstance(self.text, list) else [self.text]:
                write(part)
        for note in self.notes:
            click.echo(f"checkpointdb: {safe(note)}", err=True)


class NobodyReadsError(Exception):
    """The other end of the pipe is closed. Internal."""


class Command(click.Command):
    """A command whose function returns an Output of a `shape` that the reference shows."""

    def __init__(self, *args: Any, shape: Shape = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.shape = shape
        self.params += shared_options()

    def invoke(self, ctx: click.Context) -> int:
        """Run the command, print what it returns, and return its exit code."""
        output: Output = super().invoke(ctx)
        try:
            output.show(is_json=ctx.obj.is_json)
        except BrokenPipeError as error:
            raise NobodyReadsError from error  # of the other, click makes an exit with 1
        return output.exit.code


class Commands(click.Group):
    """A group of such commands."""

    command_class = Command


def shared_options(*, first: bool = False) -> list[click.Option]:
    """Return the options that stand before a command or behind it; read from the environment once.

    Behind each command only --json is shown in its help: the others would hide its own.
    """

    def option(*names: str, envvar: str | None = None, **settings: Any) -> click.Option:
        settings.setdefault("hidden", not first)
        return click.Option(
            names,
            expose_value=False,
            callback=_remember,
            envvar=envvar if first else None,
            show_envvar=True,
            **settings,
        )

    path = click.Path(path_type=Path)
    return [
        option("--store", envvar="CHECKPOINTDB_STORE", type=path, metavar="DIR",
               help="The store's directory; ./checkpoints if none is named."),
        option("--payload-url", envvar="CHECKPOINTDB_PAYLOAD_URL", metavar="URL",
               help="Where a new store keeps its payloads, such as s3://bucket/prefix, if not in "
                    "its directory; the database of one that exists knows it."),
        option("--database-url", envvar="CHECKPOINTDB_DATABASE_URL", metavar="URL",
               help="The server that has the store's rows, such as postgresql://host/database; "
                    "without it they are in its directory."),
        option("--pipeline", "named_pipeline", envvar="CHECKPOINTDB_PIPELINE", metavar="NAME",
               help="The pipeline within the store; default if none is named."),
        option("--key-file", type=path, metavar="FILE",
               help="A file with the key of an encrypted store; else it is looked for as the "
                    "library does (CHECKPOINTDB_KEY, CHECKPOINTDB_KEY_FILE, "
                    "CHECKPOINTDB_KEY_COMMAND, encryption.key in the store)."),
        option("--busy-seconds", type=Number(0, 86_400), metavar="SECONDS",
               help="How long to wait for other writers; 60 if not said."),
        option("--json", "is_json", is_flag=True, default=None, hidden=False,
               help="Print one JSON document."),
    ]  # fmt: skip


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    session = ctx.find_root().ensure_object(Session)
    if value is not None:
        setattr(session, str(param.name), value)
