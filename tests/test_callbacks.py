"""What a progress callback raises is the user's own: it says nothing of store or backup."""

from __future__ import annotations

import shutil

import pytest

from checkpointdb import InvalidInputError, PipelineCheckpoint

ERRORS = [
    FileNotFoundError("no log to write to"),
    BrokenPipeError(32, "Broken pipe"),
    TypeError("not all arguments converted"),
    KeyError("a bar"),
    InvalidInputError("of another store"),
    KeyboardInterrupt(),
]

each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def raising(error):
    def progress(_done, _total):
        raise error

    return progress


@pytest.fixture
def saved(archive):
    for number in range(3):
        archive.save({"n": number, "text": f"{number} " * 5_000}, f"s{number}", force_full=True)
    return archive


@each_error
def test_a_push_raises_what_its_callback_raised(saved, tmp_path, error):
    with pytest.raises(type(error)) as caught:
        saved.push_backup(tmp_path / "nas", progress=raising(error))
    assert caught.value is error
    assert saved.push_backup(tmp_path / "nas").checkpoints == 3


@each_error
@pytest.mark.parametrize("options", [{}, {"skip_damaged": True}, {"rebuild": True}], ids=str)
def test_a_pull_raises_what_its_callback_raised_and_leaves_nothing_out(
    saved, tmp_path, error, options
):
    saved.push_backup(tmp_path / "nas")
    with pytest.raises(type(error)) as caught:
        PipelineCheckpoint.pull_backup(
            tmp_path / "nas", tmp_path / "back", progress=raising(error), **options
        )
    assert caught.value is error
    assert not (tmp_path / "back").exists()
    report = PipelineCheckpoint.pull_backup(tmp_path / "nas", tmp_path / "back", **options)
    assert (report.checkpoints, report.left_out) == (3, ())


@each_error
def test_a_rebuild_raises_what_its_callback_raised(saved, tmp_path, error):
    shutil.copytree(saved.checkpoint_dir / "payloads", tmp_path / "new" / "payloads")
    with pytest.raises(type(error)) as caught:
        PipelineCheckpoint.rebuild(tmp_path / "new", progress=raising(error))
    assert caught.value is error
    assert len(PipelineCheckpoint.rebuild(tmp_path / "new").checkpoints) == 3


def test_the_cause_of_what_a_callback_raised_stays(saved, tmp_path):
    def progress(_done, _total):
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer") as caught:
        saved.push_backup(tmp_path / "nas", progress=progress)
    assert isinstance(caught.value.__cause__, KeyError)
