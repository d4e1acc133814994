"""Bytes and rows that are not what was saved: found before anything of them is unpickled."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from checkpointdb import CorruptionError

pytestmark = pytest.mark.damages

NOISE = random.Random(81)
STATE = {
    "text": "some words " * 5_000,
    "array": np.random.default_rng(81).random(20_000),
    "small": [1, 2, 3],
}


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def handle(archive):
    archive.save(STATE, "x")
    return archive


def path_of(handle, checkpoint_id="x"):
    return Path(handle.get_checkpoint_info(checkpoint_id).file_path)


def data_spans(handle):
    """Where in its payload the state of `x` lies: offset and length of each member."""
    with handle.query() as connection:
        return [
            tuple(row)
            for row in connection.exec_driver_sql(
                'SELECT "offset", stored_bytes FROM members WHERE payload_id = '
                "(SELECT payload_id FROM checkpoints WHERE checkpoint_id = 'x')"
            )
        ]


def flip(path, offset, bit=0):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def assert_refused(handle, checkpoint_id="x", message="Hash verification failed", **options):
    with pytest.raises(CorruptionError) as caught:
        handle.load(checkpoint_id, **options)
    assert str(caught.value).startswith(message)
    assert repr(checkpoint_id) in str(caught.value)
    assert caught.value.checkpoint_id == checkpoint_id
    assert isinstance(caught.value, ValueError)


# --- the file

both = pytest.mark.parametrize("verify_hash", [True, False])


@both
@pytest.mark.parametrize("tail", [b"\0", b"x" * 1_000, b"\x1f\x8b"], ids=["NUL", "x", "gzip"])
def test_appended_bytes_make_a_load_fail(handle, tail, verify_hash):
    with path_of(handle).open("ab") as file:
        file.write(tail)
    assert_refused(handle, verify_hash=verify_hash)


@pytest.mark.parametrize("where", np.linspace(0, 1, 12).round(3).tolist())
def test_a_bit_flipped_where_the_state_lies_makes_a_load_fail(handle, where):
    for offset, length in data_spans(handle):
        flip(path_of(handle), offset + int(where * (length - 1)), bit=int(where * 7))
    assert_refused(handle)


def test_without_verify_hash_a_flipped_bit_never_gives_another_state(handle):
    path, [(offset, length), *_] = path_of(handle), data_spans(handle)
    for where in range(10, length, length // 25):
        flip(path, offset + where)
        try:
            found = handle.load("x", verify_hash=False)
        except CorruptionError:
            found = STATE
        assert found["text"] == STATE["text"]
        np.testing.assert_array_equal(found["array"], STATE["array"])
        flip(path, offset + where)


@both
@pytest.mark.parametrize("keep", [0, 1, 100, -1, -200])
def test_a_truncated_file_makes_a_load_fail(handle, keep, verify_hash):
    path = path_of(handle)
    path.write_bytes(path.read_bytes()[:keep])
    assert_refused(handle, verify_hash=verify_hash)


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\x1f\x8b\x08\0"], ids=["0", "ff", "gzip"])
def test_a_file_of_the_right_length_with_other_bytes_makes_a_load_fail(handle, filler):
    path = path_of(handle)
    size = path.stat().st_size
    path.write_bytes((filler * size)[:size])
    assert_refused(handle)
    assert_refused(handle, verify_hash=False)


def test_a_missing_file_is_told_by_its_name(handle):
    path = path_of(handle)
    path.unlink()
    assert_refused(handle, message="checkpoint 'x' cannot be loaded")
    with pytest.raises(CorruptionError, match=path.name):
        handle.load("x")


def test_a_directory_in_the_place_of_a_file_makes_a_load_fail(handle):
    path = path_of(handle)
    path.unlink()
    path.mkdir()
    assert_refused(handle)


@both
def test_swapped_files_make_both_loads_fail(handle, verify_hash):
    state = STATE | {"array": STATE["array"] + 1}
    handle.save(state, "y", force_full=True)
    x, y = path_of(handle), path_of(handle, "y")
    shutil.copy(x, x.with_name("aside"))
    shutil.copy(y, x)
    x.with_name("aside").replace(y)
    assert_refused(handle, "x", verify_hash=verify_hash)
    assert_refused(handle, "y", verify_hash=verify_hash)


def test_an_older_file_put_back_makes_a_load_fail(handle):
    handle.save({"n": NOISE.randbytes(10_000)}, "y")
    older = path_of(handle, "y").read_bytes()
    handle.save({"n": NOISE.randbytes(10_000)}, "y")
    path_of(handle, "y").write_bytes(older)
    assert_refused(handle, "y")


def test_a_damaged_base_is_told_with_the_checkpoint_that_was_loaded(handle):
    handle.save(STATE | {"more": 1}, "y")
    flip(path_of(handle, "x"), 50)
    assert_refused(handle, "y")
    assert handle.load("y", keys=["more"]) == {"more": 1}


def test_the_lazy_mapping_and_the_latest_notice_too(handle):
    lazy = handle.lazy("x")
    flip(path_of(handle), 50)
    with pytest.raises(CorruptionError, match="Hash verification failed"):
        lazy["text"]
    with pytest.raises(CorruptionError, match="Hash verification failed"):
        handle.load_latest()


def test_a_newest_checkpoint_without_its_chain_is_told_as_damage_and_not_as_an_empty_pipeline(
    handle, alter
):
    handle.save(STATE, "y", force_full=True)
    alter(handle, "UPDATE checkpoints SET chain_id = 99 WHERE checkpoint_id = 'y'")
    with pytest.raises(CorruptionError, match="restore a backup"):
        handle.load_latest()


def test_what_is_damaged_does_not_keep_others_from_loading(handle):
    handle.save({"other": NOISE.randbytes(5_000)}, "y", force_full=True)
    flip(path_of(handle), 50)
    assert len(handle.load("y")["other"]) == 5_000
    handle.delete_checkpoint("x")
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["y"]


# --- nothing is unpickled first


def test_a_writer_stores_again_what_was_found_damaged_since_it_saved(handle, store):
    state = STATE | {"big": NOISE.randbytes(300_000)}
    handle.save(state, "one")
    file = path_of(handle, "one")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptionError):
        store().load("one")
    handle.save(state | {"small": []}, "two")
    assert handle.load("two")["big"] == state["big"]


@pytest.mark.parametrize("key", ["array", "moved"])
def test_a_value_is_stored_again_of_which_a_chunk_lies_in_a_damaged_file(archive, key):
    """The file that defines it is whole, and so is the one that has its last chunks."""
    array = np.random.default_rng(82).random(200_000)
    archive.save({"array": array}, "first")
    changed = array.copy()
    changed[7] = 0
    archive.save({"array": changed}, "second")
    path_of(archive, "first").unlink()
    assert_refused(archive, "first", "")
    archive.save({key: changed}, "third")
    assert np.array_equal(archive.load("third")[key], changed)


@both
def test_nothing_is_unpickled_before_everything_is_verified(archive, tmp_path, verify_hash):
    touched = tmp_path / "touched"
    archive.save({"acts": Touches(touched), "large": NOISE.randbytes(5_000_000)}, "x")
    offset, length = data_spans(archive)[-1]
    flip(path_of(archive), offset + length // 2)
    assert_refused(archive, verify_hash=verify_hash)
    assert not touched.exists()
    archive.load("x", keys=["acts"])
    assert touched.exists()


@both
def test_a_foreign_pickle_under_a_right_name_is_not_unpickled(
    archive, tmp_path, alter, verify_hash
):
    touched = tmp_path / "touched"
    archive.save({"value": ["harmless"]}, "x")
    archive.save({"value": Touches(touched)}, "evil", force_full=True)
    alter(
        archive,
        """UPDATE state_values SET member_id = (SELECT max(id) FROM members), "offset" = 0,
           layout = (SELECT layout FROM state_values ORDER BY id DESC LIMIT 1),
           raw_bytes = (SELECT raw_bytes FROM state_values ORDER BY id DESC LIMIT 1)""",
    )
    assert_refused(archive, "x", verify_hash=verify_hash)
    assert not touched.exists()


# --- the rows

ALTERED = {
    "a key is renamed": "UPDATE entries SET key = 'other' WHERE key = 'small'",
    "a key is gone": "DELETE FROM entries WHERE key = 'small'",
    "a key is absent": "UPDATE entries SET value_id = NULL WHERE key = 'small'",
    "an interval ends": "UPDATE entries SET to_depth = 0 WHERE key = 'small'",
    "the order of keys": "UPDATE entries SET position = -position",
    "two values are swapped": """UPDATE entries SET value_id =
        (SELECT max(value_id) + min(value_id) FROM entries) - value_id
        WHERE key IN ('text', 'small')""",
    "the digest of a value": "UPDATE state_values SET digest = zeroblob(32)",
    "the digest of the state": "UPDATE checkpoints SET state_digest = zeroblob(32)",
    "the digest is no digest": "UPDATE checkpoints SET state_digest = x''",
    "the sha256 of a member": "UPDATE members SET sha256 = zeroblob(32)",
    "the offset of a member": 'UPDATE members SET "offset" = "offset" + 1',
    "a negative offset of a member": 'UPDATE members SET "offset" = -5',
    "an offset beyond the file": 'UPDATE members SET "offset" = 1000000000000',
    "a shorter member": "UPDATE members SET stored_bytes = stored_bytes - 1",
    "a negative member": "UPDATE members SET stored_bytes = -1",
    "an endless member": "UPDATE members SET stored_bytes = 4611686018427387904",
    "the plain bytes of a member": "UPDATE members SET raw_bytes = raw_bytes + 1",
    "negative plain bytes": "UPDATE members SET raw_bytes = -1",
    "the length of a file": "UPDATE payloads SET stored_bytes = stored_bytes + 1",
    "the name of a file": "UPDATE payloads SET name = 'p-default/0000000009-x.ckpt.gz'",
    "a name that leaves": "UPDATE payloads SET name = '../../outside.ckpt.gz'",
    "a name that is a path": "UPDATE payloads SET name = '/etc/passwd'",
    "the serializer": "UPDATE state_values SET serializer = 'eval'",
    "the layout is no layout": "UPDATE state_values SET layout = 'x'",
    "the layout is empty": "UPDATE state_values SET layout = ''",
    "the layout is negative": "UPDATE state_values SET layout = '-5'",
    "the layout is endless": "UPDATE state_values SET layout = '4611686018427387904'",
    "the layout is longer": "UPDATE state_values SET layout = layout || ',5'",
    "the offset of a value": 'UPDATE state_values SET "offset" = "offset" + 1 WHERE member_id > 0',
    "a negative offset of a value": 'UPDATE state_values SET "offset" = -3 WHERE member_id > 0',
    "a value without bytes": 'UPDATE state_values SET member_id = NULL, "offset" = NULL',
    "a value in a missing member": "UPDATE state_values SET member_id = 999 WHERE member_id > 0",
    "a chunk is missing": "DELETE FROM value_chunks WHERE seq = 1",
    "the order of chunks": """UPDATE value_chunks SET chunk_id =
        (SELECT max(id) FROM chunks) + 1 - chunk_id""",
    "the offset of a chunk": 'UPDATE chunks SET "offset" = "offset" + 1',
    "the length of a chunk": "UPDATE chunks SET raw_bytes = raw_bytes - 1",
    "a negative chunk": "UPDATE chunks SET raw_bytes = -raw_bytes",
    "an endless chunk": "UPDATE chunks SET raw_bytes = 4611686018427387904",
}


@pytest.mark.parametrize("name", ALTERED)
def test_altered_rows_make_a_load_fail_with_the_checkpoint_named(handle, alter, name):
    alter(handle, ALTERED[name])
    with pytest.raises(CorruptionError, match="'x'") as caught:
        handle.load("x")
    assert caught.value.checkpoint_id == "x"


@pytest.mark.parametrize("name", ALTERED)
def test_without_verify_hash_altered_rows_never_give_other_values(handle, alter, name):
    alter(handle, ALTERED[name])
    try:
        found = handle.load("x", verify_hash=False)
    except CorruptionError:
        return
    expected = {str(np.asarray(value)) for value in STATE.values()}
    assert {str(np.asarray(value)) for value in found.values()} <= expected
