"""Commands that keep a store healthy: check, repair, sweep, compact, merge, rebuild, encrypt."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from checkpointdb import CheckReport, EncryptionError, NotFoundError, PipelineCheckpoint
from checkpointdb.cli import amounts
from checkpointdb.cli.command import Command, Output
from checkpointdb.cli.documents import plain
from checkpointdb.cli.exits import CORRUPT, OK, PARTIAL
from checkpointdb.cli.progress import bar, progress_option
from checkpointdb.cli.session import Session
from checkpointdb.cli.targets import target_url_options
from checkpointdb.cli.terminal import Table, count, safe, size
from checkpointdb.reports import (
    CompactReport,
    DamagedCheckpoint,
    MergeReport,
    Problem,
    RebuildReport,
    RepairReport,
    SweepReport,
)
from checkpointdb.store.key_sources import given_key, key_beside, key_in_file
from checkpointdb.store.places import PAYLOAD_DIRECTORY

CHECK_SHAPE: Final = {
    "checkpoints": "number",
    "payloads": "number",
    "verified_bytes": "number",
    "problems": [Problem],
    "read_payloads": "number",
    "is_ok": "true or false",
}


@click.command(cls=Command, shape=CHECK_SHAPE)
@click.option("--read-data", is_flag=True, help="Read and verify every stored byte.")
@click.option(
    "--read-data-subset",
    "share",
    metavar="SHARE",
    callback=amounts.share,
    help="Read a part of the bytes, such as 10%: what was read longest ago.",
)
@click.option(
    "--for",
    "seconds",
    metavar="TIME",
    callback=amounts.seconds,
    help="Read for so long, such as 5m: what was read longest ago.",
)
@click.option(
    "--grace-hours",
    type=amounts.Number(0, 87_600),
    metavar="HOURS",
    default=24.0,
    show_default=True,
    help="Do not report unfinished files younger than this: a save may be under way.",
)
@progress_option
@click.pass_obj
def check(
    session: Session,
    read_data: bool,
    share: float | None,
    seconds: float | None,
    grace_hours: float,
    progress: bool,
) -> Output:
    """Compare rows and files of the whole store, both ways; for this no key is needed."""
    if read_data and share is not None:
        raise click.UsageError("--read-data reads every byte: leave it out, or --read-data-subset")
    with bar("Reading payloads", progress) as moved:
        report = session.check(
            read_data=read_data or share is not None or seconds is not None,
            share=share or 1.0,
            seconds=seconds,
            grace=timedelta(hours=grace_hours),
            progress=moved,
        )
    return checked(report)


def checked(report: CheckReport, *, of_payloads: bool = True) -> Output:
    """Return what a check found; problems end in the exit code for corruption."""
    parts = [count(report.checkpoints, "checkpoint")]
    if of_payloads:
        parts += [
            count(report.payloads, "payload"),
            f"{report.read_payloads} read",
            f"{size(report.verified_bytes)} verified",
        ]
    summary = f"{', '.join(parts)}: "
    rows: list[tuple[Any, ...]] = [
        (each.kind, each.subject, each.detail, ", ".join(each.checkpoint_ids))
        for each in report.problems
    ]
    document = {**plain(report), "is_ok": report.is_ok}
    if report.is_ok:
        return Output(document, summary + "no problems")
    found = Table(("problem", "in", "what", "affected checkpoints"), rows)
    return Output(document, [summary + count(len(rows), "problem"), "", found], CORRUPT)


@click.command(cls=Command, shape=RepairReport)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--forget-damaged",
    is_flag=True,
    help="Forget the checkpoints that lost keys, but for pinned ones.",
)
@click.option(
    "--known-only",
    is_flag=True,
    help="Read only payloads known to be damaged, missing or of another length.",
)
@progress_option
@click.pass_obj
def repair(
    session: Session, dry_run: bool, forget_damaged: bool, known_only: bool, progress: bool
) -> Output:
    """Take damaged payloads out of service, and recover what other payloads hold too."""
    with session.open_whole() as store, bar("Reading payloads", progress) as moved:
        report = store.repair(
            read_data=not known_only,
            forget_damaged=forget_damaged,
            dry_run=dry_run,
            progress=moved,
        )
    return Output(report, _repaired(report), OK if report.is_ok else PARTIAL)


def _repaired(report: RepairReport) -> list[str | Table]:
    would = "a dry run: nothing was changed; " if report.is_dry_run else ""
    found: list[tuple[Any, ...]] = [
        *(("damaged", name, reason) for name, reason in report.damaged),
        *(("whole again", name, "back in service") for name in report.restored),
        *(("recovered", _named(each), ", ".join(each.keys)) for each in report.recovered),
        *(("lost", _named(each), ", ".join(each.keys)) for each in report.lost),
        *(
            ("only in database", f"{which} of {of}", _NO_REBUILD)
            for of, which in report.only_in_database
        ),
        *(("forgotten", f"{which} of {of}", "it had lost keys") for of, which in report.forgotten),
        *(("removed", name, "nothing needs it any more") for name in report.removed_files),
        *(("orphan", name, "no row names it: see sweep") for name in report.orphans),
        *((each.kind, each.subject, f"{each.detail}: see rebuild") for each in report.problems),
    ]
    summary = (
        f"{would}{count(report.read_payloads, 'payload')} read, {len(report.damaged)} damaged, "
        f"keys of {count(len(report.recovered), 'checkpoint')} recovered, "
        f"keys of {count(len(report.lost), 'checkpoint')} lost"
    )
    return [summary, "", Table(("what", "where", "which"), found)] if found else [summary]


def _named(each: DamagedCheckpoint) -> str:
    """Name a checkpoint with its pipeline: all of the store's are repaired."""
    return f"{each.checkpoint_id} of {each.pipeline}"


_NO_REBUILD = "it loads, but a rebuild would lose it: see merge"


@click.command(cls=Command, shape=SweepReport)
@click.pass_obj
def sweep(session: Session) -> Output:
    """Remove files that a crash left and that are over a day old."""
    with session.open_whole() as store:
        report = store.sweep()
    removed = [f"removed {safe(name)}" for name in report.removed_files]
    missing = tuple(f"{name} is missing: run check" for name in report.missing_files)
    return Output(report, [*removed, f"{size(report.freed_bytes)} freed"], OK, missing)


@click.command(cls=Command, shape=CompactReport)
@click.option(
    "--min-dead",
    metavar="SHARE",
    default="50%",
    show_default=True,
    callback=amounts.share,
    help="Rewrite the payloads of which at least so much is dead.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be rewritten, and do nothing.")
@progress_option
@click.pass_obj
def compact(session: Session, min_dead: float, dry_run: bool, progress: bool) -> Output:
    """Write payloads of the whole store that are mostly dead again, without what is dead."""
    with session.open_whole() as store, bar("Rewriting payloads", progress) as moved:
        report = store.compact(min_dead=min_dead, dry_run=dry_run, progress=moved)
    notes = [f"{name} was left as it is: {reason}" for name, reason in report.left]
    if report.not_smaller:
        stay = count(len(report.not_smaller), "mostly dead payload")
        notes.append(f"left as they are: {stay}; written again, they take as much room")
    if dry_run:
        names = [f"would rewrite {safe(name)}" for name in report.rewritten]
        return Output(report, [*names, f"about {size(report.freed_bytes)} to free"], OK, (*notes,))
    summary = (
        f"{count(len(report.rewritten), 'payload')} rewritten into {report.written}, "
        f"{size(report.freed_bytes)} freed"
    )
    return Output(report, summary, PARTIAL if report.left else OK, (*notes,))


@click.command(cls=Command, shape=MergeReport)
@click.argument("checkpoint_id", metavar="ID")
@click.pass_obj
def merge(session: Session, checkpoint_id: str) -> Output:
    """Make a full of a checkpoint: one payload that is enough to restore it."""
    with session.open() as store:
        report = store.merge(checkpoint_id)
    if not report.is_merged:
        return Output(report, f"{checkpoint_id} is a full already")
    return Output(
        report,
        f"{checkpoint_id} is a full of {size(report.stored_bytes)}, "
        f"{size(report.freed_bytes)} freed",
    )


@click.command(cls=Command, shape=RebuildReport)
@progress_option
@click.pass_obj
def rebuild(session: Session, progress: bool) -> Output:
    """Make the database anew from the payloads, where it is missing; all that returns is pinned.

    Payloads at --payload-url belong to it then: another database that used them is refused.
    """
    if session.payload_url is None and not (session.store / PAYLOAD_DIRECTORY).is_dir():
        raise NotFoundError(f"there are no payloads in {str(session.store)!r} to rebuild from")
    with bar("Reading payloads", progress) as moved:
        report = PipelineCheckpoint.rebuild(
            session.store,
            session.key,
            payload_url=session.payload_url,
            database_url=session.database_url,
            progress=moved,
        )
    notes = (
        *(f"{each} did not come back whole and was left out" for each in report.left_out),
        *(f"{name} cannot be read: {reason}" for name, reason in report.unreadable),
    )
    end = PARTIAL if report.unreadable else OK
    back = count(len(report.checkpoints), "checkpoint is back", "checkpoints are back")
    return Output(report, f"{back}, pinned", end, notes)


@click.command(cls=Command, shape={"copied": "number", "target": "text"})
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--new-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file with the target's key; else the one that the environment names.",
)
@target_url_options
@progress_option
@click.pass_obj
def encrypt(
    session: Session, /, target: Path, new_key_file: Path | None, progress: bool, **urls: str | None
) -> Output:
    """Copy the whole store into an encrypted one at TARGET; what that has already is left out."""
    new_key = key_in_file(new_key_file) if new_key_file else given_key(None)
    if new_key is None and key_beside(target) is None:
        raise EncryptionError(
            "no key was given for the new store: make one by `checkpointdb key generate FILE`, "
            "keep a copy of it, and pass --new-key-file FILE"
        )
    with session.open_whole() as store, bar("Copying checkpoints", progress) as moved:
        copied = store.encrypt_into(
            target,
            new_key,
            payload_url=urls["target_payload_url"],
            database_url=urls["target_database_url"],
            progress=moved,
        )
    told = count(copied, "checkpoint was copied", "checkpoints were copied")
    return Output({"copied": copied, "target": str(target)}, told)


COMMANDS: Final[tuple[click.Command, ...]] = (
    check,
    repair,
    sweep,
    compact,
    merge,
    rebuild,
    encrypt,
)
