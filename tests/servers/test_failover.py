"""The server that leads is killed under load, and another takes its place."""

from __future__ import annotations

import threading
import time

import patroni_cluster
import pytest
from object_servers import ON_SERVERS

from checkpointdb import (
    PipelineCheckpoint,
    RetentionPolicy,
    StoreUnavailableError,
    UnknownOutcomeError,
)

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(not ON_SERVERS, reason="by make test-servers"),
    pytest.mark.timeout(600),
]
PIPELINES = ("p0", "p1", "p2")


@pytest.fixture(scope="module")
def cluster():
    if not patroni_cluster.is_here():
        pytest.skip("Patroni is not installed: apt-get install patroni etcd-server postgresql")
    with patroni_cluster.running() as cluster:
        yield cluster


class Saver(threading.Thread):
    """Saves again and again; knows what was acknowledged, what was refused, and the longest gap."""

    def __init__(self, directory, url, pipeline):
        super().__init__()
        self._options = {"database_url": url, "pipeline": pipeline}
        self._directory = directory
        self.acknowledged, self.refused, self.longest_seconds = [], [], 0.0
        self.unexpected = None
        self.is_ended = threading.Event()

    def run(self):
        try:
            self._save_on()
        except BaseException as error:
            self.unexpected = error
            raise

    def _save_on(self):
        last, number = time.monotonic(), 0
        options = {"retention_policy": RetentionPolicy.KEEP_ALL, **self._options}
        with PipelineCheckpoint(self._directory, **options) as handle:
            while not self.is_ended.is_set():
                number += 1
                try:
                    handle.save({"n": number}, f"{number}")
                except (StoreUnavailableError, UnknownOutcomeError) as error:
                    self.refused.append(str(error))
                    time.sleep(0.1)
                else:
                    now = time.monotonic()
                    self.longest_seconds = max(self.longest_seconds, now - last)
                    self.acknowledged.append(number)
                    last = now


def wait_for_more(savers, count=20):
    wanted = {saver: len(saver.acknowledged) + count for saver in savers}
    while any(len(saver.acknowledged) < until for saver, until in wanted.items()):
        assert not any(saver.unexpected for saver in savers)
        time.sleep(0.05)


def test_what_was_acknowledged_is_there_when_another_server_leads(cluster, tmp_path, capsys):
    PipelineCheckpoint(tmp_path / "store", database_url=cluster.url).close()
    savers = [Saver(tmp_path / "store", cluster.url, name) for name in PIPELINES]
    for saver in savers:
        saver.start()
    try:
        wait_for_more(savers)
        cluster.kill_the_leader()
        wait_for_more(savers)
    finally:
        for saver in savers:
            saver.is_ended.set()
        for saver in savers:
            saver.join()
    for name, saver in zip(PIPELINES, savers, strict=True):
        options = {"database_url": cluster.url, "pipeline": name}
        with PipelineCheckpoint(tmp_path / "store", **options) as handle:
            found = {each.checkpoint_id for each in handle.list_checkpoints()}
            assert {str(number) for number in saver.acknowledged} <= found
            newest = saver.acknowledged[-1]
            assert handle.load(f"{newest}") == {"n": newest}
            assert [
                each.kind for each in handle.check(read_data=True).problems if each.kind != "orphan"
            ] == []
    refusals = {each for saver in savers for each in saver.refused}
    assert all("host=127.0.0.1:" in each for each in refusals), refusals
    with capsys.disabled():
        count = sum(len(saver.acknowledged) for saver in savers)
        refused = sum(len(saver.refused) for saver in savers)
        longest = max(saver.longest_seconds for saver in savers)
        print(
            f"\n{count} saves acknowledged, none lost; {refused} refused; {longest:.0f} s without"
        )
