"""Commands that open payloads: get, and diff where it is asked for values."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from checkpointdb import SAFE_GLOBALS, CheckpointError, PipelineCheckpoint, StreamedValue
from checkpointdb.cli.command import Command, NobodyReadsError, Output
from checkpointdb.cli.completion import complete_id
from checkpointdb.cli.session import Session
from checkpointdb.cli.shown import in_lines
from checkpointdb.cli.terminal import Table, count, safe, size
from checkpointdb.contexts import contextmanager
from checkpointdb.directories import check_target, write_private
from checkpointdb.json_values import Json
from checkpointdb.reports import KeyChange, StateDiff
from checkpointdb.serialize import type_name


def _trust_options(function: Callable[..., Any]) -> Callable[..., Any]:
    some = click.option(
        "--trusted-globals", multiple=True, metavar="NAME",
        help="What a pickle may name besides common types, such as 'myapp.models.*'; several.",
    )  # fmt: skip
    every = click.option(
        "--trust-all", is_flag=True, help="A pickle may name, and so run, anything."
    )
    return some(every(function))


def _trusted(names: Iterable[str], trust_all: bool) -> list[str] | None:
    return None if trust_all else [*SAFE_GLOBALS, *names]


@contextmanager
def _explaining() -> Iterator[None]:
    """Tell what code of the user's classes raises without a traceback of ours."""
    try:
        yield
    except (CheckpointError, click.ClickException, NobodyReadsError, OSError, MemoryError):
        raise
    except Exception as error:
        said = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
        raise click.ClickException("; ".join(said)) from error


@click.command(cls=Command, shape={
    "checkpoint_id": "text",
    "values": {"*": {"type_name": "text", "value": "any", "text": "text or null"}},
    "written": {"*": "text or number"},
})  # fmt: skip
@click.argument("checkpoint_id", metavar="ID", shell_complete=complete_id)
@click.argument("key", required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write to a new file instead: bytes, streams and text as they are, anything else, and "
    "a whole state, as a pickle. A stream also to - (stdout), as it is read.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@_trust_options
@click.pass_obj
@_explaining()
def get(
    session: Session,
    checkpoint_id: str,
    key: str | None,
    output: Path | None,
    force: bool,
    trusted_globals: tuple[str, ...],
    trust_all: bool,
) -> Output:
    """Print the state of a checkpoint, or the value of one KEY.

    In JSON, "value" is what JSON holds without a change; what it cannot hold has null there, and
    is told in "text".
    """
    with session.open(_trusted(trusted_globals, trust_all)) as store:
        state = store.load(checkpoint_id, keys=None if key is None else [key])
        if output is not None:
            value = _pickled(state) if key is None else state[key]
            if str(output) == "-":
                return _print_raw(value, is_json=session.is_json)
            written = _write(output, value, force=force)
            document = {"checkpoint_id": checkpoint_id, "values": {}, "written": written}
            return Output(document, f"{size(written['bytes'])} were written, as {written['form']}")
    values = {name: _as_value(value) for name, value in state.items()}
    lines = [
        _readable(value) if key is not None else f"{safe(name)} = {_readable(value)}"
        for name, value in state.items()
    ]
    return Output({"checkpoint_id": checkpoint_id, "values": values, "written": {}}, [*lines])


def _as_value(value: object) -> dict[str, Any]:
    found = {"type_name": type_name(value), "value": None, "text": None}
    if _is_json(value):
        return found | {"value": value}
    return found | {"text": in_lines(value)}


def _is_json(value: object) -> bool:
    try:
        Json().dump(value)
    except (ValueError, RecursionError):
        return False
    return True


def _readable(value: object) -> str:
    if isinstance(value, str):
        return safe(value, lines=True)
    if _is_json(value):
        return safe(json.dumps(value, indent=2, ensure_ascii=False), lines=True)
    return safe(in_lines(value), lines=True)


def _pickled(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state that can be pickled as a whole."""
    streams = [key for key, value in state.items() if isinstance(value, StreamedValue)]
    if streams:
        raise click.ClickException(
            f"key {streams[0]!r} is a stream, which no pickle holds: write key by key"
        )
    return state


def _print_raw(value: object, *, is_json: bool) -> Output:
    """Write a stream to stdout as it is read; what is wrong with it may show half-way."""
    if is_json or not isinstance(value, StreamedValue):
        raise click.UsageError("--output - takes a KEY whose value is a stream, without --json")
    try:
        for block in value:
            click.echo(block, nl=False)
    except BrokenPipeError as error:
        raise NobodyReadsError from error
    return Output({}, [])


def _write(path: Path, value: object, *, force: bool) -> dict[str, Any]:
    """Write a value to a file that appears whole, private to its owner."""
    if os.path.lexists(path) and not force:
        raise _taken(path)
    check_target(path, overwrite=force)
    if isinstance(value, StreamedValue):
        written = value.save_to(path, overwrite=force)
        return {"path": str(path), "form": "bytes", "bytes": written}
    form, data = "a pickle", b""
    if isinstance(value, (bytes, bytearray, memoryview)):
        form, data = "bytes", bytes(value)
    elif isinstance(value, str):
        form, data = "text", value.encode(errors="surrogatepass")
    else:
        data = pickle.dumps(value, protocol=5)
    try:
        write_private(path, data, is_new=not force)
    except FileExistsError:
        raise _taken(path) from None
    return {"path": str(path), "form": form, "bytes": len(data)}


def _taken(path: Path) -> click.ClickException:
    return click.ClickException(f"{str(path)!r} exists: name another, or pass --force")


@click.command(cls=Command, shape={
    "old": "text",
    "new": "text",
    "added": [KeyChange],
    "removed": [KeyChange],
    "changed": [KeyChange],
    "unchanged": ["text"],
    "values": {"*": ["text"]},
})  # fmt: skip
@click.argument("old", shell_complete=complete_id)
@click.argument("new", shell_complete=complete_id)
@click.option("--values", is_flag=True, help="Load what changed and say how the values differ.")
@_trust_options
@click.pass_obj
@_explaining()
def diff(
    session: Session,
    old: str,
    new: str,
    values: bool,
    trusted_globals: tuple[str, ...],
    trust_all: bool,
) -> Output:
    """Show what changed from checkpoint OLD to NEW, by key."""
    with session.open(_trusted(trusted_globals, trust_all)) as store:
        found = store.diff(old, new)
        told = _differences(store, old, new, found) if values else {}
    table = Table(("", "key", "old bytes", "new bytes", "type"), _rows(found))
    same = count(len(found.unchanged), "key is unchanged", "keys are unchanged")
    lines: list[str | Table] = [table, same]
    for key, differences in told.items():
        lines += ["", f"{safe(key)}:", *(f"  {safe(each)}" for each in differences)]
    document = {
        "old": old, "new": new, "added": found.added, "removed": found.removed,
        "changed": found.changed, "unchanged": found.unchanged, "values": told,
    }  # fmt: skip
    return Output(document, lines)


def _differences(
    store: PipelineCheckpoint, old: str, new: str, found: StateDiff
) -> dict[str, list[str]]:
    from checkpointdb.cli.differences import differences

    keys = [each.key for each in found.changed]
    before, after = store.load(old, keys=keys), store.load(new, keys=keys)
    return {key: differences(before[key], after[key]) for key in keys}


def _rows(found: StateDiff) -> list[tuple[Any, ...]]:
    signed = [("+", found.added), ("-", found.removed), ("~", found.changed)]
    return [
        (sign, each.key, size(each.old_bytes), size(each.new_bytes), _types(each))
        for sign, changes in signed
        for each in changes
    ]


def _types(change: KeyChange) -> str:
    names = [name for name in (change.old_type, change.new_type) if name is not None]
    return " → ".join(dict.fromkeys(names))


COMMANDS: Final[tuple[click.Command, ...]] = (get, diff)
