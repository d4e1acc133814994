"""The command that forgets by rules: prune."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Any, Final

import click

from checkpointdb import (
    AtMostBytes,
    AtMostPer,
    KeepBest,
    KeepDaily,
    KeepHourly,
    KeepMonthly,
    KeepNewest,
    KeepUntilBackedUp,
    KeepWeekly,
    KeepWhere,
    KeepWithin,
    KeepYearly,
    PipelineCheckpoint,
    PruneReport,
    RetentionPlan,
    parse_where,
)
from checkpointdb.cli import amounts
from checkpointdb.cli.command import Command, Output
from checkpointdb.cli.exits import ERROR
from checkpointdb.cli.fields import notes_on_absent
from checkpointdb.cli.keeping import is_meant
from checkpointdb.cli.session import Session
from checkpointdb.cli.terminal import Table, count, moment, safe, size
from checkpointdb.filters import fields_in

SHAPE: Final = {
    "policy": "text",
    "is_dry_run": "true or false",
    "checkpoints": [
        {
            "checkpoint_id": "text",
            "created_at": "text",
            "stored_bytes": "number",
            "is_kept": "true or false",
            "reasons": ["text"],
        }
    ],
    "forgotten": ["text"],
    "spared": [{"checkpoint_id": "text", "reason": "text"}],
    "freed_payloads": "number",
    "freed_bytes": "number",
}
_count: Final = click.IntRange(1, 2**63 - 1)
_COUNTED: Final = {
    "keep_last": ("the newest N", KeepNewest),
    "keep_hourly": ("the newest of each of the last N hours that have one", KeepHourly),
    "keep_daily": ("the newest of each of the last N days", KeepDaily),
    "keep_weekly": ("the newest of each of the last N weeks", KeepWeekly),
    "keep_monthly": ("the newest of each of the last N months", KeepMonthly),
    "keep_yearly": ("the newest of each of the last N years", KeepYearly),
}
_pair: Final[dict[str, Any]] = {
    "type": (_count, str),
    "multiple": True,
    "metavar": "N FIELD",
}


def counted_options(command: Any) -> Any:
    """Give a command the options of rules that count times."""
    for name, (what, _) in reversed(_COUNTED.items()):
        option = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=_count,
            metavar="N",
            help=f"Keep {what}.",
        )
        command = option(command)
    return command


@click.command(cls=Command, shape=SHAPE)
@counted_options
@click.option(
    "--keep-within",
    metavar="TIME",
    callback=amounts.age,
    help="Keep what is not older, such as 36h, 30d or 8w.",
)
@click.option("--keep-best", help="Keep the N with the highest number in FIELD.", **_pair)
@click.option("--keep-lowest", help="Keep the N with the lowest number in FIELD.", **_pair)
@click.option(
    "--keep-where",
    multiple=True,
    metavar="CONDITION",
    help="Keep what a condition matches, as in `list --where`.",
)
@click.option("--keep-until-backed-up", is_flag=True, help="Keep what no backup has yet.")
@click.option(
    "--at-most-bytes",
    metavar="BYTES",
    callback=amounts.byte_count,
    help="Of what is kept, forget the oldest until the files have at most so many bytes, such as "
    "1000000, 500MB or 2GiB.",
)
@click.option("--at-most-per", help="Keep at most N for each value of a metadata field.", **_pair)
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.pass_obj
def prune(session: Session, /, dry_run: bool, yes: bool, **options: Any) -> Output:
    """Forget what no rule keeps, and free its bytes; rules unite, limits take from what they keep.

    Pinned checkpoints, the one saved last, and what is dated in the future are never forgotten.
    """
    policy = _policy(options)
    with session.open() as store:
        plan = store.plan_retention(policy)
        notes = _notes(store, options)
        if dry_run or yes or not plan.forgotten:
            report = store.prune(plan, dry_run=dry_run)
            return _done(report, [_table(plan), "", _summary(report)], notes)
        planned = store.prune(plan, dry_run=True)
        shown: list[str | Table] = [_table(plan, only_forgotten=True), "", _summary(planned)]
        shown += [f"checkpointdb: {safe(each)}" for each in notes]
        if not is_meant(f"Forget {count(len(plan.forgotten), 'checkpoint')}?", shown):
            return _done(planned, ["nothing was forgotten"])._replace(exit=ERROR)
        report = store.prune(plan)
        return _done(report, [_summary(report)])


def rules_of_times(options: dict[str, Any]) -> list[Any]:
    """Return the rules that options describe: the counted ones, and --keep-within."""
    rules: list[Any] = [
        rule(options[name]) for name, (_, rule) in _COUNTED.items() if options[name]
    ]
    if options["keep_within"] is not None:
        rules.append(KeepWithin(timedelta(seconds=options["keep_within"])))
    return rules


def _policy(options: dict[str, Any]) -> Any:
    """Return the policy that options describe. Raises UsageError if there is none."""
    rules = rules_of_times(options)
    rules += [KeepBest(number, field) for number, field in options["keep_best"]]
    rules += [KeepBest(number, field, lowest=True) for number, field in options["keep_lowest"]]
    rules += [KeepWhere(parse_where(text), name=text) for text in options["keep_where"]]
    if options["keep_until_backed_up"]:
        rules.append(KeepUntilBackedUp())
    limits: list[Any] = [AtMostPer(number, field) for number, field in options["at_most_per"]]
    if options["at_most_bytes"] is not None:
        limits.append(AtMostBytes(options["at_most_bytes"]))
    if not rules and not limits:
        raise click.UsageError("say what to keep, such as --keep-last 10: nothing was forgotten")
    policy = reduce(or_, rules) if rules else limits.pop(0)
    for limit in limits:
        policy = policy & limit
    return policy


def _notes(store: PipelineCheckpoint, options: dict[str, Any]) -> tuple[str, ...]:
    """Say which metadata fields of rules and limits no checkpoint has."""
    by = ("keep_best", "keep_lowest", "at_most_per")
    ranked = [field for name in by for _, field in options[name]]
    asked = [each.path for text in options["keep_where"] for each in fields_in(text)]
    return (
        *notes_on_absent(store, ranked, ": no rule and no limit finds anything by it"),
        *notes_on_absent(store, asked),
    )


def _done(report: PruneReport, text: list[str | Table], notes: tuple[str, ...] = ()) -> Output:
    plan = report.plan
    facts = [
        {
            "checkpoint_id": each.checkpoint_id,
            "created_at": each.created_at,
            "stored_bytes": each.stored_bytes,
            "is_kept": each.is_kept,
            "reasons": list(each.reasons),
        }
        for each in plan.checkpoints
    ]
    document = {
        "policy": plan.policy,
        "is_dry_run": report.is_dry_run,
        "checkpoints": facts,
        "forgotten": list(report.forgotten),
        "spared": [{"checkpoint_id": each, "reason": why} for each, why in report.spared],
        "freed_payloads": report.freed_payloads,
        "freed_bytes": report.freed_bytes,
    }
    spared = tuple(f"{safe(each)} was spared: {why}" for each, why in report.spared)
    return Output(document, text, notes=(*notes, *spared))


def _table(plan: RetentionPlan, *, only_forgotten: bool = False) -> Table:
    rows = [
        (
            "keep" if each.is_kept else "forget",
            each.checkpoint_id,
            moment(each.created_at.isoformat()),
            ", ".join(each.reasons),
        )
        for each in plan.checkpoints
        if not (only_forgotten and each.is_kept)
    ]
    return Table(("", "id", "created", "why"), rows)


def _summary(report: PruneReport) -> str:
    would = "would be " if report.is_dry_run else ""
    return (
        f"{len(report.forgotten)} of {count(len(report.plan.checkpoints), 'checkpoint')} "
        f"{would}forgotten, {count(report.freed_payloads, 'file')} with "
        f"{size(report.freed_bytes)} {would}freed"
    )


COMMANDS: Final[tuple[click.Command, ...]] = (prune,)
