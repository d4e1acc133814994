"""Filter a million checkpoints: how long the newest 50 that match take to list.

    python -m tests.benchmarks.bench_filters [--checkpoints 1000000] [--store FOLDER] [--explain]

Method: a SQLite store filled by bulk insert, its metadata in random order; each question is
asked by `list_checkpoints`, once to warm up and then `--rounds` times; medians in milliseconds
of the whole call. First as a store is in use, which never ran ANALYZE, then after ANALYZE.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from checkpointdb import (
    CheckpointMetadata,
    PipelineCheckpoint,
    RetentionPolicy,
    checkpoints,
    has_key,
    meta,
)

DATABASE = "checkpoints.db"
LIMIT = 50
TARGET_MS = 5.0
CHAIN = 200  # checkpoints in a chain
STAGES = ("read", "tokenize", "index", "score", "graph")


# --- what is measured


def opened(folder: Path) -> PipelineCheckpoint:
    return PipelineCheckpoint(folder, pipeline="main", retention_policy=RetentionPolicy.KEEP_ALL)


def newest(store: PipelineCheckpoint, where: sa.ColumnElement[bool]) -> list[CheckpointMetadata]:
    return store.list_checkpoints(where=where, limit=LIMIT)


def questions() -> Iterator[tuple[str, sa.ColumnElement[bool]]]:
    """Yield each question with its name: a share of the checkpoints alone, then combined."""
    large = checkpoints.c.state_bytes > 10**6
    host = meta("run.host") == "n17"
    stage = meta("stage") == "graph"
    for percent in (0.01, 0.1, 0.3, 0.5, 1, 10, 90):
        good = meta("accuracy") > 1 - percent / 100
        yield f"{percent:g} %", good
        yield f"{percent:g} % & large (50 %)", good & large
        yield f"{percent:g} % & host (2.5 %)", good & host
        yield f"{percent:g} % & stage (20 %)", good & stage
    yield "host (2.5 %)", host
    yield "stage (20 %)", stage
    yield "0.01 % | 0.01 %", (meta("accuracy") > 0.9999) | (meta("accuracy") < 0.0001)
    yield "not 90 %", ~(meta("accuracy") < 0.9)
    yield "stage != (80 %)", meta("stage") != "graph"
    yield "prefix (27 %)", meta("run.host").startswith("n1")
    yield "key in all", has_key("model")
    yield "key in 0.1 %, old", has_key("causal_graph")
    yield "the key & 10 %", has_key("causal_graph") & (meta("accuracy") > 0.9)
    yield "field in none", meta("absent").exists()


# --- the store


def fill(folder: Path, count: int) -> None:
    """Make a store with `count` checkpoints of three metadata fields each."""
    opened(folder).close()
    connection = sqlite3.connect(folder / DATABASE, isolation_level=None)
    connection.execute("PRAGMA cache_size = -1000000")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    _insert_chains(connection, count // CHAIN + 1)
    accuracies = [(number + 0.5) / count for number in range(count)]
    random.Random(0).shuffle(accuracies)
    connection.executemany(CHECKPOINT, _checkpoints(accuracies))
    connection.executemany(FIELD, _fields(accuracies))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


CHECKPOINT = """
INSERT INTO checkpoints (
    id, pipeline_id, checkpoint_id, chain_id, depth, created_at, format_version, payload_id,
    is_incremental, since_full, is_encrypted, state_digest, state_bytes, stored_bytes, key_count,
    pinned, custom_metadata
) VALUES (?, 1, ?, ?, ?, ?, 2, ?, ?, ?, 0, ?, ?, ?, 3, 0, ?)
"""
FIELD = "INSERT INTO checkpoint_metadata (checkpoint_id, key, number, text) VALUES (?, ?, ?, ?)"


def _insert_chains(connection: sqlite3.Connection, chains: int) -> None:
    moment = "2026-01-01 00:00:00.000000"
    digest = bytes(32)
    every = range(1, chains + 1)
    connection.execute("INSERT INTO pipelines VALUES (1, 'main', 1)")
    connection.executemany(
        "INSERT INTO payloads (id, pipeline_id, name, sha256, stored_bytes, raw_bytes, created_at)"
        " VALUES (?, 1, ?, ?, 5000, 20000, ?)",
        ((each, f"p-main/{each}.ckpt.gz", digest, moment) for each in every),
    )
    connection.executemany(
        "INSERT INTO chains (id, uuid, pipeline_id, next_depth) VALUES (?, ?, 1, ?)",
        ((each, f"{each:032x}", CHAIN) for each in every),
    )
    connection.execute(
        "INSERT INTO state_values (id, pipeline_id, digest, type_name, serializer, layout,"
        " raw_bytes, payload_id) VALUES (1, 1, ?, 'list', 'pickle5', '', 1, 1)",
        (digest,),
    )
    keys = [(each, name) for each in every for name in ("corpus", "index", "model")]
    keys += [(each, "causal_graph") for each in every[: max(chains // 1000, 1)]]
    connection.executemany(
        "INSERT INTO entries (chain_id, key, from_depth, value_id, position, payload_id)"
        " VALUES (?, ?, 0, 1, 0, ?)",
        ((chain, key, chain) for chain, key in keys),
    )


def _checkpoints(accuracies: list[float]) -> Iterator[tuple[object, ...]]:
    source = random.Random(1)
    start = datetime(2026, 1, 1)  # noqa: DTZ001  # as SQLite keeps it
    for number, accuracy in enumerate(accuracies):
        chain, depth = divmod(number, CHAIN)
        moment = (start + timedelta(seconds=number)).isoformat(" ", "microseconds")
        yield (
            *(number + 1, f"ckpt_{number:08d}", chain + 1, depth, moment, chain + 1),
            *(depth > 0, depth, source.randbytes(32)),
            *(source.randrange(2 * 10**6), source.randrange(20_000)),
            json.dumps({"accuracy": accuracy, "stage": _stage(number), "run": _run(number)}),
        )


def _fields(accuracies: list[float]) -> Iterator[tuple[object, ...]]:
    for number, accuracy in enumerate(accuracies):
        yield number + 1, "accuracy", accuracy, None
        yield number + 1, "run.host", None, _run(number)["host"]
        yield number + 1, "stage", None, _stage(number)


def _stage(number: int) -> str:
    return STAGES[number % len(STAGES)]


def _run(number: int) -> dict[str, str]:
    return {"host": f"n{number // 5 % 40}"}


# --- the report


def median_ms(ask: Callable[[], object], rounds: int) -> float:
    ask()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def measure(store: PipelineCheckpoint, rounds: int, explain: bool) -> dict[str, float]:
    times = {}
    for name, where in questions():
        times[name] = median_ms(lambda where=where: newest(store, where), rounds)
        if explain:
            print(f"\n{name}: {times[name]:.2f} ms")
            print("\n".join(plans(store, where)))
    return times


def plans(store: PipelineCheckpoint, where: sa.ColumnElement[bool]) -> list[str]:
    """Return SQLite's plan of every statement that `newest` executes."""
    statements: list[tuple[str, object]] = []

    def note(_c: object, _u: object, statement: str, values: object, *_: object) -> None:
        statements.append((statement, values))

    with store.query() as connection:
        engine = connection.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        newest(store, where)
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    with store.query() as connection:
        return [
            "    " + step[3]
            for statement, values in statements
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]


def report(columns: dict[str, dict[str, float]]) -> None:
    first = next(iter(columns.values()))
    print(f"\n{'median ms, newest ' + str(LIMIT):28}", *(f"{name:>16}" for name in columns))
    for question in first:
        times = [column[question] for column in columns.values()]
        mark = "" if max(times) < TARGET_MS else f"  over {TARGET_MS:g}"
        print(f"{question:28}", *(f"{each:16.2f}" for each in times), mark)


def run(folder: Path, options: argparse.Namespace) -> None:
    if not (folder / DATABASE).exists():
        print(f"filling {folder} with {options.checkpoints:,} checkpoints …", flush=True)
        fill(folder, options.checkpoints)
    machine = f"{platform.platform()}, {os.cpu_count()} cores"
    print(f"{machine}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")
    columns = {}
    for name, statement in (("no statistics", ""), ("after ANALYZE", "ANALYZE")):
        execute(folder, statement)
        with opened(folder) as store:
            columns[name] = measure(store, options.rounds, options.explain)
    execute(folder, "DROP TABLE sqlite_stat1")
    report(columns)


def execute(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.execute(statement)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--checkpoints", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--store", type=Path, help="keep the store here, and use it again")
    parser.add_argument("--explain", action="store_true", help="print SQLite's plans")
    options = parser.parse_args()
    if options.store is not None:
        options.store.mkdir(parents=True, exist_ok=True)
        run(options.store, options)
        return
    with tempfile.TemporaryDirectory(prefix="checkpointdb-bench-") as folder:
        run(Path(folder), options)


if __name__ == "__main__":
    main()
