"""One checkpoint in one file: written, taken elsewhere, refused when it is not whole."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from breaking import refuse_to_list

from checkpointdb import (
    CheckpointError,
    CorruptionError,
    EncryptionError,
    InvalidInputError,
    NotFoundError,
    PipelineCheckpoint,
    StoreUnavailableError,
    WrongKeyError,
    generate_encryption_key,
)
from checkpointdb.store import copying

ROOT = Path(__file__).resolve().parent.parent
KEY = generate_encryption_key()
STATE = {"text": "secret words " * 9_000, "n": 2, "array": np.arange(9_000.0), "nothing": None}
_unpickled = []


def unpickled():
    _unpickled.append(1)


class TellsWhenUnpickled:
    def __reduce__(self):
        return unpickled, ()


def fill(handle):
    handle.save({**STATE, "n": 1}, "first")
    handle.save(STATE, "second", custom_metadata={"accuracy": 0.9}, pinned=True)
    assert handle.get_checkpoint_info("second").is_incremental
    return handle


def sealed(tmp_path, name="sealed", key=KEY):
    return PipelineCheckpoint(tmp_path / name, key, enable_encryption=True, durable=False)


def recover(file, *arguments):
    command = [sys.executable, ROOT / "examples" / "recover.py", file, *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout


@pytest.fixture
def parcel(archive, tmp_path):
    """The file of an incremental checkpoint, from a store in the clear."""
    fill(archive).export_checkpoint("second", tmp_path / "second.ckpt.gz")
    return tmp_path / "second.ckpt.gz"


@pytest.fixture
def sealed_parcel(tmp_path):
    with sealed(tmp_path) as handle:
        fill(handle).export_checkpoint("second", tmp_path / "second.tar")
    return tmp_path / "second.tar"


def test_a_file_is_gzip_and_enough_for_the_script_that_needs_nothing_of_ours(parcel):
    subprocess.run(["gzip", "-t"], input=parcel.read_bytes(), check=True)
    np.testing.assert_equal(pickle.loads(recover(parcel)), STATE)


def test_a_file_brings_everything_but_the_pin(archive, store, parcel):
    other = store("other", pipeline="elsewhere")
    report = other.import_checkpoint(parcel)
    assert report.imported == ("second",)
    np.testing.assert_equal(other.load("second"), STATE)
    before, after = (each.get_checkpoint_info("second") for each in (archive, other))
    assert after.timestamp == before.timestamp
    assert after.custom_metadata == {"accuracy": 0.9}
    assert after.state_keys == list(STATE)
    assert not after.is_incremental
    assert not after.pinned


def test_nothing_is_unpickled_on_either_way(archive, store, tmp_path):
    _unpickled.clear()
    archive.save({"a": TellsWhenUnpickled()}, "x")
    archive.export_checkpoint("x", tmp_path / "x")
    other = store("other")
    other.import_checkpoint(tmp_path / "x")
    assert _unpickled == []
    other.load("x")
    assert _unpickled == [1]


def test_the_payload_of_a_full_checkpoint_is_such_a_file_too(archive, store):
    fill(archive)
    other = store("other")
    other.import_checkpoint(archive.get_checkpoint_info("first").file_path)
    np.testing.assert_equal(other.load("first"), {**STATE, "n": 1})


def test_the_payload_of_an_incremental_one_is_not(archive, store):
    fill(archive)
    with pytest.raises(CorruptionError, match=r"incremental.*export_checkpoint"):
        store("other").import_checkpoint(archive.get_checkpoint_info("second").file_path)


def test_a_file_is_private_and_never_overwritten_unasked(archive, parcel):
    before = parcel.read_bytes()
    if os.name != "nt":
        assert parcel.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidInputError, match="overwrite=True"):
        archive.export_checkpoint("first", parcel)
    assert parcel.read_bytes() == before
    archive.export_checkpoint("first", parcel, overwrite=True)
    assert pickle.loads(recover(parcel))["n"] == 1


@pytest.mark.parametrize(
    ("name", "file", "error"),
    [
        ("unknown", "out", NotFoundError),
        ("second", "missing/out", StoreUnavailableError),
        ("second", "", InvalidInputError),
    ],
)
def test_an_export_that_fails_leaves_nothing(archive, tmp_path, tree, name, file, error):
    fill(archive)
    before = {path for path in tree(tmp_path) if not path.startswith("store/")}
    with pytest.raises(error):
        archive.export_checkpoint(name, tmp_path / file)
    assert {path for path in tree(tmp_path) if not path.startswith("store/")} == before


def test_an_export_whose_own_directory_may_not_be_listed_says_so(
    archive, tmp_path, tree, monkeypatch
):
    fill(archive)
    before = tree(tmp_path)

    def is_filled(path):
        return ".checkpointdb-" in str(path) and (path / "p-default").exists()

    with monkeypatch.context() as patch:
        refuse_to_list(patch, is_filled)
        with pytest.raises(StoreUnavailableError, match="permission"):
            archive.export_checkpoint("second", tmp_path / "out")
    assert tree(tmp_path).keys() == before.keys()


@pytest.mark.parametrize("times", [1, 99])
def test_what_is_replaced_during_an_export_is_exported_whole_or_not_at_all(
    archive, store, tmp_path, monkeypatch, times
):
    writer, copy, left = store(), copying.copy_checkpoint, [*range(times)]

    def replace_first(*arguments):
        if left:
            left.pop()
            writer.save({"new": 1}, "x", custom_metadata={"which": "new"})
        return copy(*arguments)

    monkeypatch.setattr(copying, "copy_checkpoint", replace_first)
    archive.save({"old": 1}, "x", custom_metadata={"which": "old"})
    if times > 1:
        with pytest.raises(NotFoundError, match="again and again"):
            archive.export_checkpoint("x", tmp_path / "x")
        return
    archive.export_checkpoint("x", tmp_path / "x")
    other = store("other")
    other.import_checkpoint(tmp_path / "x")
    assert other.load("x") == {"new": 1}
    assert other.get_checkpoint_info("x").custom_metadata == {"which": "new"}


@pytest.mark.damages
def test_a_damaged_checkpoint_is_not_exported(archive, tmp_path):
    fill(archive)
    path = Path(archive.get_checkpoint_info("first").file_path)
    path.write_bytes(path.read_bytes()[:50] + b"?" + path.read_bytes()[51:])
    with pytest.raises(CorruptionError, match="'second'"):
        archive.export_checkpoint("second", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- ids that exist


@pytest.mark.parametrize(
    ("on_conflict", "outcome"),
    [
        ("skip", {"skipped": ("second",), "imported": ()}),
        ("replace", {"replaced": ("second",), "imported": ("second",)}),
        ("rename", {"renamed": (("second", "second-imported"),), "imported": ("second-imported",)}),
    ],
)
def test_an_id_that_is_another_checkpoints_is_handled_as_chosen(
    store, parcel, on_conflict, outcome
):
    other = store("other")
    other.save({"mine": 1}, "second", pinned=True)
    with pytest.raises(InvalidInputError, match="on_conflict"):
        other.import_checkpoint(parcel)
    report = other.import_checkpoint(parcel, on_conflict=on_conflict)
    assert {name: getattr(report, name) for name in outcome} == outcome
    assert other.get_checkpoint_info("second").pinned
    assert (other.load("second") == {"mine": 1}) == (on_conflict != "replace")
    assert other.import_checkpoint(parcel, on_conflict=on_conflict).imported == ()


def test_what_was_imported_before_is_recognised(store, parcel):
    other = store("other")
    other.import_checkpoint(parcel)
    assert other.import_checkpoint(parcel).present == ("second",)


# --- encrypted


def test_what_leaves_an_encrypted_store_is_encrypted_and_its_key_opens_it(tmp_path, sealed_parcel):
    assert b"secret words" not in sealed_parcel.read_bytes()
    with PipelineCheckpoint(tmp_path / "new") as new:
        with pytest.raises(EncryptionError, match="pass the key"):
            new.import_checkpoint(sealed_parcel)
        new.import_checkpoint(sealed_parcel, key=KEY)
        assert new.key_ids() != []
        np.testing.assert_equal(new.load("second"), STATE)
    for path in (tmp_path / "new").rglob("*"):
        assert path.is_dir() or b"secret words" not in path.read_bytes()


def test_an_archive_is_a_store_that_tar_and_rebuild_open(tmp_path, sealed_parcel):
    (tmp_path / "by hand").mkdir()
    subprocess.run(["tar", "-xf", sealed_parcel, "-C", tmp_path / "by hand"], check=True)
    PipelineCheckpoint.rebuild(tmp_path / "by hand", KEY)
    with sealed(tmp_path, "by hand") as handle:
        np.testing.assert_equal(handle.load("second"), STATE)


def test_the_master_key_of_the_store_does_not_leave_it(tmp_path, sealed_parcel):
    with tarfile.open(sealed_parcel) as archive:
        assert len(archive.getmembers()) == 2
        keyring = archive.extractfile("keyring.json").read()
    assert keyring != (tmp_path / "sealed" / "keyring.json").read_bytes()


def test_another_key_may_open_the_file(archive, tmp_path):
    other = generate_encryption_key()
    fill(archive).export_checkpoint("second", tmp_path / "out", key=other)
    with sealed(tmp_path) as handle:
        with pytest.raises(WrongKeyError):
            handle.import_checkpoint(tmp_path / "out")
        handle.import_checkpoint(tmp_path / "out", key=other)
        np.testing.assert_equal(handle.load("second"), STATE)


def test_in_the_clear_it_leaves_and_arrives_only_if_that_is_said(archive, tmp_path, sealed_parcel):
    with sealed(tmp_path) as handle:
        handle.export_checkpoint("second", tmp_path / "clear", encrypted=False)
    np.testing.assert_equal(pickle.loads(recover(tmp_path / "clear")), STATE)
    archive.save({"mine": 1}, "mine")
    with pytest.raises(EncryptionError, match="allow_plain"):
        archive.import_checkpoint(sealed_parcel, key=KEY)
    archive.import_checkpoint(sealed_parcel, key=KEY, allow_plain=True)
    np.testing.assert_equal(archive.load("second"), STATE)


@pytest.mark.parametrize("options", [{"encrypted": True}, {"encrypted": False, "key": KEY}])
def test_keys_that_make_no_sense_export_nothing(archive, tmp_path, options):
    with pytest.raises(EncryptionError):
        fill(archive).export_checkpoint("second", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


# --- files that are not whole


@pytest.mark.parametrize("kind", ["parcel", "sealed_parcel"])
def test_a_byte_that_changed_is_found_wherever_it_is(store, request, tmp_path, kind):
    raw = request.getfixturevalue(kind).read_bytes()
    other = store("other") if kind == "parcel" else sealed(tmp_path, "other")
    # Of an archive, what tar pads with means nothing.
    end = len(raw) if kind == "parcel" else len(raw.rstrip(b"\0"))
    for at in range(10, end, end // 8):
        changed = raw[:at] + bytes([raw[at] ^ 0x11]) + raw[at + 1 :]
        (tmp_path / "changed").write_bytes(changed)
        try:
            other.import_checkpoint(tmp_path / "changed")
        except CheckpointError:
            assert other.list_checkpoints() == []
        else:
            np.testing.assert_equal(other.load("second"), STATE)
            other.delete_checkpoint("second")
    other.close()


@pytest.mark.parametrize("kind", ["parcel", "sealed_parcel"])
def test_a_file_that_was_cut_off_is_refused_and_named(request, store, tmp_path, kind):
    file = request.getfixturevalue(kind)
    raw = file.read_bytes().rstrip(b"\0")
    for length in (len(raw) // 3, len(raw) - 1):
        file.write_bytes(raw[:length])
        with pytest.raises(CorruptionError, match=file.name):
            store("other").import_checkpoint(file, key=KEY)
    assert [path.name for path in (tmp_path / "other").glob(".*")] == []


@pytest.mark.parametrize("content", [b"", b"text", b"CKPTSEAL" * 100, b"\x1f\x8b" * 100])
def test_what_is_no_such_file_is_refused(archive, tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CorruptionError, match=str(tmp_path / "x")):
        archive.import_checkpoint(tmp_path / "x")


@pytest.mark.parametrize("file", ["missing", ""])
def test_a_file_that_cannot_be_read_is_named(archive, tmp_path, file):
    with pytest.raises(StoreUnavailableError, match="cannot be read"):
        archive.import_checkpoint(tmp_path / file)


def hostile(name, kind=tarfile.REGTYPE, data=b"x"):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), "/etc/passwd"
    return info, io.BytesIO(data)


@pytest.mark.parametrize(
    "members",
    [
        [hostile("../outside")],
        [hostile("/tmp/outside")],
        [hostile("payloads/../../p-x/0000000001-x.ckpt.gz")],
        [hostile("payloads/p-x/../0000000001-x.ckpt.gz")],
        [hostile("keyring.json", tarfile.SYMTYPE, b"")],
        [hostile("keyring.json", tarfile.LNKTYPE, b"")],
        [hostile("keyring.json", tarfile.FIFOTYPE, b"")],
        [hostile("keyring.json", data=bytes(2 << 20))],
        [hostile("keyring.json"), hostile("keyring.json")],
        [hostile("checkpoints.db")],
        [hostile("payloads/p-x/0000000001-x.ckpt.gz")],
    ],
)
def test_an_archive_writes_nothing_where_it_should_not(archive, tmp_path, tree, members):
    with tarfile.open(tmp_path / "hostile.tar", "w") as made:
        for info, data in members:
            made.addfile(info, data)
    before = tree(tmp_path)
    with pytest.raises(CorruptionError, match=r"hostile\.tar"):
        archive.import_checkpoint(tmp_path / "hostile.tar", key=KEY)
    assert set(tree(tmp_path)) == set(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows lists what it may enter")
def test_an_export_needs_not_list_the_directory_it_writes_into(archive, tmp_path, monkeypatch):
    archive.save(STATE, "one")
    with monkeypatch.context() as patch:
        refuse_to_list(patch, lambda path: path == tmp_path)
        archive.export_checkpoint("one", tmp_path / "one.gz")
    assert (tmp_path / "one.gz").exists()


def test_what_a_killed_export_left_beside_the_file_goes_a_day_later(archive, tmp_path):
    archive.save(STATE, "one")
    old, young = (tmp_path / f".one.gz.checkpointdb-{name}" for name in ("old", "young"))
    theirs = tmp_path / ".one.gz.backup"
    for each in (old, young, theirs):
        (each / "store").mkdir(parents=True)
    for each in (old, theirs):
        os.utime(each, (0, 0))
    archive.export_checkpoint("one", tmp_path / "one.gz")
    assert [each.exists() for each in (old, young, theirs)] == [False, True, True]
