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
from checkpointdb.reports import DatabaseInfo
from checkpointdb.store.revising import sql_of_upgrade

_MEANING: Final = {
    "current": "that of this version",
    "older": "the store is the old side: `checkpointdb db upgrade` brings it up to date",
    "newer": "checkpointdb is the old side here: upgrade it",
    "empty": "none yet: it was never finished, `checkpointdb db upgrade` does",
}


@click.group(cls=Commands)
def db() -> None:
    """Look at the database of a store, and bring it up to date."""


@db.command(shape=DatabaseInfo)
@click.pass_obj
def info(session: Session) -> Output:
    """Show the database's schema, which version that belongs to, and sizes; of any version."""
    found = PipelineCheckpoint.database_info(session.store, database_url=session.database_url)
    rows = [
        ("database", found.path),
        ("schema", f"{found.schema or '-'}, {_MEANING[found.state]}"),
        (
            "read by",
            f"checkpointdb {found.readable_since} and later"
            if found.readable_since
            else "versions later than this one"
            if found.schema
            else "-",
        ),
        ("checkpointdb", f"{found.library_version}, which has schema {found.library_schema}"),
        ("run by", found.engine),
        ("size", f"{size(found.database_bytes)}, and {size(found.log_bytes)} in the log"),
    ]
    return Output(found, [f"{name + ':':<14}{safe(text)}" for name, text in rows])


@db.command(
    shape={
        "before": "text or null",
        "after": "text",
        "backup": "text or null",
        "sql": "text or null",
    }
)
@click.option("--sql", is_flag=True, help="Print the SQL instead, for `sqlite3`; nothing is run.")
@click.option(
    "--dialect",
    type=click.Choice(["sqlite", "postgresql"]),
    default="sqlite",
    show_default=True,
    metavar="NAME",
    help="With --sql: of postgresql all that makes a new schema, whatever the store has.",
)
@click.pass_obj
def upgrade(session: Session, sql: bool, dialect: str) -> Output:
    """Bring the database up to date, after a backup of it beside it."""
    if dialect != "sqlite" and not sql:
        raise click.UsageError("--dialect is of use with --sql alone")
    return _printed(session, dialect) if sql else _upgraded(session)


def _printed(session: Session, dialect: str) -> Output:
    found = PipelineCheckpoint.database_info(session.store, database_url=session.database_url)
    text = (
        PipelineCheckpoint.upgrade_sql(session.store, database_url=session.database_url)
        if dialect == "sqlite"
        else sql_of_upgrade(None, dialect)
    )
    before = found.schema if dialect == "sqlite" else None
    document = {"before": before, "after": found.library_schema, "backup": None, "sql": text}
    return Output(document, text.rstrip() or f"-- schema {before} is up to date")


def _upgraded(session: Session) -> Output:
    report = PipelineCheckpoint.upgrade_database(session.store, database_url=session.database_url)
    if report.before == report.after:
        return Output({**plain(report), "sql": None}, f"schema {report.after} is up to date")
    lines = [f"upgraded from schema {report.before or '-'} to {report.after}"]
    lines += [f"the backup is {safe(report.backup)}"] if report.backup else []
    return Output({**plain(report), "sql": None}, "\n".join(lines))


@db.command(shape=CHECK_SHAPE)
@click.pass_obj
def check(session: Session) -> Output:
    """Compare rows with rows, and let SQLite look at its file; payloads are not looked at."""
    with session.open_whole() as store:
        return checked(store.check_database(), of_payloads=False)


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
