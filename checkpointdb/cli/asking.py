"""Commands that ask: list, show, history, tree, stats, pipelines, export-index."""

from __future__ import annotations

import json
from functools import reduce
from operator import and_
from typing import Any, Final

import click

from checkpointdb.cli.command import Command, Output
from checkpointdb.cli.completion import complete_id
from checkpointdb.cli.documents import as_json
from checkpointdb.cli.drawing import drawn
from checkpointdb.cli.fields import cell, notes_on_absent
from checkpointdb.cli.session import Session
from checkpointdb.cli.terminal import Table, moment, safe, size
from checkpointdb.filters import Field, fields_in, has_key, parse_fields, parse_sort, parse_where
from checkpointdb.records import CheckpointDetails, CheckpointMetadata
from checkpointdb.reports import CheckpointPlace, KeyVersion

_COUNT = click.IntRange(min=0)


@click.command(name="list", cls=Command, shape={"checkpoints": [CheckpointMetadata]})
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only those of which this holds, such as 'accuracy > 0.9'; several must all.",
)
@click.option(
    "--has-key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="Only those whose state has this key; several must all be there.",
)
@click.option(
    "--sort",
    default="timestamp",
    show_default=True,
    metavar="FIELD",
    help="timestamp, size, id, a metadata field, or @ and a column; the greatest first.",
)
@click.option(
    "--show",
    multiple=True,
    metavar="FIELDS",
    help="A column for each of these metadata fields, such as accuracy,run.host.",
)
@click.option("--reverse", is_flag=True, help="The least, or oldest, first.")
@click.option("--limit", type=_COUNT, metavar="N", help="At most so many.")
@click.option("--offset", type=_COUNT, metavar="N", help="Leave out so many first.")
@click.pass_obj
def list_(
    session: Session,
    where: tuple[str, ...],
    keys: tuple[str, ...],
    sort: str,
    show: tuple[str, ...],
    reverse: bool,
    limit: int | None,
    offset: int | None,
) -> Output:
    """List checkpoints, the newest first."""
    asked: list[Any] = [*map(parse_where, where), *map(has_key, keys)]
    shown = [each.path for text in show for each in parse_fields(text)]
    order = parse_sort(sort)
    named = [each.path for text in where for each in fields_in(text)]
    named += [order.path] if isinstance(order, Field) else []
    with session.open() as store:
        found = store.list_checkpoints(
            order,
            not reverse,
            where=reduce(and_, asked) if asked else None,
            limit=limit,
            offset=offset,
        )
        named += [path for path in shown if not any(cell(each, path) != "" for each in found)]
        notes = notes_on_absent(store, named)
    return Output({"checkpoints": found}, _table(found, shown), notes=notes)


_COLUMNS: Final = ("id", "saved (UTC)", "kind", "keys", "state bytes", "stored bytes", "pinned")


def _table(found: list[CheckpointMetadata], fields: list[str]) -> Table:
    """Draw checkpoints; with their versions if they have any, since a terminal is not wide."""
    has_versions = any(each.state_version is not None for each in found)
    columns = (*_COLUMNS, "version") if has_versions else _COLUMNS
    rows = [(*_row(each)[: len(columns)], *(cell(each, path) for path in fields)) for each in found]
    return Table((*columns, *fields), rows)


def _row(each: CheckpointMetadata) -> tuple[Any, ...]:
    version = each.state_version
    return (
        each.checkpoint_id,
        moment(each.timestamp),
        "incremental" if each.is_incremental else "full",
        len(each.state_keys),
        size(each.state_bytes),
        size(each.size_bytes),
        "pinned" if each.pinned else "",
        "" if version is None else str(version),
    )


@click.command(cls=Command, shape=CheckpointDetails)
@click.argument("checkpoint_id", metavar="ID", shell_complete=complete_id)
@click.pass_obj
def show(session: Session, checkpoint_id: str) -> Output:
    """Show all that is known of a checkpoint without opening its payload."""
    with session.open() as store:
        found = store.details(checkpoint_id)
    rows = [(each.key, each.type_name, size(each.raw_bytes)) for each in found.keys]
    return Output(found, [*_facts(found), "", Table(("key", "type", "bytes"), rows)])


def _facts(found: CheckpointDetails) -> list[str | Table]:
    of = found.metadata
    facts = {
        "id": of.checkpoint_id,
        "saved": f"{moment(of.timestamp)} UTC",
        "kind": "incremental" if of.is_incremental else "full",
        "saved upon": found.parent_id or "nothing",
        "chain": f"{found.chain}, depth {found.depth}",
        "payload": of.file_path,
        "sha256": of.hash_sha256,
        "stored": f"{size(of.size_bytes)} of a state of {size(of.state_bytes)}",
        "encrypted": "yes" if of.is_encrypted else "no",
        "pinned": "yes" if of.pinned else "no",
        **({"damaged": "yes, by what was read: see repair"} if found.is_damaged else {}),
        "state": "no version" if of.state_version is None else f"version {of.state_version}",
        "metadata": json.dumps(of.custom_metadata, indent=2, ensure_ascii=False),
    }
    return [
        f"{name + ':':<12}{safe(text, lines=name == 'metadata')}" for name, text in facts.items()
    ]


@click.command(cls=Command, shape={"key": "text", "versions": [KeyVersion]})
@click.argument("key")
@click.pass_obj
def history(session: Session, key: str) -> Output:
    """List the values that a key of the state had, the oldest first."""
    with session.open() as store:
        found = store.history(key)
    rows = [
        (each.checkpoint_id, moment(each.created_at.isoformat()), each.change, each.type_name,
         size(each.raw_bytes), (each.digest or "")[:12])
        for each in found
    ]  # fmt: skip
    columns = ("from checkpoint", "saved (UTC)", "change", "type", "bytes", "digest")
    notes = () if found else (f"no checkpoint has a key {key!r}",)
    return Output({"key": key, "versions": found}, Table(columns, rows), notes=notes)


@click.command(cls=Command, shape={"checkpoints": [CheckpointPlace]})
@click.pass_obj
def tree(session: Session) -> Output:
    """Draw what was saved upon what: ● is a full, ○ an incremental, a branch a fork."""
    with session.open() as store:
        found = store.lineage()
    return Output({"checkpoints": found}, "\n".join(drawn(found)))


_STATISTICS: Final = {
    "total_checkpoints": "number",
    "total_size_bytes": "number",
    "total_size_mb": "number",
    "full_checkpoints": "number",
    "incremental_checkpoints": "number",
    "encrypted_checkpoints": "number",
    "oldest_checkpoint": "text or null",
    "oldest_timestamp": "text or null",
    "newest_checkpoint": "text or null",
    "newest_timestamp": "text or null",
    "pinned_checkpoints": "number",
    "payload_files": "number",
    "state_bytes": "number",
    "not_backed_up_checkpoints": "number",
    "last_backup_timestamp": "text or null",
    "last_backup_error": "text or null",
}


@click.command(cls=Command, shape=_STATISTICS)
@click.pass_obj
def stats(session: Session) -> Output:
    """Count the checkpoints of the pipeline and what they take."""
    with session.open() as store:
        found = store.get_statistics()
    rows = [(name, _number(name, found[name])) for name in found if name != "total_size_mb"]
    return Output(found, Table(("statistic", "value"), rows))


def _number(name: str, value: Any) -> str:
    """Return a number of the statistics, or what else is in them, as people read it."""
    if value is None:
        return "none"
    if name.endswith("_bytes"):
        return size(value)
    return moment(value) if name.endswith("_timestamp") else str(value)


@click.command(cls=Command, shape={"pipelines": ["text"]})
@click.pass_obj
def pipelines(session: Session) -> Output:
    """Name the pipelines of the store."""
    with session.open_whole() as store:
        names = store.pipelines()
    return Output({"pipelines": names}, list(map(safe, names)))


@click.command(
    "export-index",
    cls=Command,
    shape={"checkpoints": {"*": CheckpointMetadata}, "last_full_checkpoint_id": "text or null"},
)
@click.pass_obj
def export_index(session: Session) -> Output:
    """Print the index of the pipeline's checkpoints, as JSON in any case."""
    with session.open() as store:
        index = store.index().to_dict()
    return Output(index, as_json(index))


COMMANDS: Final[tuple[click.Command, ...]] = (
    list_,
    show,
    history,
    tree,
    stats,
    pipelines,
    export_index,
)
