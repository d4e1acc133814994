"""A store with one of everything, and the command line run on it within this process."""

from __future__ import annotations

import json
import random
import shutil
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner

from checkpointdb import PipelineCheckpoint, RetentionPolicy, generate_encryption_key
from checkpointdb.cli.application import cli


class Run(NamedTuple):
    """How a run ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch):
    for name in ("STORE", "PAYLOAD_URL", "PIPELINE", "KEY", "KEY_FILE", "KEY_COMMAND"):
        monkeypatch.delenv(f"CHECKPOINTDB_{name}", raising=False)


@pytest.fixture
def handle(archive):
    array = np.random.default_rng(1).integers(0, 9, 5_000)
    state = {
        "array": array,
        "n": 1,
        "text": "first\nsecond",
        "blob": random.Random(7).randbytes(99),
    }
    archive.save(state, "one", custom_metadata={"accuracy": 0.5, "run": {"host": "n17"}})
    changed = array.copy()
    changed[3] += 2
    archive.save({**state, "array": changed, "n": 2}, "two", custom_metadata={"accuracy": 0.95})
    archive.load("one")
    archive.save({"array": array, "more": {"deep": [1, 2.5, None]}}, "fork", pinned=True)
    return archive


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "store.key"
    generate_encryption_key(path)
    return path


@pytest.fixture
def sealed(tmp_path, key_file, empty_database):
    """The directory of an encrypted store."""
    directory = tmp_path / "sealed"
    directory.mkdir()
    shutil.copy(empty_database, directory)
    with PipelineCheckpoint(
        directory, key_file.read_bytes(), True, retention_policy=RetentionPolicy.KEEP_ALL
    ) as handle:
        handle.save({"secret": 1}, "one")
    return directory


@pytest.fixture
def run(handle):
    """Run a command line on the store of `handle`, or on another that it names."""

    def run_words(*words, **options):
        words = ("--store", handle.checkpoint_dir, *words)
        result = CliRunner().invoke(cli, list(map(str, words)), **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Run(result.exit_code, result.stdout, result.stderr)

    return run_words
