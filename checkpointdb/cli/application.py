"""The application: its commands, and how each run ends."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from checkpointdb.cli import (
    asking,
    backup,
    database,
    demo,
    keeping,
    keys,
    retention,
    transfer,
    upkeep,
    values,
)
from checkpointdb.cli.command import Commands, NobodyReadsError, shared_options
from checkpointdb.cli.documents import as_json
from checkpointdb.cli.exits import (
    BROKEN_PIPE,
    ERROR,
    INTERRUPTED,
    TERMINATED,
    Exit,
    exit_for,
)
from checkpointdb.cli.terminal import safe
from checkpointdb.errors import CheckpointError

_PREFIX: Final = "checkpointdb: "


class Application(Commands):
    """The root of all commands: every error becomes a message and an exit code."""

    def main(self, args: Any = None, *others: Any, **options: Any) -> NoReturn:
        """Run a command line and exit."""
        _open_closed()
        if args is None:
            _buffer()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # what the encoding lacks is escaped, not fatal
                stream.reconfigure(errors="backslashreplace")
        if args is None:  # a process of its own: it shall clean up before it goes
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED.code))
        words = sys.argv[1:] if args is None else list(args)
        code = 0
        try:
            code = self._run(words, *others, **options)
            sys.stdout.flush()
        except (NobodyReadsError, BrokenPipeError):
            _drop_rest()
            code = BROKEN_PIPE.code
        except OSError as error:  # of the flush: what went before may have told of it
            _drop_rest()
            code = code or _fail(exit_for(error), type(error).__name__, str(error), is_json=False)
        except KeyboardInterrupt:
            code = INTERRUPTED.code
        sys.exit(code)

    def _run(self, words: list[str], *others: Any, **options: Any) -> int:
        options["standalone_mode"] = False
        is_json = "--json" in words[: words.index("--") if "--" in words else None]
        try:
            return super().main(words, *others, **options) or 0
        except click.Abort:
            return _fail(INTERRUPTED, "Interrupted", "interrupted", is_json)
        except click.ClickException as error:
            _show_usage(error)
            found = Exit(error.exit_code, "usage" if error.exit_code == 2 else "error", "")
            is_help = isinstance(error, click.exceptions.NoArgsIsHelpError)
            prefix = "" if is_help else _PREFIX
            return _fail(found, type(error).__name__, error.format_message(), is_json, prefix)
        except (CheckpointError, OSError) as error:
            return _fail(exit_for(error), type(error).__name__, str(error), is_json)
        except NobodyReadsError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug, or memory that ran out: --json holds
            click.echo(safe(traceback.format_exc(), lines=True), err=True)
            return _fail(ERROR, type(error).__name__, f"unexpected: {error}", is_json)


def _open_closed() -> None:
    """Give what was closed by who started this to nobody, before a database gets its number."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nobody = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, nobody)


def _drop_rest() -> None:
    """Let what is left of the output go nowhere: the interpreter would try it again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _buffer() -> None:
    """Write to stdout by a buffer, which PYTHONUNBUFFERED leaves out.

    What a disk that is full, or a pipe, takes a part of is otherwise lost without an error.
    """
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        number, encoding = sys.stdout.fileno(), sys.stdout.encoding
        sys.stdout = open(number, "w", encoding=encoding, closefd=False)  # noqa: SIM115


def _show_usage(error: click.ClickException) -> None:
    is_help = isinstance(error, click.exceptions.NoArgsIsHelpError)  # shows the usage itself
    if isinstance(error, click.UsageError) and error.ctx is not None and not is_help:
        click.echo(error.ctx.get_usage(), err=True)


def _fail(found: Exit, kind: str, message: str, is_json: bool, prefix: str = _PREFIX) -> int:
    """Say what went wrong, on stderr and, if JSON was asked for, as the one document."""
    if is_json:
        error = {"code": found.code, "name": found.name, "type": kind, "message": message}
        try:
            click.echo(as_json({"error": error}))
        except BrokenPipeError:
            raise
        except OSError:  # that it cannot be written may be what went wrong
            pass
    click.echo(f"{prefix}{safe(message, lines=True)}", err=True)
    return found.code


@click.group(
    cls=Application,
    params=list(shared_options(first=True)),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("checkpointdb"), prog_name="checkpointdb")
def cli() -> None:
    """Look at and tend a store of checkpoints.

    No command but `import`, `copy`, `encrypt`, `backup pull`, `rebuild` and `demo` makes a store
    where there is none, none but `prune` applies retention, none but `key generate` makes a key,
    and none but `db upgrade` upgrades a database.

    An id that begins with a dash stands behind `--`.
    """


for module in (asking, values, keeping, retention, transfer, upkeep, keys, database, backup, demo):
    for command in module.COMMANDS:
        cli.add_command(command)
