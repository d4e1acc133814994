"""Fixtures: stores that have to pass `check` when a test ends, and ways to look at them."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import object_servers
import postgres_server
import pytest
from effort import LONG
from hypothesis import Phase, settings

from checkpointdb import PipelineCheckpoint, RetentionPolicy, schema
from checkpointdb.database import Database
from checkpointdb.store import pruning, saved

# HYPOTHESIS_PROFILE=nightly looks twenty times longer; "unshrunk" ends at the first failure, as it
# was found. No deadlines: machines differ.
settings.register_profile("default", max_examples=50, deadline=None)
settings.register_profile("nightly", max_examples=1_000, deadline=None)
settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.generate], deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto's, a line for each request


def pytest_configure(config):
    config.addinivalue_line("markers", "databases: runs on SQLite, and on PostgreSQL too")
    config.addinivalue_line("markers", "sqlite: of those, one about SQLite alone")
    config.addinivalue_line("markers", "damages: breaks its store; `check` is not asked at the end")


@pytest.fixture
def lost_connections():
    """Let others lose a connection, as SQLAlchemy does when it is interrupted.

    Python 3.13 warns of that when it is freed. For tests that ignore that warning: another test,
    in which it is freed by chance, does not.
    """
    yield
    gc.collect()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database to begin with, since migrations take longer than most tests.

    A module that overrides this by None makes its stores as users do.
    """
    directory = tmp_path_factory.mktemp("empty")
    PipelineCheckpoint(directory).close()
    return directory / "checkpoints.db"


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server for the session."""
    with postgres_server.running() as server:
        if server is None:
            pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
        yield server


@pytest.fixture
def server_url(postgres):
    """The URL of a new, empty database on it."""
    url = postgres.database()
    yield url.render_as_string()
    postgres.drop(url)


@pytest.fixture(scope="session")
def emptied(postgres):
    """Databases that have the schema and no rows, made once and emptied for each test."""
    known = []

    def urls():
        for number in itertools.count():
            if number == len(known):
                known.append(postgres.database().render_as_string())
                database = Database(known[number])
                database.prepare()
                database.close()
            else:
                postgres.empty(known[number], schema.metadata.tables)
            yield known[number]

    return urls


@pytest.fixture(scope="session")
def moto():
    """S3, by moto."""
    with object_servers.moto() as server:
        yield server


@pytest.fixture(scope="session")
def ceph(tmp_path_factory):
    """S3, by the gateway of a real Ceph, for `make test-servers`."""
    if not object_servers.ceph_is_here():
        pytest.skip("Ceph is not installed: apt-get install radosgw ceph-mon ceph-osd ceph-mgr")
    with object_servers.ceph(tmp_path_factory.mktemp("ceph")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs(tmp_path_factory):
    """A stand-in for Google Cloud Storage."""
    with object_servers.gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def azure():
    """Azure's blobs, by Azurite."""
    program = object_servers.azurite_program()
    if program is None:
        pytest.skip(f"npm, which brings {object_servers.AZURITE}, is not here, or does not get it")
    with object_servers.azurite(program) as server:
        yield server


@pytest.fixture
def backend(request):
    """What has the rows of the stores of a test: see the marker `databases`."""
    return getattr(request, "param", "sqlite")


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker
    if marker("databases") and "backend" in metafunc.fixturenames:
        on = ["sqlite"] if marker("sqlite") else ["sqlite", "postgresql"]
        metafunc.parametrize("backend", on, indirect=True)


def pytest_collection_modifyitems(config, items):
    """Of what runs on both databases, let a server have a half, always the same, or all of it."""
    if LONG:
        return
    left = {each for each in items if _is_left_out(each)}
    config.hook.pytest_deselected(items=left)
    items[:] = [each for each in items if each not in left]


def _is_left_out(item):
    is_on_both = item.get_closest_marker("databases") and "[postgresql" in item.name
    return is_on_both and crc32(item.name.encode()) % 2


@pytest.fixture
def new_store(request, backend, empty_database):
    """Say what a new store in a directory is opened with."""
    if backend == "postgresql":
        urls = request.getfixturevalue("emptied")()
        known = {}
        return lambda directory: {"database_url": known.setdefault(directory, next(urls))}

    def copy(directory):
        if empty_database and not directory.exists():
            directory.mkdir(parents=True)
            shutil.copy(empty_database, directory)
        return {}

    return copy


@pytest.fixture
def store(tmp_path, request, new_store):
    """Open handles of stores below `tmp_path`; at the end each store passes `check`.

    Not durable unless asked: a test loses no power, and flushing is most of what it would do.
    """
    handles = []
    made = {}

    def open_store(name="store", **options):
        directory = tmp_path / name
        if directory not in made:
            made[directory] = new_store(directory)
        given = {"durable": False, **made[directory], **options}
        handles.append(PipelineCheckpoint(directory, **given))
        return handles[-1]

    yield open_store
    for handle in handles:
        handle.close()
    if request.node.get_closest_marker("damages") is None:
        for directory in sorted({handle.checkpoint_dir for handle in handles}):
            with PipelineCheckpoint(directory, **made.get(directory, {})) as handle:
                assert handle.check(read_data=True).problems == (), directory


@pytest.fixture
def archive(store):
    """A handle of a store that forgets nothing by itself."""
    return store(retention_policy=RetentionPolicy.KEEP_ALL)


def _alter(handle: PipelineCheckpoint, statement: str, *values: object) -> list[tuple]:
    url = handle._engine.database.server_url
    if url is not None:
        return postgres_server.alter(url, statement, values)
    path = handle.checkpoint_dir / "checkpoints.db"
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(statement, values).fetchall()


@pytest.fixture
def alter():
    """Run a statement on a store's database behind its back, foreign keys unguarded."""
    return _alter


def _tree(root: Path) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for path in root.rglob("*"):
        with suppress(FileNotFoundError):  # a thread of an open handle has just unlinked it
            size = None if path.is_dir() else path.stat().st_size
            found[path.relative_to(root).as_posix()] = size
    return found


@pytest.fixture
def tree():
    """Return every path below a directory, with the sizes of files."""
    return _tree


class Clock:
    """What saves and plans take for `datetime`: stands still until it is set."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self, _zone: object = None) -> datetime:
        return self.time

    def advance(self, **amount: float) -> None:
        self.time += timedelta(**amount)


@pytest.fixture
def clock(monkeypatch):
    """The time that saves write down, and that plans are made at."""
    clock = Clock()
    monkeypatch.setattr(saved, "datetime", clock)
    monkeypatch.setattr(pruning, "datetime", clock)
    return clock
