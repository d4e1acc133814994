"""Three PostgreSQL servers of which one leads and at least one follows synchronously, by Patroni.

Debian: apt-get install --no-install-recommends patroni etcd-server (beside postgresql)
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import postgres_server
import sqlalchemy as sa
from object_servers import free_port

NODES = range(3)
PATIENCE_SECONDS = 120


def is_here():
    """Whether the programs are installed."""
    return bool(postgres_server.binaries() and shutil.which("patroni") and shutil.which("etcd"))


class Cluster:
    """The servers, and who leads."""

    def __init__(self):
        self._who = postgres_server.somebody()
        self._directory = Path(mkdtemp(prefix="checkpointdb-patroni-"))
        if self._who:
            os.chown(self._directory, self._who["user"], self._who["group"])
        self._etcd, self._peers = free_port(), free_port()
        self._ports = [free_port() for _ in NODES]
        self._apis = [free_port() for _ in NODES]
        self._processes = []

    @property
    def url(self):
        """What names every server, and wants the one that writes."""
        hosts = [f"127.0.0.1:{port}" for port in self._ports]
        return sa.URL.create(
            "postgresql",
            "postgres",
            database="postgres",
            query={"host": hosts, "target_session_attrs": "read-write", "connect_timeout": "5"},
        ).render_as_string()

    def start(self):
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd, self._peers))
        urls = ("listen-client-urls", "advertise-client-urls")
        peers = ("listen-peer-urls", "initial-advertise-peer-urls")
        options = [
            *(f"--{name}={client}" for name in urls),
            *(f"--{name}={peer}" for name in peers),
        ]
        data = self._directory / "etcd"
        self._run(
            "etcd", "--name=one", f"--data-dir={data}", f"--initial-cluster=one={peer}", *options
        )
        for node in NODES:
            settings = self._directory / f"{node}.json"  # of which YAML is a superset
            settings.write_text(json.dumps(self._settings(node)))
            self._run("patroni", settings)
        self.wait_for(lambda members: len(members) == len(NODES))

    def kill_the_leader(self):
        """Kill the server that leads, with what would start it again: its machine is gone."""
        before = self.leader()
        guard = self._processes[1 + before]
        os.kill(guard.pid, signal.SIGKILL)
        guard.wait()
        lock = self._directory / f"data{before}" / "postmaster.pid"
        os.kill(int(lock.read_text().split()[0]), signal.SIGKILL)
        self.wait_for(lambda members: self.leader(members) not in (None, before))

    def leader(self, members=None):
        """The number of the node that leads, None if there is none."""
        for each in self._members() if members is None else members:
            if each["role"] == "leader" and each["state"] == "running":
                return int(each["name"].removeprefix("node"))
        return None

    def wait_for(self, holds):
        """Until that holds of the members, and one follows synchronously."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            members = self._members()
            roles = [each["role"] for each in members if each["state"] in ("running", "streaming")]
            if "leader" in roles and "sync_standby" in roles and holds(members):
                return
            time.sleep(0.2)
        raise TimeoutError(f"no such cluster: {self._members()}, see {self._directory}")

    def stop(self):
        for each in self._processes:
            each.terminate()
        for each in self._processes:
            with suppress(subprocess.TimeoutExpired):
                each.wait(timeout=30)
            each.kill()
            each.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _members(self):
        for port in self._apis:
            with suppress(OSError, ValueError):
                address = f"http://127.0.0.1:{port}/cluster"
                with urllib.request.urlopen(address, timeout=5) as answer:
                    return json.load(answer)["members"]
        return []

    def _settings(self, node):
        port, api = self._ports[node], self._apis[node]
        trusted = ["local all all trust", "host all all 127.0.0.1/32 trust"]
        return {
            "scope": "checkpointdb",
            "name": f"node{node}",
            "restapi": {"listen": f"127.0.0.1:{api}", "connect_address": f"127.0.0.1:{api}"},
            "etcd3": {"hosts": f"127.0.0.1:{self._etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": 20,
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 50}},
                },
                "initdb": [{"encoding": "UTF8"}, {"auth-local": "trust"}, {"auth-host": "trust"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{port}",
                "connect_address": f"127.0.0.1:{port}",
                "data_dir": str(self._directory / f"data{node}"),
                "bin_dir": str(postgres_server.binaries()),
                "pgpass": str(self._directory / f"pgpass{node}"),
                "parameters": {"unix_socket_directories": str(self._directory)},
                "pg_hba": [*trusted, "host replication all 127.0.0.1/32 trust"],
                "authentication": {
                    "superuser": {"username": "postgres", "password": "any"},
                    "replication": {"username": "copies", "password": "any"},
                },
            },
        }

    def _run(self, *command):
        with (self._directory / f"log{len(self._processes)}").open("w") as log:
            self._processes.append(
                subprocess.Popen(
                    [*map(str, command)],
                    cwd=self._directory,
                    env={
                        "PATH": os.environ["PATH"],
                        "HOME": str(self._directory),
                        "LC_ALL": "C.UTF-8",
                    },
                    stdout=log,
                    stderr=log,
                    **self._who,
                )
            )


@contextmanager
def running():
    """A cluster that is ready."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
