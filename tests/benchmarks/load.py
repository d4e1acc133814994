"""Twenty processes that save into one store on PostgreSQL: `make load`.

They save first into one pipeline, then into one each, while another process loads what is newest.
In the middle the server is restarted. At the end everything that was acknowledged is looked for,
and every byte is verified. The figures of one run stand in docs/how-to/run-on-many-machines.md.

`python -m tests.benchmarks.load worker …` is one of the processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from checkpointdb import (
    PipelineCheckpoint,
    RetentionPolicy,
    StoreBusyError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from tests import postgres_server

from .corpus import pieces

FAILURES = (StoreBusyError, StoreUnavailableError, UnknownOutcomeError)


def opened(directory: str, url: str, pipeline: str, durable: bool = True) -> PipelineCheckpoint:
    return PipelineCheckpoint(
        directory,
        database_url=url,
        pipeline=pipeline,
        retention_policy=RetentionPolicy.KEEP_ALL,
        durable=durable,
    )


def work(what: str, directory: str, url: str, pipeline: str, name: str, seconds: float) -> None:
    """Save, or load what is newest, for a while; then tell what came of it, as JSON."""
    handle = opened(directory, url, pipeline)
    state = {str(number): text for number, text in enumerate(pieces(10, 1000))}
    print("ready", flush=True)
    sys.stdin.readline()
    done: list[str] = []
    spent: list[float] = []
    failed: list[str] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        key = str(len(done) % 10)
        state[key] = f"{len(done)}{state[key][-1000:]}"
        begun = time.monotonic()
        try:
            if what == "load":
                handle.load_latest()
                done.append("")
            else:
                done.append(handle.save(state, f"{name}-{len(done) + len(failed)}"))
        except FAILURES as error:
            failed.append(f"{type(error).__name__}: {error}")
            time.sleep(0.05)
        spent.append(time.monotonic() - begun)
    handle.close()
    print(json.dumps({"done": done, "spent": spent, "failed": failed}), flush=True)


def crowd(directory: str, url: str, pipelines: list[str], seconds: float, restart: Any) -> Any:
    """Run a writer for each pipeline named, and a loader; return what the writers and it told."""
    started = [start("save", directory, url, each, f"w{n}", seconds)
               for n, each in enumerate(pipelines)]  # fmt: skip
    started.append(start("load", directory, url, pipelines[0], "loader", seconds))
    for each in started:
        each.stdout.readline()
    for each in started:
        each.stdin.write("go\n")
        each.stdin.flush()
    time.sleep(seconds / 2)
    restart()
    told = []
    for each in started:
        output, _ = each.communicate()
        assert each.returncode == 0
        told.append(json.loads(output))
    return told[:-1], told[-1]


def start(*arguments: object) -> Any:
    command = [sys.executable, "-m", __spec__.name, "worker", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def verified(directory: str, url: str, pipelines: list[str], writers: Any) -> tuple[int, int]:
    """Return how many acknowledged saves are not there, and how many problems `check` finds."""
    there = {}
    for pipeline in set(pipelines):
        with opened(directory, url, pipeline) as handle:
            there[pipeline] = {each.checkpoint_id for each in handle.list_checkpoints()}
    with opened(directory, url, pipelines[0]) as handle:
        problems = len(handle.check(read_data=True).problems)
    lost = sum(
        checkpoint_id not in there[pipeline]
        for pipeline, each in zip(pipelines, writers, strict=True)
        for checkpoint_id in each["done"]
    )
    return lost, problems


def report(title: str, directory: str, url: str, pipelines: list[str], seconds: float,
           restart: Any) -> bool:  # fmt: skip
    """Run a crowd and print its figures; return whether all is well."""
    with opened(directory, url, pipelines[0]) as handle:
        handle.save({"first": 1}, "first")
    writers, loader = crowd(directory, url, pipelines, seconds, restart)
    lost, problems = verified(directory, url, pipelines, writers)
    saves = sum(len(each["done"]) for each in writers)
    spent = sorted(second for each in writers for second in each["spent"])
    failed = [each for writer in writers for each in writer["failed"]]
    print(
        f"{title:22} {saves / seconds:7.0f} saves/s   median {statistics.median(spent) * 1000:5.0f}"
        f" ms   99 % {spent[int(len(spent) * 0.99)] * 1000:5.0f} ms   "
        f"{len(loader['done']) / seconds:5.0f} loads/s   {saves} acknowledged, {lost} lost, "
        f"{len(failed)} refused at the restart, {problems} problems"
    )
    for each in sorted({text.split(" failed (")[0] for text in failed}):
        print(f"    {each}")
    return not lost and not problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--no-restart", action="store_true")
    given = parser.parse_args()
    with postgres_server.running(fsync="on") as server, tempfile.TemporaryDirectory() as folder:
        if server is None:
            print("PostgreSQL is not installed (apt-get install postgresql)")
            return 1
        restart = (lambda: None) if given.no_restart else (lambda: server.restart("immediate"))
        one = ["all"] * given.writers
        many = [f"p{number}" for number in range(given.writers)]
        whole = True
        for title, pipelines in (("one pipeline", one), ("a pipeline each", many)):
            url = server.database().render_as_string()
            directory = str(Path(folder) / title)
            whole &= report(title, directory, url, pipelines, given.seconds, restart)
    return 0 if whole else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        what, directory, url, pipeline, name, seconds = sys.argv[2:]
        work(what, directory, url, pipeline, name, float(seconds))
    else:
        sys.exit(main())
