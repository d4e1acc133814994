"""What the hot paths are counted by: statements, bytes hashed, allocations, functions.

A count that grows without anybody's noticing is how an engine becomes slow; no clock is asked, so
that these fail on every machine or on none.
"""

from __future__ import annotations

import re
import sys
import threading
import tracemalloc
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import Any

from psycopg.pq import Trace
from sqlalchemy import event
from sqlalchemy.pool import Pool

from checkpointdb import PipelineCheckpoint


def expect(path: str, found: object, expected: object) -> None:
    """Fail unless a path costs what it did."""
    assert found == expected, (
        f"{path} costs {found}, where it cost {expected}. If it costs more: does it have to? Each "
        "save and load of everybody pays for it. If it is meant, or it costs less: change the "
        "number here, and say in the commit what it buys."
    )


def await_errands(handle: PipelineCheckpoint) -> None:
    """Wait until the other thread has unlinked what a save freed."""
    done = threading.Event()
    handle._engine.pool.send(done.set)
    done.wait()


class Statements:
    """What SQLite runs in every connection that is made from now on, each row of many its own."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        event.listen(Pool, "connect", self._listen)

    def _listen(self, connection: object, _record: object) -> None:
        connection.set_trace_callback(self._texts.append)

    def stop(self) -> None:
        event.remove(Pool, "connect", self._listen)

    def of(self, act: Callable[[], object]) -> tuple[int, int]:
        """How many an act runs, and in how many transactions."""
        self._texts.clear()
        act()
        texts = [each for each in self._texts if not each.startswith("--")]  # not a trigger's
        begun = [each for each in texts if each.startswith("BEGIN")]
        ended = [each for each in texts if re.match("COMMIT|ROLLBACK", each)]
        return len(texts) - len(begun) - len(ended), len(begun)


class RoundTrips:
    """What is sent to PostgreSQL, and waited for, by connections that are made from now on.

    As libpq itself traces it: a statement is one, and so is a pipeline of many.
    """

    def __init__(self) -> None:
        self._connections: list[Any] = []
        event.listen(Pool, "connect", self._listen)

    def _listen(self, connection: object, _record: object) -> None:
        self._connections.append(connection)

    def stop(self) -> None:
        event.remove(Pool, "connect", self._listen)

    def of(self, act: Callable[[], object]) -> int:
        with TemporaryFile() as file:
            traced = [each.pgconn for each in self._connections if not each.closed]
            for each in traced:
                each.trace(file.fileno())
                each.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
            act()
            for each in traced:
                each.untrace()  # which writes what is left
            file.seek(0)
            messages = [line.rstrip().split(b"\t", 3) for line in file]
        return sum(each[0] == b"F" and each[2] in {b"Query", b"Sync"} for each in messages)


class Steps:
    """What SQLite's machine executes in every connection that is made from now on: a row that is
    looked at costs some, so that what grows with a table is seen, whatever its plan is named."""

    def __init__(self) -> None:
        self._count = 0
        event.listen(Pool, "connect", self._listen)

    def _listen(self, connection: object, _record: object) -> None:
        connection.set_progress_handler(self._step, 1)

    def _step(self) -> None:
        self._count += 1

    def stop(self) -> None:
        event.remove(Pool, "connect", self._listen)

    def of(self, act: Callable[[], object]) -> int:
        before = self._count
        act()
        return self._count - before


class Hashing:
    """Counts the bytes that go through a hash function, with all that is hashed by it."""

    def __init__(self, function: Callable) -> None:
        self._function = function
        self.total = 0

    def __call__(self, data: bytes = b"") -> Hash:
        self.total += len(data)
        return Hash(self, self._function(data))

    def of(self, act: Callable[[], object]) -> int:
        before = self.total
        act()
        return self.total - before


class Hash:
    """A hash that is being made."""

    def __init__(self, counting: Hashing, made: object) -> None:
        self._counting, self._made = counting, made
        self.digest = made.digest

    def update(self, data: bytes) -> None:
        self._counting.total += len(data)
        self._made.update(data)


def most_allocated(act: Callable[[], object]) -> int:
    """The bytes that are allocated at most while something is done."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        act()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def functions_called(act: Callable[[], object]) -> int:
    """How many functions of Python this thread calls while something is done."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count
