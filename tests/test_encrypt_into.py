"""A store in the clear copied into an encrypted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from checkpointdb import (
    CorruptionError,
    EncryptionError,
    InvalidInputError,
    PipelineCheckpoint,
    RetentionPolicy,
    generate_encryption_key,
)

KEY = generate_encryption_key()
ARRAY = np.arange(20_000.0)
_unpickled = []


def unpickled(value):
    _unpickled.append(value)
    return value


class TellsWhenUnpickled:
    def __reduce__(self):
        return unpickled, ("value",)


def encrypted(directory, **options):
    options = {"retention_policy": RetentionPolicy.KEEP_ALL, **options}
    return PipelineCheckpoint(directory, KEY, enable_encryption=True, **options)


@pytest.fixture
def plain(archive, store):
    """Two pipelines, with a full, deltas, a fork, a pin, metadata, and several serializers."""
    archive.save({"a": ARRAY, "text": "text " * 5_000, "n": 0}, "one", custom_metadata={"n": 1})
    archive.save({"a": ARRAY, "text": "text " * 5_000, "n": 1}, "two", pinned=True)
    archive.save({"a": ARRAY + 1, "text": "text " * 5_000}, "three", base="one")
    archive.save({"a": TellsWhenUnpickled(), "nothing": None}, "four", force_full=True)
    other = store(pipeline="Other/ñ", serializer="json", retention_policy=RetentionPolicy.KEEP_ALL)
    other.save({"a": [1, 2]}, "one")
    other.save({}, "empty")
    return archive


def described(handle):
    return [
        (each.checkpoint_id, each.timestamp, each.custom_metadata, each.pinned, each.state_keys)
        for each in handle.list_checkpoints()
    ]


def test_everything_is_there_as_it_was_and_nothing_was_unpickled(plain, tmp_path):
    _unpickled.clear()
    seen = []
    target = tmp_path / "sealed"
    assert plain.encrypt_into(target, KEY, progress=lambda *given: seen.append(given)) == 6
    assert _unpickled == []
    assert seen == [(number, 6) for number in range(1, 7)]
    for name in plain.pipelines():
        with (
            PipelineCheckpoint(plain.checkpoint_dir, pipeline=name) as before,
            encrypted(target, pipeline=name) as after,
        ):
            assert described(after) == described(before)
            for each in before.list_checkpoints():
                np.testing.assert_equal(
                    after.load(each.checkpoint_id), before.load(each.checkpoint_id)
                )
            assert after.check(read_data=True).problems == ()
    assert len(_unpickled) == 2


def test_deltas_stay_deltas(plain, tmp_path):
    plain.encrypt_into(tmp_path / "sealed", KEY)
    with encrypted(tmp_path / "sealed") as after:
        for before, each in zip(plain.list_checkpoints(), after.list_checkpoints(), strict=True):
            assert each.is_incremental == before.is_incremental
            assert each.base_checkpoint_id == before.base_checkpoint_id
            assert each.size_bytes < before.size_bytes + 1_000
        versions = after.history("n")
        assert [each.change for each in versions] == [each.change for each in plain.history("n")]


def test_the_store_in_the_clear_is_not_changed(plain, tmp_path, tree):
    before = tree(plain.checkpoint_dir / "payloads")
    plain.encrypt_into(tmp_path / "sealed", KEY)
    assert tree(plain.checkpoint_dir / "payloads") == before


def test_the_refusal_to_turn_encryption_on_names_the_conversion(plain):
    with pytest.raises(EncryptionError, match="encrypt_into"):
        encrypted(plain.checkpoint_dir)


def test_a_second_copy_brings_what_was_saved_since(plain, tmp_path):
    plain.encrypt_into(tmp_path / "sealed", KEY)
    plain.save({"a": 5}, "five")
    assert plain.encrypt_into(tmp_path / "sealed", KEY) == 1
    assert plain.encrypt_into(tmp_path / "sealed", KEY) == 0
    with encrypted(tmp_path / "sealed") as after:
        assert after.load("five") == {"a": 5}


def test_a_checkpoint_that_was_replaced_since_is_not_overwritten(plain, tmp_path):
    plain.encrypt_into(tmp_path / "sealed", KEY)
    plain.save({"new": 1}, "one")
    with pytest.raises(InvalidInputError, match="another checkpoint 'one'"):
        plain.encrypt_into(tmp_path / "sealed", KEY)
    with encrypted(tmp_path / "sealed") as after:
        assert after.load("one", keys=["n"]) == {"n": 0}


def test_a_store_in_the_clear_is_no_target(plain, tmp_path):
    with pytest.raises(InvalidInputError, match="this store itself"):
        plain.encrypt_into(plain.checkpoint_dir, KEY)
    with PipelineCheckpoint(tmp_path / "other") as other:
        other.save({"a": 1}, "x")
    with pytest.raises(EncryptionError, match="in the clear"):
        plain.encrypt_into(tmp_path / "other", KEY)


def test_an_encrypted_store_is_copied_under_other_keys(plain, tmp_path):
    """So that who had an old key, and with it the master key, reads nothing new."""
    plain.encrypt_into(tmp_path / "first", KEY)
    other = generate_encryption_key()
    with encrypted(tmp_path / "first") as first:
        assert first.encrypt_into(tmp_path / "second", other) == 6
    with PipelineCheckpoint(tmp_path / "second", other, enable_encryption=True) as second:
        assert second.load("one", keys=["n"]) == {"n": 0}
        assert second.key_ids() != [KEY]


@pytest.mark.damages
def test_a_damaged_checkpoint_stops_the_copy_with_its_name(plain, tmp_path):
    path = next(plain.checkpoint_dir.glob("payloads/p-default/*-one.ckpt.gz"))
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptionError, match="'one'"):
        plain.encrypt_into(tmp_path / "sealed", KEY)


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_copy_that_was_killed_goes_on(plain, tmp_path, stop_after):
    target = tmp_path / "sealed"
    script = f"""
        import os, signal
        from checkpointdb import PipelineCheckpoint
        def stop(done, total):
            if done == {stop_after}:
                os.kill(os.getpid(), signal.SIGKILL)
        with PipelineCheckpoint({str(plain.checkpoint_dir)!r}) as plain:
            plain.encrypt_into({str(target)!r}, {KEY!r}, progress=stop)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], timeout=60, check=False, env=os.environ
    )
    assert done.returncode == -signal.SIGKILL
    assert plain.encrypt_into(target, KEY) == 6 - stop_after
    with encrypted(target) as after:
        assert described(after) == described(plain)
        assert after.check(read_data=True).problems == ()
