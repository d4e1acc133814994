"""PostgreSQL on this machine: started once for a session, a new database for each test.

It refuses to run as root, and so runs as the user `postgres` (or `nobody`) there. Its text sorts
as a dictionary does, by ICU, since that is where an order by code point has to be asked for.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "max_connections": "200",
    "lc_messages": "C",
}


def binaries():
    """The directory of the newest server's programs; None if there is none."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    newest = sorted(debian, key=lambda path: int(path.parent.name), reverse=True)
    named = shutil.which("pg_ctl")
    known = [*newest, *([Path(named).resolve().parent] if named else [])]
    return next((each for each in known if (each / "initdb").exists()), None)


def connected(url):
    """A connection of psycopg's own, each statement a transaction."""
    return psycopg.connect(
        url.set(drivername="postgresql", query={}).render_as_string(hide_password=False),
        autocommit=True,
    )


def alter(url, statement, values):
    """Run a statement in SQLite's words, foreign keys unguarded."""
    with connected(url) as connection:
        connection.execute("SET session_replication_role = replica")
        found = connection.execute(statement.replace("?", "%s"), values)
        return found.fetchall() if found.description else []


class Postgres:
    """A cluster of one server in a directory of its own."""

    def __init__(self, programs, settings):
        self._programs = programs
        self._settings = {**_SETTINGS, **settings}
        self._who = somebody()
        # Not below pytest's own, into which only root may look.
        self.base = Path(tempfile.mkdtemp(prefix="checkpointdb-postgres-"))
        if self._who:
            os.chown(self.base, self._who["user"], self._who["group"])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = sa.URL.create(
            "postgresql", "postgres", host="127.0.0.1", port=self.port, database="postgres"
        )
        self._numbers = itertools.count(1)
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync",
                  "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en")  # fmt: skip

    def start(self):
        given = {**self._settings, "port": self.port, "unix_socket_directories": self.base}
        options = " ".join(f"-c {name}={value}" for name, value in given.items())
        self._run("pg_ctl", "-w", "-t", "60", "-l", self.base / "log", "-o", options, "start")

    def stop(self, mode="immediate"):
        self._run("pg_ctl", "-m", mode, "-w", "stop")

    def restart(self, mode="immediate"):
        self.stop(mode)
        self.start()

    def remove(self):
        self.stop()
        shutil.rmtree(self.base, ignore_errors=True)

    def execute(self, *statements):
        """Run statements each in a transaction of its own; return what the last one answers."""
        with connected(self.url) as connection:
            for each in statements:
                found = connection.execute(each)
            return found.fetchall() if found.description else None

    def database(self, template="template0"):
        """Make a database, a copy of `template`, and return its URL."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.url.set(database=name)

    def empty(self, url, tables):
        """Delete every row of a database that nobody uses any more."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{sa.make_url(url).database}'"
        )
        with connected(sa.make_url(url)) as connection:
            connection.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE")

    def drop(self, url):
        self.execute(f"DROP DATABASE {url.database} WITH (FORCE)")

    def _run(self, program, *arguments):
        subprocess.run(
            [self._programs / program, "-D", self.base / "data", *arguments],
            check=True,
            cwd=self.base,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **self._who,
        )


def somebody():
    """Whom servers run as: they refuse root."""
    if os.getuid() != 0:
        return {}
    users = {each.pw_name: each for each in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def running(**settings):
    """A server that runs; None if no program of it is installed."""
    programs = binaries()
    if programs is None:
        yield None
        return
    server = Postgres(programs, settings)
    server.start()
    try:
        yield server
    finally:
        server.remove()
