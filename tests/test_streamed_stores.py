"""What is done to a store with streams in it: damage, forgetting, writing again, faults."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from checkpointdb import (
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    PipelineCheckpoint,
    RetentionPolicy,
    StreamedValue,
    generate_encryption_key,
    register_serializer,
)

KEY = generate_encryption_key()
KEEP = {"retention_policy": RetentionPolicy.KEEP_ALL, "durable": False}
MIB = 1 << 20
LONG = random.Random(5).randbytes(6 * MIB)
OTHER = LONG[: 2 * MIB] + b"changed" + LONG[2 * MIB :]


@pytest.fixture
def sealed(tmp_path):
    with PipelineCheckpoint(tmp_path / "sealed", KEY, True, **KEEP) as handle:
        yield handle


@pytest.fixture(params=["archive", "sealed"], ids=["plain", "encrypted"])
def handle(request):
    """A handle with two checkpoints, of which the second is a delta."""
    handle = request.getfixturevalue(request.param)
    handle.save({"n": 1, "stream": StreamedValue(LONG)}, "one")
    handle.save({"n": 2, "stream": StreamedValue(OTHER)}, "two")
    assert handle.get_checkpoint_info("two").is_incremental
    return handle


def read(handle, checkpoint_id):
    with handle.load(checkpoint_id)["stream"].open() as stream:
        return stream.read()


def payload(handle, checkpoint_id):
    return next(handle.checkpoint_dir.rglob(f"*-{checkpoint_id}*.ckpt.gz"))


def assert_whole(handle):
    assert read(handle, "one") == LONG
    assert read(handle, "two") == OTHER
    assert handle.check(read_data=True).problems == ()


# --- written again, moved, forgotten


def test_a_merged_one_is_read_from_its_own_payload(handle):
    handle.merge("two")
    assert_whole(handle)
    handle.delete_checkpoint("one")
    assert read(handle, "two") == OTHER


def test_a_rebuild_brings_streams_back(handle):
    directory = handle.checkpoint_dir
    handle.close()
    (directory / "checkpoints.db").unlink()
    PipelineCheckpoint.rebuild(directory, KEY if (directory / "keyring.json").exists() else None)
    with PipelineCheckpoint(directory, KEY, None, **KEEP) as again:
        assert_whole(again)


def test_an_exported_one_is_imported(handle, tmp_path):
    handle.export_checkpoint("two", tmp_path / "file")
    with PipelineCheckpoint(tmp_path / "theirs", **KEEP) as theirs:
        theirs.import_checkpoint(tmp_path / "file", key=KEY, allow_plain=True)
        assert read(theirs, "two") == OTHER


def test_a_copied_store_has_them_as_deltas(handle, tmp_path):
    assert handle.copy_into(tmp_path / "copy") == 2
    with PipelineCheckpoint(tmp_path / "copy", KEY, None, **KEEP) as copy:
        assert_whole(copy)
        assert copy.get_checkpoint_info("two").size_bytes < MIB


def test_they_are_encrypted_into_another_store(archive, tmp_path):
    archive.save({"stream": StreamedValue(LONG)}, "one")
    archive.encrypt_into(tmp_path / "sealed", KEY)
    with PipelineCheckpoint(tmp_path / "sealed", KEY, True, **KEEP) as sealed:
        assert read(sealed, "one") == LONG


def test_an_open_stream_is_read_on_where_its_payload_was_sealed_anew(sealed):
    sealed.save({"stream": StreamedValue(LONG)}, "one")
    stream = sealed.load("one")["stream"].open()
    start = stream.read(10)
    sealed.rotate_key(generate_encryption_key(), reencrypt=True)
    assert start + stream.read() == LONG
    stream.close()


def test_an_open_stream_is_read_on_where_its_payload_was_compacted(archive):
    archive.save({"stream": StreamedValue(LONG), "waste": os.urandom(20 * MIB)}, "one")
    archive.save({"stream": StreamedValue(LONG)}, "two")
    with archive.load("two")["stream"].open() as stream:
        start = stream.read(10)
        archive.delete_checkpoint("one")
        assert archive.compact(min_dead=0.5).rewritten
        assert start + stream.read() == LONG


GONE = """
import sys
from checkpointdb import NotFoundError, PipelineCheckpoint, StreamedValue
handle = PipelineCheckpoint(sys.argv[1])
handle.save({"stream": StreamedValue(b"gone")}, "x")
stream = handle.load("x")["stream"]
handle.delete_checkpoint("x")
try:
    stream.open()
except NotFoundError:
    print("gone")
handle.close()
"""


def test_a_stream_that_cannot_be_opened_fails_once(tmp_path):
    """In development mode Python also tells what fails where an object is collected."""
    command = [sys.executable, "-X", "dev", "-c", GONE, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, text=True)
    assert done.stdout == "gone\n"
    assert "Exception ignored" not in done.stderr


def test_an_open_stream_whose_checkpoint_is_forgotten_says_so(archive):
    archive.save({"stream": StreamedValue(LONG)}, "one")
    with archive.load("one")["stream"].open() as stream:
        stream.read(10)
        archive.delete_checkpoint("one")
        with pytest.raises(NotFoundError, match="'one' was forgotten"):
            stream.read()


# --- damage


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.damages
def test_no_byte_of_a_damaged_member_is_given_out(handle, tmp_path):
    path = payload(handle, "one")
    flip(path, path.stat().st_size // 2)
    value = handle.load("one")["stream"]
    with pytest.raises(CorruptionError, match="'one'") as caught:
        value.save_to(tmp_path / "out")
    assert (caught.value.checkpoint_id, path.match(f"*/{caught.value.payload}")) == ("one", True)
    assert not (tmp_path / "out").exists()
    found = []
    with pytest.raises(CorruptionError), value.open() as stream:
        found.extend(iter(lambda: stream.read1(4_096), b""))
    assert LONG.startswith(b"".join(found))


@pytest.mark.damages
def test_the_next_save_stores_again_what_was_damaged(handle):
    path = payload(handle, "one")
    flip(path, path.stat().st_size // 2)
    with pytest.raises(CorruptionError):
        read(handle, "one")
    handle.save({"stream": StreamedValue(LONG)}, "healed")
    path.unlink()
    assert read(handle, "healed") == LONG


@pytest.mark.damages
def test_a_payload_that_is_gone_is_named(handle):
    payload(handle, "one").unlink()
    with pytest.raises(CorruptionError, match=r"'one'.*is gone"):
        read(handle, "one")


@pytest.mark.damages
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE value_chunks SET seq = 100 WHERE seq = 1",
        "DELETE FROM value_chunks WHERE seq = 2",
        "UPDATE chunks SET digest = zeroblob(32) WHERE id = 3",
        "UPDATE chunks SET raw_bytes = raw_bytes + 1 WHERE id = 3",
        "UPDATE chunks SET raw_bytes = -1 WHERE id = 3",
        "UPDATE chunks SET offset = offset + 1 WHERE id = 3",
        "UPDATE chunks SET offset = -1 WHERE id = 3",
        "UPDATE chunks SET offset = 'text' WHERE id = 3",
        "UPDATE state_values SET layout = '9,5' WHERE serializer = 'stream'",
        "UPDATE members SET raw_bytes = 99999999 WHERE id = 1",
        "UPDATE members SET stored_bytes = 99999999999 WHERE id = 1",
        "DELETE FROM members WHERE id = 1",
    ],
)
def test_rows_that_do_not_give_the_stream_are_told_as_damage(archive, alter, statement):
    archive.save({"stream": StreamedValue(LONG)}, "one")
    alter(archive, statement)
    with (
        PipelineCheckpoint(archive.checkpoint_dir, **KEEP) as again,
        pytest.raises(CorruptionError),
    ):
        read(again, "one")


@pytest.mark.damages
@pytest.mark.parametrize("layout", ["", "8,5", "9", "9,-5", "9,x", b"9,5", b""], ids=repr)
def test_a_layout_that_no_stream_has_is_told_with_the_checkpoint(archive, alter, layout):
    archive.save({"stream": StreamedValue(LONG), "a": 1}, "one")
    alter(archive, "UPDATE state_values SET layout = ? WHERE serializer = 'stream'", layout)
    with (
        PipelineCheckpoint(archive.checkpoint_dir, **KEEP) as again,
        pytest.raises(CorruptionError, match=r"'one'.*checkpoints\.db.*'stream'") as caught,
    ):
        again.load("one")
    assert caught.value.checkpoint_id == "one"


# --- faults


KILLED = """
import os, signal, sys
from checkpointdb import PipelineCheckpoint, StreamedValue
def pieces():
    for _ in range(9):
        yield os.urandom(1 << 20)
    os.kill(os.getpid(), signal.SIGKILL)
PipelineCheckpoint(sys.argv[1]).save({"stream": StreamedValue(pieces())})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a name is left until a sweep")
def test_a_killed_process_leaves_nothing_of_what_it_kept_meanwhile(archive):
    archive.save({"n": 1}, "before")
    command = [sys.executable, "-c", KILLED, str(archive.checkpoint_dir)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert list((archive.checkpoint_dir / "payloads" / "incoming").iterdir()) == []


def test_what_is_kept_meanwhile_is_no_plain_text_in_an_encrypted_store(sealed, monkeypatch):
    kept = []
    scratch = sealed._engine.payloads.scratch

    def watched():
        kept.append(scratch())
        return kept[-1]

    monkeypatch.setattr(sealed._engine.payloads, "scratch", watched)

    def pieces():
        yield b"secret" * 200_000
        kept[0].flush()
        found = Path(f"/proc/self/fd/{kept[0].fileno()}").read_bytes()
        assert len(found) == MIB + 16
        assert b"secret" not in found
        yield b"!"

    sealed.save({"stream": StreamedValue(pieces())}, "x")
    assert read(sealed, "x") == b"secret" * 200_000 + b"!"


# --- others


def test_the_name_of_streams_is_nobody_elses():
    class Mine:
        name = "stream"

    with pytest.raises(InvalidInputError, match="StreamedValue"):
        register_serializer(Mine())
    with pytest.raises(InvalidInputError, match="not known"):
        PipelineCheckpoint("nowhere", serializer="stream")


def test_streams_need_no_trust(archive):
    archive.save({"stream": StreamedValue(b"bytes")}, "x")
    with PipelineCheckpoint(archive.checkpoint_dir, trusted_globals=[]) as careful:
        assert read(careful, "x") == b"bytes"


def test_streams_stand_beside_json(store):
    handle = store(serializer="json")
    handle.save({"n": 1, "stream": StreamedValue(b"bytes")}, "x")
    assert read(handle, "x") == b"bytes"
