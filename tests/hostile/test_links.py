"""Links, pipes and devices below `payloads/`: never followed out of the store, never waited for."""

from __future__ import annotations

import logging
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attacked import IDS, OPTIONS, alter, attack, load_right

from checkpointdb import CorruptionError, KeepNewest, PipelineCheckpoint
from checkpointdb.sweep import sweep

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
LATER = datetime.now(UTC) + timedelta(days=9)


@pytest.fixture
def outside(tmp_path, pattern):
    """A directory that is not the store's, with files named like a store's; its listing."""
    directory = tmp_path / "outside"
    shutil.copytree(pattern / "payloads" / "p-default", directory)
    (directory / "unfinished.tmp").write_bytes(b"of somebody else")
    (directory / "0000000099-stranger.ckpt.gz").write_bytes(b"of somebody else")
    return directory


@pytest.fixture
def untouched(outside):
    """Say at the end that nothing outside was made, changed or deleted."""
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    yield
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


def payload(directory, checkpoint_id="one"):
    [path] = (directory / "payloads").glob(f"p-*/*-{checkpoint_id}.ckpt.gz")
    return path


def sweep_all(handle):
    sweep(handle._engine.database, handle._engine.payloads, now=LATER)


@pytest.mark.parametrize("name", ["p-default", "incoming"])
def test_a_directory_that_is_a_link_is_not_followed(copy, outside, untouched, name):
    directory = copy()
    shutil.rmtree(directory / "payloads" / name, ignore_errors=True)
    (directory / "payloads" / name).symlink_to(outside)
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        sweep_all(handle)
        with pytest.raises(CorruptionError, match=f"{name}' is a symbolic link"):
            handle.save({"a": 1}, "new")
        if name == "p-default":
            with pytest.raises(CorruptionError, match=f"{name}' is a symbolic link"):
                handle.load("one")
        handle.check(read_data=True)
    attack(directory)


def test_a_directory_of_another_pipeline_that_is_a_link_is_not_swept(copy, outside, untouched):
    directory = copy()
    with PipelineCheckpoint(directory, pipeline="other", **OPTIONS) as handle:
        handle.save({"a": 1}, "x")
        handle.delete_checkpoint("x")
        (directory / "payloads" / "p-other").rmdir()
        (directory / "payloads" / "p-other").symlink_to(outside)
        sweep_all(handle)
        handle.check(read_data=True)


def test_a_payload_that_is_a_link_is_not_read_even_to_the_right_bytes(copy, outside, untouched):
    directory = copy()
    path = payload(directory)
    path.unlink()
    path.symlink_to(outside / path.name)
    with (
        PipelineCheckpoint(directory, **OPTIONS) as handle,
        pytest.raises(CorruptionError, match=f"{path.name}' is no regular file"),
    ):
        handle.load("one")
    attack(directory)


def test_a_link_among_payloads_is_itself_removed_and_not_what_it_names(copy, outside, untouched):
    directory = copy()
    link = payload(directory).with_name("0000000002-link.ckpt.gz")
    link.symlink_to(outside / "0000000099-stranger.ckpt.gz")
    os.utime(link, (0, 0), follow_symlinks=False)
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        assert [each.kind for each in handle.check().problems] == ["orphan"]
        sweep_all(handle)
        assert not link.is_symlink()
        for each in IDS:
            load_right(handle, each)


def test_the_name_of_the_next_payload_may_be_taken_by_a_link_that_leads_nowhere(copy, tmp_path):
    directory = copy()
    nowhere = tmp_path / "nowhere"
    for number in range(5, 8):
        path = payload(directory).with_name(f"{number:010d}-new.ckpt.gz")
        path.symlink_to(nowhere)
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        handle.save({"a": 1}, "new")
        assert handle.load("new") == {"a": 1}
    assert not nowhere.exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "loop", "endless", "directory"])
def test_what_is_no_file_is_told_by_its_name_and_not_waited_for(copy, kind):
    directory = copy()
    path = payload(directory)
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        with pytest.raises(CorruptionError, match=path.name):
            handle.load("one")
        assert path.name in {
            Path(each.subject).name for each in handle.check(read_data=True).problems
        }
    attack(directory)


def test_a_pipe_among_payloads_is_skipped_by_a_rebuild(copy):
    directory = copy()
    os.mkfifo(payload(directory).with_name("0000000098-pipe.ckpt.gz"))
    for path in directory.glob("checkpoints.db*"):
        path.unlink()
    report = PipelineCheckpoint.rebuild(directory)
    assert set(report.checkpoints) >= set(IDS)
    [(name, reason)] = report.unreadable
    assert "0000000098-pipe" in name
    assert "no regular file" in reason


def test_a_name_that_is_no_text_is_of_no_concern(copy):
    directory = copy()
    strange = os.fsencode(payload(directory).parent) + b"/\xff\xfe.ckpt.gz"
    try:
        Path(os.fsdecode(strange)).touch()
    except OSError:
        pytest.skip("this file system takes only text")
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        assert handle.check(read_data=True).problems == ()
        sweep_all(handle)
    assert os.path.exists(strange)  # noqa: PTH110 - the name is bytes


NAMES = [
    "../outside/0000000099-stranger.ckpt.gz",
    "p-default/../../outside/0000000099-stranger.ckpt.gz",
    "{outside}/0000000099-stranger.ckpt.gz",
    "..",
    "incoming/../../checkpoints.db",
    "p-default/..",
    "p-default/a\nb.ckpt.gz",
    "p-default/a\\b",
    "C:/x",
]


@pytest.mark.parametrize("name", NAMES)
def test_removals_never_unlink_outside_and_do_not_keep_a_store_shut(
    copy, outside, untouched, name, caplog
):
    directory = copy()
    name = name.format(outside=outside)
    assert alter(directory, "INSERT INTO removals (name, created_at) VALUES (?, 0)", values=(name,))
    with (
        caplog.at_level(logging.WARNING),
        PipelineCheckpoint(directory, **OPTIONS) as handle,
    ):
        assert "not the name of a payload" in caplog.text
        handle.sweep()
        for each in IDS:
            load_right(handle, each)
    assert alter(directory, "SELECT 1 FROM removals")


@pytest.mark.parametrize("name", NAMES)
def test_payload_names_never_lead_outside(copy, outside, untouched, name):
    directory = copy()
    statement = "UPDATE payloads SET name = ? WHERE id = 1"
    assert alter(directory, statement, values=(name.format(outside=outside),))
    attack(directory)


def test_a_payload_root_that_the_user_linked_is_followed(copy, tmp_path):
    directory = copy()
    shutil.move(directory / "payloads", tmp_path / "large disk")
    (directory / "payloads").symlink_to(tmp_path / "large disk")
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        handle.save({"a": 1}, "new")
        load_right(handle, "two")
        assert handle.check(read_data=True).problems == ()


def test_a_prune_of_many_files_unlinks_nothing_through_a_link(store, caplog, tmp_path):
    """Many are unlinked by their directory, which is opened once, and not if it is a link."""
    handle = store(retention_policy="keep_all")
    for number in range(30):
        handle.save({"a": number}, f"c{number}", force_full=True)
    plan = handle.plan_retention(KeepNewest(2))
    assert plan.freed_payloads > 16
    real = handle.checkpoint_dir / "payloads" / "p-default"
    moved = real.rename(tmp_path / "moved")
    real.symlink_to(moved)
    before = sorted(moved.iterdir())
    handle.prune(plan)
    assert sorted(moved.iterdir()) == before
    assert "could not be removed" in caplog.text
    real.unlink()
    moved.rename(real)
    handle.sweep()
    assert len(list(real.iterdir())) == 2
