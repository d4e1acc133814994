"""What a store makes is for its owner alone, whatever the umask of the process."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from checkpointdb import PipelineCheckpoint, generate_encryption_key
from checkpointdb.directories import room_in

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no modes: it inherits ACLs")


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o177], ids=oct)
def umask(request):
    """The umask of the process; 0o177, as services have it, takes from directories too much."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def walked(root):
    """Every path below a directory, and itself, with its mode."""
    return {path: stat.S_IMODE(path.lstat().st_mode) for path in (root, *root.rglob("*"))}


def assert_private(root):
    found = walked(root)
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}, found
    assert {mode for path, mode in found.items() if not path.is_dir()} <= {0o600}, found


def test_after_every_operation_all_of_the_store_is_for_its_owner_alone(tmp_path, umask):
    root = tmp_path / "above" / "store"
    handle = PipelineCheckpoint(root, pipeline="Ä pipeline", retention_count=2)
    acts = {
        "open": lambda: None,
        "full": lambda: handle.save({"a": "x" * 40_000, "n": 0}, "one"),
        "incremental": lambda: handle.save({"a": "x" * 40_000, "n": 1}, "two"),
        "replace": lambda: handle.save({"a": "x" * 40_000, "n": 2}, "two"),
        "retention": lambda: handle.save({"a": "y" * 40_000}, "three", force_full=True),
        "load": lambda: handle.load("three"),
        "query": lambda: handle.query().__enter__().close(),
        "forget": lambda: handle.delete_checkpoint("two"),
        "check": lambda: handle.check(read_data=True),
        "sweep": handle.sweep,
        "close": handle.close,
    }
    for act in acts.values():
        act()
        handle._engine.pool.close()  # files go by a thread of it, after a save
        assert_private(tmp_path / "above")
    for path in root.glob("checkpoints.db*"):
        path.unlink()
    PipelineCheckpoint.rebuild(root)
    assert_private(tmp_path / "above")


def test_a_pipeline_directory_that_was_removed_is_private_when_it_is_made_again(tmp_path, umask):
    with PipelineCheckpoint(tmp_path / "store") as handle:
        shutil.rmtree(tmp_path / "store" / "payloads" / "incoming", ignore_errors=True)
        handle.save({"a": 1}, "one")
    assert_private(tmp_path / "store")


def test_a_directory_for_what_is_needed_meanwhile_can_be_entered_by_its_owner(tmp_path, umask):
    with room_in(tmp_path, ".export-") as room:
        assert stat.S_IMODE(room.stat().st_mode) == 0o700


def test_a_directory_of_the_user_keeps_its_mode(tmp_path, umask):
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o755)
    with PipelineCheckpoint(directory) as handle:
        handle.save({"a": 1}, "one")
    found = walked(directory)
    assert found.pop(directory) == 0o755
    assert set(found.values()) == {0o600, 0o700}


def test_a_key_file_is_for_its_owner_alone(tmp_path, umask):
    pytest.importorskip("cryptography")
    generate_encryption_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
