"""Commands about backups: backup push, pull, list, verify, prune."""

from __future__ import annotations

from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Final

import click

from checkpointdb import CloudBackupConfig, PipelineCheckpoint
from checkpointdb.backup.remote import remote_at
from checkpointdb.cli import amounts
from checkpointdb.cli.command import Commands, Output
from checkpointdb.cli.documents import plain
from checkpointdb.cli.exits import CORRUPT, ERROR, OK, PARTIAL
from checkpointdb.cli.keeping import is_meant
from checkpointdb.cli.progress import bytes_bar, progress_option
from checkpointdb.cli.retention import counted_options, rules_of_times
from checkpointdb.cli.session import Session
from checkpointdb.cli.terminal import Table, count, moment, safe, size
from checkpointdb.reports import BackupPruneReport, BackupSnapshot, Problem, PullReport, PushReport

_remote = click.argument("remote", envvar="CHECKPOINTDB_BACKUP", metavar="REMOTE")
_credentials = click.option(
    "--credentials",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file of credentials for a bucket; else they are looked for as its own tools do.",
)
_snapshot = click.option(
    "--snapshot", metavar="NAME", help="Another snapshot than the latest, as `backup list` names."
)


def _config(remote: str, credentials: Path | None) -> CloudBackupConfig:
    """Return where REMOTE is, and how to reach it."""
    path = None if credentials is None else str(credentials)
    return CloudBackupConfig(True, credentials_path=path, url=remote_at(remote).url)


@click.group(cls=Commands)
def backup() -> None:
    """Copy a store to a directory elsewhere or a bucket, and bring it back.

    REMOTE is a directory or a URL: file:///nas/backups, s3://BUCKET/PREFIX, az://, gs://. It may
    be left out where CHECKPOINTDB_BACKUP names it.
    """


@backup.command(shape=PushReport)
@_remote
@click.option(
    "--take-over", is_flag=True, help="Begin anew where the backup is gone, or another's."
)
@click.option(
    "--read-remote", is_flag=True, help="Read what lies there, and replace what is damaged."
)
@_credentials
@progress_option
@click.pass_obj
def push(
    session: Session,
    remote: str,
    take_over: bool,
    read_remote: bool,
    credentials: Path | None,
    progress: bool,
) -> Output:
    """Back up the whole store; what REMOTE has already is not copied again."""
    with session.open_whole() as store, bytes_bar("Pushing", progress) as moved:
        report = store.push_backup(
            _config(remote, credentials),
            takes_over=take_over,
            read_remote=read_remote,
            progress=moved,
        )
    notes = tuple(
        f"{name} is damaged and was not backed up: {why}" for name, why in report.unreadable
    )
    summary = (
        f"{count(report.checkpoints, 'checkpoint is', 'checkpoints are')} backed up, "
        f"{report.copied_payloads} of {count(report.payloads, 'payload')} copied, "
        f"{size(report.copied_bytes)}"
    )
    return Output(report, summary, OK if report.is_ok else PARTIAL, notes)


@backup.command(shape=PullReport)
@_remote
@click.option(
    "--only-pipeline",
    "pipelines",
    multiple=True,
    metavar="NAME",
    help="Bring back only this pipeline, or else that of --pipeline; all, if none is named.",
)
@click.option(
    "--checkpoint",
    "ids",
    multiple=True,
    metavar="ID",
    help="Bring back only this checkpoint, with the payloads that it needs.",
)
@_snapshot
@click.option(
    "--rebuild",
    is_flag=True,
    help="Make the database anew from the payloads; all that returns is pinned.",
)
@click.option(
    "--skip-damaged",
    is_flag=True,
    help="Leave out, and name, the checkpoints that need what is missing or damaged there.",
)
@_credentials
@progress_option
@click.pass_obj
def pull(session: Session, /, remote: str, progress: bool, **options: Any) -> Output:
    """Bring a backup back into a new directory, which --store names; every byte is verified."""
    named = () if session.named_pipeline is None else (session.named_pipeline,)
    if named and options["rebuild"]:
        raise click.UsageError(
            "--rebuild brings back all pipelines: leave out --pipeline (CHECKPOINTDB_PIPELINE)"
        )
    if session.payload_url is not None:
        raise click.UsageError(
            "a pull brings payloads into the directory, not to --payload-url: pull without it, "
            "then `copy TARGET --target-payload-url URL`"
        )
    with bytes_bar("Pulling", progress) as moved:
        report = PipelineCheckpoint.pull_backup(
            _config(remote, options["credentials"]),
            session.store,
            session.key,
            pipelines=options["pipelines"] or named or None,
            checkpoint_ids=options["ids"] or None,
            snapshot=options["snapshot"],
            rebuild=options["rebuild"],
            skip_damaged=options["skip_damaged"],
            database_url=session.database_url,
            progress=moved,
        )
    notes = tuple(f"{each} did not come back whole and was left out" for each in report.left_out)
    summary = (
        f"{count(report.checkpoints, 'checkpoint')} and {count(report.payloads, 'payload')} are in "
        f"{safe(report.directory)}, {size(report.fetched_bytes)} were fetched"
    )
    return Output(report, summary, PARTIAL if report.left_out else OK, notes)


@backup.command("list", shape={"snapshots": [BackupSnapshot]})
@_remote
@_credentials
def list_(remote: str, credentials: Path | None) -> Output:
    """List the snapshots at REMOTE, oldest first; `pull` takes the latest unless told otherwise."""
    found = PipelineCheckpoint.list_backups(_config(remote, credentials))
    rows: list[tuple[Any, ...]] = [
        (
            each.name,
            moment(each.created_at.isoformat()),
            size(each.stored_bytes),
            "latest" if each.is_latest else "",
        )
        for each in found
    ]
    summary = f"{count(len(rows), 'snapshot')} at {safe(remote)}"
    table = Table(("snapshot", "made", "bytes", ""), rows)
    return Output({"snapshots": found}, [table, "", summary])


@backup.command(
    shape={
        "remote": "text",
        "snapshot": "text",
        "checkpoints": "number",
        "payloads": "number",
        "verified_bytes": "number",
        "problems": [Problem],
        "is_ok": "true or false",
    }
)
@_remote
@click.option("--read-data", is_flag=True, help="Read and verify every byte there.")
@_snapshot
@_credentials
@progress_option
def verify(
    remote: str, read_data: bool, snapshot: str | None, credentials: Path | None, progress: bool
) -> Output:
    """Compare what REMOTE holds with its latest snapshot; for this no key is needed."""
    with bytes_bar("Reading", progress) as moved:
        report = PipelineCheckpoint.verify_backup(
            _config(remote, credentials), snapshot=snapshot, read_data=read_data, progress=moved
        )
    summary = (
        f"{count(report.checkpoints, 'checkpoint')}, {count(report.payloads, 'payload')}, "
        f"{size(report.verified_bytes)} verified: "
    )
    document = {**plain(report), "is_ok": report.is_ok}
    if report.is_ok:
        return Output(document, summary + "no problems")
    rows = [
        (each.kind, each.subject, each.detail, ", ".join(each.checkpoint_ids))
        for each in report.problems
    ]
    found = Table(("problem", "in", "what", "affected checkpoints"), rows)
    return Output(document, [summary + count(len(rows), "problem"), "", found], CORRUPT)


@backup.command(shape=BackupPruneReport)
@_remote
@counted_options
@click.option(
    "--keep-within",
    metavar="TIME",
    callback=amounts.age,
    help="Keep what is not older, such as 36h, 30d or 8w.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@_credentials
@click.pass_obj
def prune(session: Session, /, remote: str, dry_run: bool, yes: bool, **options: Any) -> Output:
    """Delete the snapshots at REMOTE that no rule keeps, and the payloads that only they named.

    The latest is always kept. Payloads that no snapshot names go once they are a day old.
    """
    rules = rules_of_times(options)
    if not rules:
        raise click.UsageError("say what to keep, such as --keep-last 10: nothing was deleted")
    config = _config(remote, options["credentials"])
    policy = reduce(or_, rules)
    with session.open_whole() as store:
        plan = store.prune_backup(policy, remote=config, dry_run=True)
        asks = _gone(plan) > 0 and not (dry_run or yes)
        if asks and not is_meant(f"Delete {count(_gone(plan), 'snapshot')}?", _told(plan, asks)):
            return Output(plan, "nothing was deleted", ERROR)
        report = plan if dry_run else store.prune_backup(policy, remote=config)
    is_known = asks and report.snapshots == plan.snapshots  # another push may have come between
    return Output(report, _summary(report) if is_known else _told(report))


def _gone(report: BackupPruneReport) -> int:
    return sum(1 for each in report.snapshots if not each.is_kept)


def _told(report: BackupPruneReport, only_deleted: bool = False) -> list[str | Table]:
    rows: list[tuple[Any, ...]] = [
        ("keep" if each.is_kept else "delete", each.name, ", ".join(each.reasons))
        for each in report.snapshots
        if not (only_deleted and each.is_kept)
    ]
    return [Table(("", "snapshot", "why"), rows), "", _summary(report)]


def _summary(report: BackupPruneReport) -> str:
    would = "would be " if report.is_dry_run else ""
    return (
        f"{_gone(report)} of {count(len(report.snapshots), 'snapshot')} and "
        f"{count(report.deleted_payloads, 'payload')} {would}deleted, "
        f"{size(report.freed_bytes)} {would}freed"
    )


COMMANDS: Final[tuple[click.Command, ...]] = (backup,)
