"""Processes that work in one store and write down what they called, when, and what they saw.

    python witnesses.py work ROOM NAME THREADS SECONDS
    python witnesses.py upkeep ROOM NAME SECONDS
    python witnesses.py rotation ROOM NAME SECONDS

A line for each beginning of a call and one for each end, so that a call that was killed is known
to have begun. Times are of one clock for all processes (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from linearizing import NEVER, Call, Checkpoint

sys.path.insert(0, str(Path(__file__).parents[1]))

from breaking import array_state_of, state_of, streamed_state_of, tag_of

from checkpointdb import (
    CheckpointError,
    EncryptionError,
    KeepNewest,
    NotFoundError,
    PipelineCheckpoint,
)

IDS = [f"i{number}" for number in range(6)]
RETAINED = 5  # by saves, where they have retention
KEYS = [base64.urlsafe_b64encode(bytes([each]) * 32) for each in range(10)]
KILLED = "killed"  # the name of the process that will be
WORKERS_KEY = KEYS[0]  # those who re-encrypt have the others, in turn


class Room:
    """A directory with a store, and how it is opened, which every process reads there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.options = json.loads((directory / "room.json").read_text())

    @staticmethod
    def make(directory: Path, **options: object) -> Room:
        directory.mkdir()
        (directory / "room.json").write_text(json.dumps(options))
        return Room(directory)

    def open(self, key: bytes = WORKERS_KEY) -> PipelineCheckpoint:
        retained = self.options["retained"]
        return PipelineCheckpoint(
            self.directory / "store",
            key if self.options["sealed"] else None,
            self.options["sealed"],
            retention_policy=KeepNewest(retained or 1_000),
            durable=False,
            database_url=self.options["database_url"],
        )

    def history(self) -> list[Call]:
        """What all have written down."""
        return [each for log in self.directory.glob("*.log") for each in read(log)]


class Log:
    """What one process writes down; each line at once, so that a kill leaves only whole ones."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._numbers = itertools.count()
        self.name = path.stem

    def began(self, what: str, about: object) -> int:
        number = next(self._numbers)
        self._write({"number": number, "what": what, "about": about, "began": time.monotonic_ns()})
        return number

    def ended(self, number: int, found: object, *, is_known: bool = True) -> None:
        ended = time.monotonic_ns()
        line = {"number": number, "found": found, "is_known": is_known}
        self._write({**line, "ended": ended})

    def died(self) -> None:
        """Write down that what has no end has happened by now, or never."""
        self._write({"died": time.monotonic_ns()})

    def _write(self, line: dict[str, object]) -> None:
        os.write(self._file, (json.dumps(line) + "\n").encode())


def read(log: Path) -> list[Call]:
    """The calls of a log. One without an end was killed: nobody knows."""
    calls: dict[int, Call] = {}
    for line in map(json.loads, log.read_text().splitlines()):
        if "died" in line:
            for number, call in calls.items():
                calls[number] = call._replace(ended=min(call.ended, line["died"]))
            continue
        number = line.pop("number")
        if "what" in line:
            about = _tuples(line.pop("about"))
            calls[number] = Call(log.stem, ended=NEVER, is_known=False, about=about, **line)
        else:
            found = _tuples(line.pop("found"))
            if calls[number].what == "list":
                found = tuple(Checkpoint(*each) for each in found)
            calls[number] = calls[number]._replace(found=found, **line)
    return list(calls.values())


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# --- what the workers call


class GoneMeanwhile(Exception):
    """What was found is gone before all of it was read: nobody knows what it was."""


def whole(state: Mapping[str, object]) -> str:
    """Return the tag of a state whose streams, and lazy values, are read only here."""
    try:
        return tag_of(dict(state))
    except NotFoundError as error:
        raise GoneMeanwhile from error


class Worker:
    """One thread, with a handle that it may share with others."""

    def __init__(self, name: str, room: Room, handle: PipelineCheckpoint, log: Log) -> None:
        self.name, self.handle, self.log = name, handle, log
        self.room, self.own = room, None  # a handle that nobody shares
        self.retained = room.options["retained"]
        self.is_killed = log.name == KILLED
        self.random = random.Random(name)
        self.saves = 0

    def run(self, until: float) -> None:
        acts = {
            self.save: 7,
            self.load: 7,
            self.load_a_part: 4,
            self.load_lazily: 1,
            self.delete: 2,
            self.prune: 1,
            self.pin: 1,
            self.unpin: 1,
            self.latest: 2,
            self.list: 2,
            self.lineage: 1,
            self.reopen: 0.5,
        }
        if self.is_killed:
            del acts[self.prune]  # whose answer, lost with it, is all that says what it forgot
        while time.monotonic() < until:
            self.random.choices(list(acts), list(acts.values()))[0]()

    def call(self, what: str, about: object, do: object) -> None:
        """Do something, and write down what it returns; or that it failed."""
        number = self.log.began(what, about)
        try:
            found = do()
        except GoneMeanwhile:
            self.log.ended(number, None, is_known=False)
        except CheckpointError as error:
            print("failed", what, about, type(error).__name__, error, flush=True)
            self.log.ended(number, True, is_known=False)
        else:
            self.log.ended(number, found)

    def save(self) -> None:
        self.saves += 1
        checkpoint_id = self.chosen()
        tag = f"{checkpoint_id} {self.name} {self.saves}"
        kinds = [state_of, array_state_of, streamed_state_of]
        state = self.random.choices(kinds, [6, 3, 1])[0](tag)
        is_full, waits = self.random.random() < 0.1, self.random.random() < 0.9

        def do() -> bool:
            options = {"force_full": is_full, "custom_metadata": {"tag": tag}}
            if waits or "stream" in state:
                self.handle.save(state, checkpoint_id, **options)
            else:
                self.handle.save(state, checkpoint_id, wait=False, **options).result()
            return True

        retained = [self.retained] if self.retained else []
        self.call("save", [checkpoint_id, tag, *retained], do)

    def load(self, checkpoint_id: str | None = None) -> None:
        checkpoint_id = checkpoint_id or self.chosen()
        self.call("load", checkpoint_id, lambda: self.seen(lambda: self.handle.load(checkpoint_id)))

    def load_a_part(self) -> None:
        """Two of the keys, of which one has the tag; the other must fit it."""
        checkpoint_id = self.chosen()
        key = self.random.choice(["own", "shared", "mixed", "tag"])

        def do() -> dict[str, object]:
            part = self.handle.load(checkpoint_id, keys=["again", key])
            assert part[key] == state_of(part["again"])[key], (checkpoint_id, key)
            return state_of(part["again"])

        self.call("load", checkpoint_id, lambda: self.seen(do))

    def load_lazily(self) -> None:
        """Value by value, each of the version that was there first; where that goes, nothing."""
        checkpoint_id = self.chosen()
        self.call("load", checkpoint_id, lambda: self.seen(lambda: self.handle.lazy(checkpoint_id)))

    def seen(self, load: object) -> str | None:
        try:
            found = load()
        except NotFoundError:
            return None
        return whole(found)

    def delete(self) -> None:
        self.on_one("delete", lambda name: self.handle.delete_checkpoint(name, missing_ok=False))

    def pin(self) -> None:
        self.on_one("pin", self.handle.pin)

    def unpin(self) -> None:
        self.on_one("unpin", self.handle.unpin)

    def on_one(self, what: str, act: object) -> None:
        checkpoint_id = self.chosen()

        def do() -> bool:
            try:
                act(checkpoint_id)
            except NotFoundError:
                return False
            return True

        self.call(what, checkpoint_id, do)

    def prune(self) -> None:
        self.call("prune", None, lambda: self.handle.prune(KeepNewest(2)).forgotten)

    def latest(self) -> None:
        def do() -> list[str] | None:
            found = self.handle.load_latest()
            return found and [found[0].checkpoint_id, whole(found[1])]

        self.call("latest", None, do)

    def list(self) -> None:
        def do() -> list[list[object]]:
            return [
                [each.checkpoint_id, each.custom_metadata["tag"], each.pinned]
                for each in self.handle.list_checkpoints(sort_by="id", reverse=False)
            ]

        self.call("list", None, do)

    def lineage(self) -> None:
        def do() -> list[list[object]]:
            return [[each.checkpoint_id, each.pinned] for each in self.handle.lineage()]

        self.call("lineage", None, do)

    def reopen(self) -> None:
        """Go on with another handle, which knows nothing of what this one saved."""
        if self.own is not None:
            self.own.close()
        self.handle = self.own = self.room.open()

    def chosen(self) -> str:
        return self.random.choice(IDS)


def work(room: Room, name: str, threads: str, seconds: str) -> None:
    """Threads in pairs, each pair with a handle of its own."""
    log = Log(room.directory / f"{name}.log")
    handles = [room.open() for _ in range((int(threads) + 1) // 2)]
    workers = [
        Worker(f"{name}.{number}", room, handles[number // 2], log)
        for number in range(int(threads))
    ]
    until = begin() + float(seconds)
    with ThreadPoolExecutor(len(workers)) as pool:
        for each in [pool.submit(worker.run, until) for worker in workers]:
            each.result()
    for handle in [*handles, *(each.own for each in workers if each.own)]:
        handle.close()


def begin() -> float:
    """Wait until all are there."""
    print("ready", flush=True)
    sys.stdin.readline()
    return time.monotonic()


# --- what goes on beside them, and changes nothing that anybody sees


def upkeep(room: Room, name: str, seconds: str) -> None:
    """Compact, merge, check, repair and sweep in turn. Prints how often."""
    chosen, done = random.Random(name), Counter()
    handle = room.open()
    acts = [compact, merge, check, sweep, repair, check_database]
    until = begin() + float(seconds)
    for act in itertools.cycle(acts):
        if time.monotonic() >= until:
            break
        act(handle, chosen)
        done[act.__name__] += 1
    handle.close()
    for what, count in done.items():
        print("upkeep", what, count, flush=True)


def rotation(room: Room, name: str, seconds: str) -> None:
    """Re-encrypt, again and again. Prints how often."""
    chosen, done, keys = random.Random(name), 0, itertools.cycle(KEYS[1:])
    with room.open() as handle:
        handle.add_key(key := next(keys))
    with room.open(key) as handle:
        until = begin() + float(seconds)
        while time.monotonic() < until:
            rotate(handle, next(keys))
            done += 1
            time.sleep(chosen.uniform(0, 0.2))
    print("upkeep rotate", done, flush=True)


def compact(handle: PipelineCheckpoint, chosen: random.Random) -> None:
    handle.compact(min_dead=chosen.choice([0.01, 0.5]))


def merge(handle: PipelineCheckpoint, chosen: random.Random) -> None:
    with suppress(NotFoundError):
        handle.merge(chosen.choice(IDS))


def check(handle: PipelineCheckpoint, _chosen: random.Random) -> None:
    problems = handle.check(read_data=True, grace=timedelta(days=1)).problems
    assert len(problems) <= 1, problems  # what the one save that is killed may leave
    assert {each.kind for each in problems} <= {"orphan"}, problems


def rotate(handle: PipelineCheckpoint, key: bytes) -> None:
    try:
        handle.rotate_key(key, reencrypt=True, keep=[WORKERS_KEY])
    except EncryptionError as error:
        # What the killed save has left, which nobody may write anew: then both master keys stay.
        if not str(error).startswith("1 files that no checkpoint needs"):
            raise


def check_database(handle: PipelineCheckpoint, _chosen: random.Random) -> None:
    problems = handle.check_database().problems
    assert problems == (), problems


def repair(handle: PipelineCheckpoint, chosen: random.Random) -> None:
    report = handle.repair(read_data=chosen.random() < 0.5)
    assert (report.damaged, report.lost, report.only_in_database, report.problems) == ((),) * 4


def sweep(handle: PipelineCheckpoint, _chosen: random.Random) -> None:
    handle.sweep()


if __name__ == "__main__":
    programs = {"work": work, "upkeep": upkeep, "rotation": rotation}
    import numpy  # noqa: F401 - here, since threads that import it at once trip each other

    programs[sys.argv[1]](Room(Path(sys.argv[2])), *sys.argv[3:])
