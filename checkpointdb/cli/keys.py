"""Commands about the keys of an encrypted store: key generate, list, add, remove, rotate."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from checkpointdb import InvalidInputError, generate_encryption_key
from checkpointdb.cli.command import Commands, Output
from checkpointdb.cli.progress import bar, progress_option
from checkpointdb.cli.session import Session
from checkpointdb.cli.terminal import safe
from checkpointdb.store.key_sources import key_in_file

_new_key_file = click.option(
    "--new-key-file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file with the new key, as `key generate` writes it.",
)
_SHAPE = {"key_id": "text"}


@click.group(cls=Commands)
def key() -> None:
    """Make keys, and choose which open the store."""


@key.command(shape={"path": "text or null", "key": "text or null"})
@click.argument("file", required=False, type=click.Path(path_type=Path))
def generate(file: Path | None) -> Output:
    """Make a key, in a new FILE that its owner alone can read; without FILE, print it."""
    try:
        made = generate_encryption_key(file).decode()
    except FileExistsError:
        raise InvalidInputError(
            f"{str(file)!r} exists and was not overwritten: name another file"
        ) from None
    if file is None:
        return Output({"path": None, "key": made}, made)
    return Output({"path": str(file), "key": None}, f"keep a copy of {safe(str(file))} elsewhere")


@key.command("list", shape={"key_ids": ["text"]})
@click.pass_obj
def list_(session: Session) -> Output:
    """Name the keys that open the store."""
    with session.open_whole() as store:
        found = store.key_ids()
    return Output({"key_ids": found}, list(map(safe, found)))


@key.command(shape=_SHAPE)
@_new_key_file
@click.pass_obj
def add(session: Session, new_key_file: Path) -> Output:
    """Let another key open the store too."""
    with session.open_whole() as store:
        key_id = store.add_key(key_in_file(new_key_file))
    return Output({"key_id": key_id}, f"{safe(key_id)} opens the store too")


@key.command(shape=_SHAPE)
@click.argument("key_id")
@click.pass_obj
def remove(session: Session, key_id: str) -> Output:
    """Let a key, named by its id, no longer open the store; never the last."""
    if ":" not in key_id:
        raise click.BadParameter("an id such as `key list` shows is expected", param_hint="KEY_ID")
    with session.open_whole() as store:
        store.remove_key(key_id)
    return Output({"key_id": key_id}, f"{safe(key_id)} no longer opens the store")


@key.command(shape=_SHAPE)
@_new_key_file
@click.option(
    "--reencrypt",
    is_flag=True,
    help="Make a new master key too, and seal every payload anew by it; resumable.",
)
@click.option(
    "--keep-key-file",
    "keep",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --reencrypt: a file with another key that goes on opening the store.",
)
@progress_option
@click.pass_obj
def rotate(
    session: Session, new_key_file: Path, reencrypt: bool, keep: tuple[Path, ...], progress: bool
) -> Output:
    """Let a new key open the store instead of the one that it is opened with now."""
    new, kept = key_in_file(new_key_file), [key_in_file(path) for path in keep]
    if keep and not reencrypt:
        raise click.UsageError("--keep-key-file is for --reencrypt: without it other keys stay")
    with session.open_whole() as store:
        if reencrypt:
            with bar("Sealing payloads anew", progress) as moved:
                key_id = store.rotate_key(new, reencrypt=True, keep=kept, progress=moved)
        else:
            key_id = store.rotate_key(new)
    return Output({"key_id": key_id}, f"{safe(key_id)} opens the store now")


COMMANDS: Final[tuple[click.Command, ...]] = (key,)
