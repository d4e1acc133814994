"""100 000 checkpoints: the plan that forgets nine of ten, and its execution, files and all.

Method: a store filled by bulk insert, 500 chains of 200 checkpoints of ten keys. Each save changes
one key and brings a payload of its own. Each payload has a file, though an empty one: unlinking
counts. The policy unites the newest tenth with calendar rules, the best, and a condition.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from checkpointdb import (
    KeepBest,
    KeepDaily,
    KeepMonthly,
    KeepNewest,
    KeepWeekly,
    KeepWhere,
    Retention,
    meta,
)

from . import bench_filters
from .figures import Figure, Setting, ms, seconds

COUNT = 100_000
FEW = 10_000
KEYS = 10
CHANGED = 1
CHAIN = 200
BYTES = 4_000  # of a payload
PLAN_MS = 1_000
FORGET_MS = 5_000

Row = tuple[object, ...]


def run(setting: Setting) -> Iterator[Figure]:
    count = setting.size(COUNT, quick=FEW)
    fill(setting.folder, count)
    rules = policy(count)
    with bench_filters.opened(setting.folder) as store:
        plan = store.plan_retention(rules)
        spent = [seconds(lambda: store.plan_retention(rules)) for _ in range(setting.rounds(5))]
        forgetting = seconds(lambda: store.prune(plan))
        assert store.get_statistics()["total_checkpoints"] == len(plan.kept)
    median = sorted(spent)[len(spent) // 2]
    forgotten, of = len(plan.forgotten), f"{len(plan.checkpoints):,}"
    yield Figure(
        f"plan for {of}, with freed bytes",
        median * 1000,
        "ms",
        ms(median),
        at_most=PLAN_MS,
        samples={"ours": spent},
    )
    yield Figure(
        f"forget {forgotten:,} of {of}, unlink {plan.freed_payloads:,} files",
        forgetting * 1000,
        "ms",
        ms(forgetting),
        at_most=FORGET_MS,
    )


def policy(count: int) -> Retention:
    return (
        KeepNewest(count // 10)
        | KeepDaily(30)
        | KeepWeekly(12)
        | KeepMonthly(12)
        | KeepBest(20, "accuracy")
        | KeepWhere(meta("accuracy") < 0.0001, "poor")
    )


# --- the store


def fill(folder: Path, count: int) -> None:
    """Make a store of `count` checkpoints, a row and a file of each payload included."""
    bench_filters.opened(folder).close()
    with closing(sqlite3.connect(folder / bench_filters.DATABASE)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("INSERT INTO pipelines VALUES (1, 'main', 1)")
        for table, columns, rows in tables(count):
            marks = ", ".join("?" * len(columns.split(",")))
            connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
    directory = folder / "payloads" / "p-main"
    directory.mkdir(parents=True)
    for number in range(count):
        (directory / f"{number}.ckpt.gz").write_bytes(b"")


def tables(count: int) -> Iterator[tuple[str, str, Iterator[Row]]]:
    """Yield each table with its columns and rows; a payload has the number of its checkpoint."""
    every = range(count)
    digest = bytes(32)
    yield (
        "payloads",
        "id, pipeline_id, name, sha256, stored_bytes, raw_bytes, created_at",
        ((n + 1, 1, f"p-main/{n}.ckpt.gz", digest, BYTES, BYTES, moment(n)) for n in every),
    )
    yield (
        "members",
        "id, payload_id, offset, stored_bytes, raw_bytes, sha256",
        ((n + 1, n + 1, 0, BYTES, BYTES, digest) for n in every),
    )
    yield (
        "chains",
        "id, uuid, pipeline_id, next_depth",
        ((n + 1, f"{n:032x}", 1, CHAIN) for n in range(count // CHAIN)),
    )
    yield "checkpoints", *checkpoints(count)
    yield (
        "checkpoint_metadata",
        "checkpoint_id, key, number",
        ((n + 1, "accuracy", n * 7919 % count / count) for n in every),
    )
    openings = [opening for n in every for opening in opened_by(n)]
    yield (
        "state_values",
        "id, pipeline_id, digest, type_name, serializer, layout, raw_bytes, payload_id, member_id,"
        " offset",
        (
            (value, 1, digest, "list", "pickle5", "", 1, n + 1, n + 1, 0)
            for value, (n, _, _) in enumerate(openings, 1)
        ),
    )
    yield (
        "entries",
        "chain_id, key, from_depth, to_depth, value_id, position, payload_id",
        (
            (n // CHAIN + 1, f"key-{key}", n % CHAIN, until, value, key, n + 1)
            for value, (n, key, until) in enumerate(openings, 1)
        ),
    )


def checkpoints(count: int) -> tuple[str, Iterator[Row]]:
    columns = (
        "id, pipeline_id, checkpoint_id, chain_id, depth, created_at, format_version, payload_id,"
        " is_incremental, since_full, is_encrypted, state_digest, state_bytes, stored_bytes,"
        " key_count, pinned, custom_metadata"
    )
    fixed = (0, 0, 0, bytes(32), 1, BYTES, KEYS)
    rows = (
        (
            n + 1,
            1,
            f"c{n}",
            n // CHAIN + 1,
            n % CHAIN,
            moment(n),
            2,
            n + 1,
            *fixed,
            n % 997 == 0,
            "{}",
        )
        for n in range(count)
    )
    return columns, rows


def opened_by(number: int) -> Iterator[tuple[int, int, int | None]]:
    """Yield the keys that a checkpoint opens, in turn, and the depth at which each closes."""
    depth = number % CHAIN
    keys = (
        range(KEYS) if depth == 0 else {(depth * CHANGED + each) % KEYS for each in range(CHANGED)}
    )
    for key in sorted(keys):
        later = (d for d in range(depth + 1, min(depth + KEYS, CHAIN)) if key in changed_at(d))
        yield number, key, next(later, None)


def changed_at(depth: int) -> set[int]:
    return {(depth * CHANGED + each) % KEYS for each in range(CHANGED)}


def moment(number: int) -> str:
    start = datetime(2025, 1, 1)  # noqa: DTZ001  # as SQLite keeps it
    return (start + timedelta(minutes=5 * number)).isoformat(" ", "microseconds")
