"""What many processes saw of one store, explained by a store that does one call at a time.

Threads of several processes save, replace, load whole and in part, delete, prune and pin a few
ids, while another process compacts, merges, checks and sweeps all the time, and one more
re-encrypts; one of those that work is killed. CHECKPOINTDB_HISTORY_SECONDS says for how long.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from breaking import HARMLESS, end_well
from effort import LONG, some
from linearizing import unexplained
from postgres_server import connected
from witnesses import IDS, KILLED, RETAINED, Log, Room, Worker

SECONDS = float(os.environ.get("CHECKPOINTDB_HISTORY_SECONDS", some(2, long=30)))
PROCESSES, THREADS = 2, 2  # what is possible doubles with each


def start(kind: str, directory: Path, name: str, *arguments: object) -> subprocess.Popen[str]:
    program = Path(__file__).with_name("witnesses.py")
    return subprocess.Popen(
        [sys.executable, "-W", "error", program, kind, directory, name, *map(str, arguments)],
        env={**os.environ, "PGAPPNAME": name},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def witnessed(room: Room) -> list[str]:
    """Let everybody work in a store, one of them until it is killed; return what they print."""
    room.open().close()
    crowd = [start("work", room.directory, f"p{n}", THREADS, SECONDS) for n in range(PROCESSES)]
    kinds = ["upkeep", "rotation"] if room.options["sealed"] else ["upkeep"]
    crowd += [start(kind, room.directory, kind, SECONDS) for kind in kinds]
    with start("work", room.directory, KILLED, 1, SECONDS + 1000) as victim:
        for each in [*crowd, victim]:
            assert each.stdout.readline() == "ready\n", each.stderr.read()
        for each in [*crowd, victim]:
            each.stdin.write("go\n")
            each.stdin.flush()
        time.sleep(SECONDS / 2)
        victim.kill()
        victim.wait()
        wait_for_the_server(room.options["database_url"])
        Log(room.directory / f"{KILLED}.log").died()
    return end_well(*crowd, longer=SECONDS)


def wait_for_the_server(url: str | None) -> None:
    """It may still commit what it was sent by the one that was killed."""
    if url is None:
        return
    with connected(sa.make_url(url)) as connection:
        of_the_killed = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s"
        while connection.execute(of_the_killed, [KILLED]).fetchall():
            time.sleep(0.02)


def look_at_the_end(room: Room) -> None:
    """What is there at the end is a part of the history: all of it, and each load."""
    with room.open() as handle:
        last = Worker("last", room, handle, Log(room.directory / "last.log"))
        last.list()
        for each in IDS:
            last.load(each)
        last.latest()
        kinds = {each.kind for each in handle.check(read_data=True).problems}
        assert kinds <= HARMLESS


CASES = {
    "plain, forgotten by hand": (False, None),
    "sealed, forgotten by retention": (True, RETAINED),
    "plain, forgotten by retention": (False, RETAINED),
    "sealed, forgotten by hand": (True, None),
}


ON = [(backend, case) for backend in ("sqlite", "postgresql") for case in CASES]


# The limit of every test, and longer by what is asked for and by what it takes to explain that.
@pytest.mark.timeout(300 + 4 * SECONDS)
@pytest.mark.parametrize(("backend", "case"), ON if LONG else [ON[0], ON[1], ON[5]])
def test_what_all_saw_is_explained_by_one_call_at_a_time(tmp_path, request, backend, case):
    sealed, retained = CASES[case]
    url = request.getfixturevalue("server_url") if backend == "postgresql" else None
    room = Room.make(tmp_path / "room", sealed=sealed, retained=retained, database_url=url)
    lines = witnessed(room)
    look_at_the_end(room)
    history = room.history()
    assert [line for line in lines if line.startswith("failed")] == []
    told = unexplained(history)
    assert told is None, told
    counts = Counter(each.what for each in history)
    print(f"{len(history)} calls in {SECONDS:g} s are explained:", dict(counts))
    print(*[line for line in lines if line.startswith("upkeep")], sep=", ")
