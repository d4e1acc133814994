"""Processes that share a store in a bucket, one that is killed while it saves, one that forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from checkpointdb import PipelineCheckpoint, RetentionPolicy
from checkpointdb.sweep import sweep

SAVES = """
import random, sys
from checkpointdb import PipelineCheckpoint
directory, url, size = sys.argv[1:]
blob = random.Random(1).randbytes(int(size))
store = PipelineCheckpoint(directory, payload_url=url, retention_count=2)
for n in range(9):
    store.save({"n": n, "blob": blob}, f"n{n}", force_full=True)
    print(n, flush=True)
"""

FORKS = """
import os, sys
from checkpointdb import PipelineCheckpoint, StoreUnavailableError
store = PipelineCheckpoint(sys.argv[1], payload_url=sys.argv[2])
store.save({"n": 0}, "before")
pid = os.fork()
if not pid:
    assert [each.checkpoint_id for each in store.list_checkpoints()] == ["before"]
    for attempt in (lambda: store.save({"n": 1}, "child"), lambda: store.load("before")):
        try:
            attempt()
        except StoreUnavailableError as error:
            assert "spawn" in str(error), error
        else:
            os._exit(3)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
store.save({"n": 2}, "after")
assert store.load("after") == {"n": 2}
"""


CROWD = """
import sys
from checkpointdb import PipelineCheckpoint
directory, url, number = sys.argv[1:]
with PipelineCheckpoint(directory, payload_url=url, retention_count=4) as store:
    for n in range(8):
        store.save({"n": n, "shared": list(range(500))}, f"p{number}-{n}")
        assert store.load_latest() is not None
        if n % 4 == 3:
            store.compact(min_dead=0.2)
"""


def start(code, *args):
    words = [sys.executable, "-W", "ignore", "-c", code, *map(str, args)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("method", "at", "size"),
    [
        ("PUT", 7, 10),  # an object, before or after it is stored; two are the probe's, one a claim
        ("HEAD", 4, 10),  # it is there, and its row is not
        ("POST", 2, 10),  # its row is there, and what that freed is not gone; one is the probe's
        ("PUT", 9, 9 << 20),  # a part
        ("POST", 5, 9 << 20),  # the parts are being joined
    ],
    ids=["put", "look", "delete", "part", "join"],
)
def test_what_was_acknowledged_survives(proxy, proxied, tmp_path, method, at, size):
    left = iter(range(at - 1))
    killed = []

    def kill():
        killed.append(process.pid)
        os.kill(process.pid, signal.SIGKILL)  # the request is passed on all the same

    def fault(request):
        is_last = request.startswith(method) and next(left, None) is None and not killed
        return kill if is_last else None

    proxy.fault = fault
    process = start(SAVES, tmp_path / "store", proxied, size)
    said = process.communicate(timeout=120)[0].split()
    assert process.returncode == -signal.SIGKILL
    acknowledged = [f"n{n}" for n in said]
    with PipelineCheckpoint(tmp_path / "store", retention_policy=RetentionPolicy.KEEP_ALL) as store:
        found = {each.checkpoint_id for each in store.list_checkpoints()}
        assert set(acknowledged[-1:]) <= found
        assert {each: store.load(each)["n"] for each in found} == {
            each: int(each[1:]) for each in found
        }
        assert {each.kind for each in store.check(read_data=True).problems} <= {"orphan"}
        later = datetime.now(UTC) + timedelta(days=2)
        sweep(store._engine.database, store._engine.payloads, now=later)
        assert store.check().is_ok


def test_processes_share_a_store_in_a_bucket(moto, tmp_path):
    url = moto.place()
    PipelineCheckpoint(tmp_path / "store", payload_url=url).close()
    crowd = [start(CROWD, tmp_path / "store", url, number) for number in range(3)]
    for process in crowd:
        process.communicate(timeout=120)
    assert [process.returncode for process in crowd] == [0, 0, 0]
    with PipelineCheckpoint(tmp_path / "store", retention_policy=RetentionPolicy.KEEP_ALL) as store:
        assert len(store.list_checkpoints()) == 4
        assert store.check(read_data=True).problems == ()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_process_that_used_a_bucket_is_told_so(proxied, tmp_path):
    process = start(FORKS, tmp_path / "store", proxied)
    process.communicate(timeout=60)
    assert process.returncode == 0
