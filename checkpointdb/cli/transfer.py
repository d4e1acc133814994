"""Commands that move checkpoints: import, export, copy."""

from __future__ import annotations

import os
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any, Final

import click

from checkpointdb import (
    SAFE_GLOBALS,
    EncryptionError,
    ImportReport,
    InvalidInputError,
    PipelineCheckpoint,
    parse_where,
)
from checkpointdb.cli.command import Command, Output
from checkpointdb.cli.completion import complete_id
from checkpointdb.cli.exits import OK, PARTIAL
from checkpointdb.cli.progress import bar, progress_option
from checkpointdb.cli.session import Session
from checkpointdb.cli.targets import target_url_options
from checkpointdb.cli.terminal import Table, count, safe
from checkpointdb.keys import Key
from checkpointdb.store.key_sources import key_in_file

_existing = click.Path(exists=True, path_type=Path)
_path = click.Path(path_type=Path)
_on_conflict = click.option(
    "--on-conflict",
    type=click.Choice(["refuse", "skip", "replace", "rename"]),
    default="refuse",
    show_default=True,
    help="What becomes of an id that is taken there by another checkpoint.",
)


@click.command("import", cls=Command, shape=ImportReport)
@click.argument("source", type=_existing)
@_on_conflict
@click.option(
    "--source-key-file",
    type=_path,
    metavar="FILE",
    help="A file with the key of SOURCE; else the one beside it, or the store's.",
)
@click.option(
    "--time-zone",
    metavar="NAME",
    help="The zone of the times in a predecessor's directory; else this machine's.",
)
@click.option(
    "--trusted-globals",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="What the pickles of a predecessor's directory may name, beside SAFE_GLOBALS.",
)
@click.option("--trust-all", is_flag=True, help="They may name, and so run, anything.")
@click.option(
    "--allow-plain", is_flag=True, help="Take what is encrypted into a store in the clear."
)
@progress_option
@click.pass_obj
def import_(session: Session, /, source: Path, progress: bool, **options: Any) -> Output:
    """Take checkpoints from SOURCE: a directory of the predecessor, or a file that `export` wrote.

    The store is made if there is none. SOURCE is not changed.
    """
    key = _key_in(options["source_key_file"])
    chosen = {"on_conflict": options["on_conflict"], "allow_plain": options["allow_plain"]}
    trusted = None if options["trust_all"] else [*SAFE_GLOBALS, *options["patterns"]]
    # One file comes whole or leaves nothing; a directory's import is gone on with.
    opened = session.open_or_make() if source.is_dir() else session.open_or_publish()
    with opened as store, bar("Importing checkpoints", progress) as moved:
        before = _key_ids(store)
        if source.is_dir():
            zone = options["time_zone"]
            report = store.import_legacy(
                source, key=key, time_zone=zone, trusted_globals=trusted, progress=moved, **chosen
            )
        else:
            report = store.import_checkpoint(source, key=key, **chosen)
        new_keys = [each for each in _key_ids(store) if each not in before]
    return _imported(report, new_keys)


def _key_ids(store: PipelineCheckpoint) -> list[str]:
    try:
        return store.key_ids()
    except EncryptionError:  # in the clear
        return []


def _imported(report: ImportReport, new_keys: list[str]) -> Output:
    told: list[str | Table] = [
        *(f"imported {safe(each)}" for each in report.imported),
        *(f"{safe(old)} is {safe(new)} here" for old, new in report.renamed),
        *(f"skipped {safe(each)}: another checkpoint has this id" for each in report.skipped),
        f"{len(report.imported)} imported, "
        f"{count(len(report.present), 'was', 'were')} there already",
    ]
    notes = (
        *(f"{each} could not be imported: {why}" for each, why in report.unreadable),
        *(
            f"the store is encrypted now, by the key of what was imported ({each}): keep that, and "
            "give it by --key-file"
            for each in new_keys
        ),
    )
    return Output(report, told, OK if report.is_ok else PARTIAL, notes)


@click.command(cls=Command, shape={"checkpoint_id": "text", "file": "text", "file_bytes": "number"})
@click.argument("checkpoint_id", shell_complete=complete_id)
@click.argument("file", type=_path)
@click.option(
    "--file-key-file",
    type=_path,
    metavar="FILE",
    help="A file with another key for the exported file than the store's.",
)
@click.option("--plain", is_flag=True, help="Export from an encrypted store in the clear.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.pass_obj
def export(
    session: Session,
    checkpoint_id: str,
    file: Path,
    file_key_file: Path | None,
    plain: bool,
    force: bool,
) -> Output:
    """Write one checkpoint into FILE, which is enough to have it back anywhere."""
    key = _key_in(file_key_file)
    if os.path.lexists(file) and not force:
        raise InvalidInputError(f"{str(file)!r} exists: name another, or pass --force")
    with session.open() as store:
        encrypted = False if plain else None
        store.export_checkpoint(checkpoint_id, file, key=key, encrypted=encrypted, overwrite=force)
    facts = {"checkpoint_id": checkpoint_id, "file": str(file), "file_bytes": file.stat().st_size}
    return Output(facts, f"{safe(checkpoint_id)} is in {safe(str(file))}")


@click.command(cls=Command, shape={"copied": "number", "target": "text"})
@click.argument("target", type=_path)
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Copy only what a condition matches, as in `list --where`.",
)
@click.option(
    "--only-pipeline",
    "pipelines",
    multiple=True,
    metavar="NAME",
    help="Copy only this pipeline, or else that of --pipeline; all, if none is named.",
)
@click.option(
    "--new-key-file",
    type=_path,
    metavar="FILE",
    help="A file with another key for the target than the store's.",
)
@target_url_options
@_on_conflict
@click.option("--plain", is_flag=True, help="Copy an encrypted store into one in the clear.")
@progress_option
@click.pass_obj
def copy(session: Session, /, target: Path, progress: bool, **options: Any) -> Output:
    """Copy checkpoints into the store at TARGET; what that has already is left out."""
    conditions = [parse_where(text) for text in options["where"]]
    key = _key_in(options["new_key_file"])
    named = () if session.named_pipeline is None else (session.named_pipeline,)
    with session.open_whole() as store, bar("Copying checkpoints", progress) as moved:
        copied = store.copy_into(
            target,
            key=key,
            encrypted=False if options["plain"] else None,
            where=reduce(and_, conditions) if conditions else None,
            pipelines=options["pipelines"] or named or None,
            payload_url=options["target_payload_url"],
            database_url=options["target_database_url"],
            on_conflict=options["on_conflict"],
            progress=moved,
        )
    told = count(copied, "checkpoint was copied", "checkpoints were copied")
    return Output({"copied": copied, "target": str(target)}, told)


def _key_in(file: Path | None) -> Key | None:
    return None if file is None else key_in_file(file)


COMMANDS: Final[tuple[click.Command, ...]] = (import_, export, copy)
