"""Commands about the database: db info, db upgrade, db check, sql."""

from __future__ import annotations

from typing import Final

import click

from checkpointdb import PipelineCheckpoint
from checkpointdb.cli.amounts import Number
from checkpointdb.cli.command import Command, Commands, Output
from checkpointdb.cli.documents import plain
from checkpointdb.cli.session import Session
from checkpointdb.cli.terminal import Table, safe, size
from checkpointdb.cli.upkeep import CHECK_SHAPE, checked
from checkpointdb.reports import DatabaseInfo, UpgradeReport

_MEANING: Final = {
    "current": "that of this version",
    "older": "of an older version: `checkpointdb db upgrade` brings it up to date",
    "newer": "of a newer version: upgrade checkpointdb",
    "empty": "none yet: it was never finished, `checkpointdb db upgrade` does",
}


@click.group(cls=Commands)
def db() -> None:
    """Look at the database of a store, and bring it up to date."""


@db.command(shape=DatabaseInfo)
@click.pass_obj
def info(session: Session) -> Output:
    """Show the database's schema, which version that belongs to, and sizes; of any version."""
    found = PipelineCheckpoint.database_info(session.store)
    rows = [
        ("database", found.path),
        ("schema", f"{found.schema or '-'}, {_MEANING[found.state]}"),
        ("checkpointdb", f"{found.library_version}, which has schema {found.library_schema}"),
        ("SQLite", found.sqlite_version),
        ("size", f"{size(found.database_bytes)}, and {size(found.log_bytes)} in the log"),
    ]
    return Output(found, [f"{name + ':':<14}{safe(text)}" for name, text in rows])


@db.command(shape=UpgradeReport)
@click.pass_obj
def upgrade(session: Session) -> Output:
    """Bring the database up to date, after a backup of it beside it."""
    report = PipelineCheckpoint.upgrade_database(session.store)
    if report.before == report.after:
        return Output(report, f"schema {report.after} is up to date")
    lines = [f"upgraded from schema {report.before or '-'} to {report.after}"]
    lines += [f"the backup is {safe(report.backup)}"] if report.backup else []
    return Output(report, "\n".join(lines))


@db.command(shape=CHECK_SHAPE)
@click.pass_obj
def check(session: Session) -> Output:
    """Compare rows with rows, and let SQLite look at its file; payloads are not looked at."""
    with session.open_whole() as store:
        return checked(store.check_database())


@click.command(
    cls=Command, shape={"columns": ["text"], "rows": [["any"]], "is_cut": "true or false"}
)
@click.argument("statement")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    default=1_000,
    show_default=True,
    help="At most so many rows; 0: all.",
)
@click.option(
    "--seconds",
    type=Number(min=0),
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="Give up after so long.",
)
@click.pass_obj
def sql(session: Session, statement: str, limit: int, seconds: float) -> Output:
    """Ask the database one SQL statement, which can only read.

    Tables and views are those of the whole store; bytes are shown in hexadecimal.
    """
    with session.open_whole() as store:
        answer = store.sql(statement, limit=limit or None, seconds=seconds)
    rows = [tuple(plain(cell) for cell in row) for row in answer.rows]
    notes = (f"there are more than {limit} rows: see --limit",) if answer.is_cut else ()
    return Output(answer, Table(answer.columns, rows), notes=notes)


COMMANDS: Final[tuple[click.Command, ...]] = (db, sql)
