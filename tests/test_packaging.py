"""The wheel: everything that the tree has, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import checkpointdb

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["checkpointdb", "migrations", "pyproject.toml", "README.md", "LICENSE"]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built of a copy: building leaves files beside the sources."""
    copy = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=LEFT_OUT)
        else:
            shutil.copy(source, copy / name)
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", copy / "dist", copy]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def files_of_the_tree():
    for folder, target in (
        ("checkpointdb", "checkpointdb"),
        ("migrations", "checkpointdb/migrations"),
    ):
        for path in (ROOT / folder).rglob("*"):
            name = path.relative_to(ROOT / folder).as_posix()
            if path.is_file() and "__pycache__" not in name and not name.startswith("."):
                yield f"{target}/{name}"


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel):
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == set(files_of_the_tree())


@pytest.mark.parametrize(
    "name",
    [
        "checkpointdb/py.typed",
        "checkpointdb/migrations/env.py",
        "checkpointdb/migrations/versions/0001_tables.py",
    ],
)
def test_the_wheel_has_what_is_easily_forgotten(wheel, name):
    assert name in wheel.namelist()


def test_the_wheel_names_its_licence_and_its_extras(wheel):
    [name] = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["License-Expression"] == "MIT"
    assert {"cli", "encryption", "cloud", "postgres", "test", "dev"} <= set(
        metadata.get_all("Provides-Extra")
    )


def test_a_store_is_made_and_read_with_the_wheel_alone(wheel, tmp_path):
    wheel.extractall(tmp_path / "site")
    script = (
        "import checkpointdb, sys; print(checkpointdb.__file__);"
        "store = checkpointdb.PipelineCheckpoint(sys.argv[1]); store.save({'a': 1}, 'x');"
        "print(store.load('x'))"
    )
    run = [sys.executable, "-c", script, tmp_path / "store"]
    done = subprocess.run(
        run,
        cwd=tmp_path / "site",
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(tmp_path / "site/checkpointdb/__init__.py"), "{'a': 1}"]


def test_types_are_announced():
    assert (Path(checkpointdb.__file__).parent / "py.typed").exists()
