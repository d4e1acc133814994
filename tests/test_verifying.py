"""Reading a part of the stored bytes at a time, and without the key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from checkpointdb import (
    InvalidInputError,
    NotFoundError,
    PipelineCheckpoint,
    RetentionPolicy,
    generate_encryption_key,
)

NOISE = np.random.default_rng(3)


@pytest.fixture
def ten(archive):
    """A store of ten payloads of much the same size."""
    for number in range(10):
        archive.save({"noise": NOISE.random(5_000)}, str(number))
    return archive


def damage(handle, checkpoint_id):
    with Path(handle.get_checkpoint_info(checkpoint_id).file_path).open("r+b") as file:
        file.seek(300)
        file.write(b"damage")


def read(handle):
    """The ids whose payloads were read, those read longest ago first."""
    with handle.query() as connection:
        rows = connection.exec_driver_sql(
            "SELECT checkpoint_id FROM checkpoints JOIN payloads "
            "ON payloads.id = checkpoints.payload_id "
            "WHERE checked_at IS NOT NULL ORDER BY checked_at, payloads.id"
        )
        return [checkpoint_id for (checkpoint_id,) in rows]


def test_a_share_is_read_and_the_next_goes_on_behind_it(ten):
    for count in (3, 6, 9):
        report = ten.check(read_data=True, share=0.25)
        assert (report.payloads, report.read_payloads, report.is_ok) == (10, 3, True)
        assert read(ten) == list("0123456789")[:count]
    ten.check(read_data=True, share=0.25)
    assert read(ten) == list("2345678019")  # the last three in one pass


@pytest.mark.damages
def test_a_damaged_payload_is_found_when_its_turn_comes_and_does_not_stop_the_others(ten):
    damage(ten, "4")
    found = [ten.check(read_data=True, share=0.25) for _ in range(4)]
    assert [each.is_ok for each in found] == [True, False, False, False]  # told until repaired
    [problem] = found[1].problems
    assert (problem.kind, problem.checkpoint_ids) == ("damaged", ("4",))
    assert sorted(read(ten)) == list("0123456789")


def test_what_is_saved_later_comes_first(ten):
    ten.check(read_data=True)
    ten.save({"noise": NOISE.random(5_000)}, "new")
    assert ten.check(read_data=True, share=0.01).read_payloads == 1
    assert read(ten)[-1] == "new"


def test_a_time_that_is_over_ends_it_after_the_payload_being_read(ten):
    report = ten.check(read_data=True, seconds=0)
    assert (report.read_payloads, read(ten)) == (1, ["0"])


def test_looking_without_reading_notes_nothing(ten):
    assert ten.check().read_payloads == 0
    assert read(ten) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"read_data": True, "share": 0},
        {"read_data": True, "share": 1.5},
        {"read_data": True, "share": "10%"},
        {"read_data": True, "seconds": -1},
        {"share": 0.5},
        {"seconds": 5},
        {"grace": 5},
    ],
)
def test_what_makes_no_sense_is_refused(archive, arguments):
    with pytest.raises(InvalidInputError):
        archive.check(**arguments)
    with pytest.raises(InvalidInputError):
        archive.check_without_key(archive.checkpoint_dir, **arguments)


@pytest.fixture
def sealed(tmp_path):
    key = generate_encryption_key()
    keep_all = {"retention_policy": RetentionPolicy.KEEP_ALL}
    with PipelineCheckpoint(tmp_path / "sealed", key, True, **keep_all) as handle:
        handle.save({"noise": NOISE.random(5_000)}, "one")
        handle.save({"noise": NOISE.random(5_000)}, "two")
        yield handle


def test_every_byte_of_an_encrypted_store_is_verified_without_its_key(sealed):
    report = PipelineCheckpoint.check_without_key(sealed.checkpoint_dir, read_data=True)
    files = sealed.checkpoint_dir.glob("payloads/p-*/*")
    assert report.verified_bytes == sum(path.stat().st_size for path in files)
    assert (report.checkpoints, report.read_payloads, report.problems) == (2, 2, ())
    damage(sealed, "two")
    report = PipelineCheckpoint.check_without_key(sealed.checkpoint_dir, read_data=True)
    assert [each.checkpoint_ids for each in report.problems] == [("two",)]


@pytest.mark.parametrize("damage", ["remove", "damage"])
def test_a_keyring_of_which_a_copy_is_bad_is_reported_without_the_key(sealed, damage):
    path = sealed.checkpoint_dir / "keyring.json"
    path.unlink() if damage == "remove" else path.write_text("{")
    [problem] = PipelineCheckpoint.check_without_key(sealed.checkpoint_dir).problems
    assert (problem.kind, problem.subject) == ("keyring", "keyring.json")


def test_a_store_in_the_clear_is_checked_in_the_same_way(ten):
    report = PipelineCheckpoint.check_without_key(ten.checkpoint_dir, read_data=True)
    assert report == ten.check(read_data=True)


def test_a_check_makes_no_store(tmp_path):
    with pytest.raises(NotFoundError):
        PipelineCheckpoint.check_without_key(tmp_path)
    assert list(tmp_path.iterdir()) == []
