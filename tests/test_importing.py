"""The predecessor's directories imported: what comes, what is left, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from datetime import datetime

import pytest
from predecessor import LEGACY, STATES, line, put

from checkpointdb import (
    EncryptionError,
    InvalidInputError,
    PassphraseKey,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreUnavailableError,
    WrongKeyError,
    generate_encryption_key,
)

KEY = (LEGACY / "encrypted" / "encryption.key").read_bytes()
EXPECTED = json.loads((LEGACY / "expected.json").read_text())
OTHER_KEY = generate_encryption_key()


def summary(state):
    """What `expected.json` says of a state."""
    financial = state.get("financial", {})
    return {
        "keys": sorted(state),
        "raw_text_characters": len(state["raw_text"]),
        "presupuesto": financial.get("presupuesto"),
        "fuentes": sorted(financial.get("fuentes", [])),
        "questions": len(state.get("questions", [])),
        "edges": [list(edge) for edge in state.get("causal_graph", {}).get("edges", [])],
    }


def contents(directory):
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in (directory, *directory.rglob("*"))
        if path.is_file()
    } | {"": directory.stat().st_mtime_ns}


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_what_the_predecessor_saved_is_all_there(tmp_path, kind):
    target = PipelineCheckpoint(tmp_path / "new")
    report = target.import_legacy(LEGACY / kind, time_zone="UTC")
    assert report.imported == tuple(EXPECTED[kind])
    assert report.is_ok
    for name, expected in EXPECTED[kind].items():
        found = target.get_checkpoint_info(name)
        described = summary(target.load(name)) | {
            "is_incremental": found.is_incremental,
            "custom_metadata": found.custom_metadata,
            "timestamp": found.timestamp.removesuffix("+00:00"),
        }
        assert described == expected
        assert found.is_encrypted == (kind == "encrypted")
    assert target.check(read_data=True).problems == ()
    target.close()


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_the_old_directory_is_not_touched(tmp_path, kind):
    copy = tmp_path / "old"
    shutil.copytree(LEGACY / kind, copy)
    before = contents(copy)
    with PipelineCheckpoint(tmp_path / "new") as new:
        new.import_legacy(copy)
    with pytest.raises(StoreUnavailableError):
        PipelineCheckpoint(copy)
    assert contents(copy) == before


def test_incremental_ones_stay_upon_their_base_and_store_only_what_changed(archive, tmp_path):
    archive.import_legacy(line(tmp_path / "old"))
    found = {each.checkpoint_id: each for each in archive.list_checkpoints()}
    assert {name: archive.load(name) for name in found} == STATES
    assert [found[name].base_checkpoint_id for name in ("one", "two")] == [None, "one"]
    assert found["two"].size_bytes < 1_000


def test_keys_come_in_the_order_that_a_load_of_the_predecessor_gave(archive, tmp_path):
    archive.import_legacy(line(tmp_path / "old"))
    assert list(archive.load("two")) == ["a", "text", "b"]


@pytest.mark.parametrize(
    ("time_zone", "timestamp", "expected"),
    [
        ("America/Bogota", "2025-01-01T12:00:00.000001", "2025-01-01T17:00:00.000001+00:00"),
        ("Europe/Madrid", "2025-07-01T12:00:00", "2025-07-01T10:00:00+00:00"),
        # The hour that is there twice: the first.
        ("Europe/Madrid", "2025-10-26T02:30:00", "2025-10-26T00:30:00+00:00"),
        ("UTC", "2025-01-01T12:00:00+02:00", "2025-01-01T10:00:00+00:00"),
    ],
)
def test_times_are_those_of_the_zone_that_is_named(
    archive, tmp_path, time_zone, timestamp, expected
):
    put(tmp_path / "old", "x", {"a": 1}, timestamp=timestamp)
    archive.import_legacy(tmp_path / "old", time_zone=time_zone)
    found = archive.get_checkpoint_info("x").timestamp
    assert datetime.fromisoformat(found) == datetime.fromisoformat(expected)


def test_without_a_zone_times_are_the_machines(archive, tmp_path):
    put(tmp_path / "old", "x", {"a": 1})
    archive.import_legacy(tmp_path / "old")
    local = datetime(2025, 1, 1, 12, 0, 0, 1).astimezone()
    assert datetime.fromisoformat(archive.get_checkpoint_info("x").timestamp) == local


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", 7])
def test_a_zone_that_is_none_is_refused(archive, zone):
    with pytest.raises(InvalidInputError, match="time_zone"):
        archive.import_legacy(LEGACY / "plain", time_zone=zone)


def test_nothing_is_forgotten_by_the_import_whatever_the_policy_of_the_handle(store, tmp_path):
    handle = store(retention_policy=RetentionPolicy.KEEP_N_RECENT, retention_count=1)
    handle.import_legacy(line(tmp_path / "old"))
    assert len(handle.list_checkpoints()) == 3


def test_one_whose_base_is_of_a_later_time_comes_whole(archive, tmp_path):
    put(tmp_path / "old", "base", {"a": 1}, day=2)
    put(tmp_path / "old", "early", {"b": 2}, base="base", day=1)
    archive.import_legacy(tmp_path / "old")
    assert archive.load("early") == {"a": 1, "b": 2}
    assert archive.load("base") == {"a": 1}


def test_one_whose_base_was_skipped_comes_whole(archive, tmp_path):
    archive.save({"mine": 1}, "one")
    archive.import_legacy(line(tmp_path / "old"), on_conflict="skip")
    assert archive.load("two") == STATES["two"]


# --- ids that exist


def test_a_conflict_is_refused_before_anything_is_imported(archive, tmp_path):
    archive.save({"mine": 1}, "three")
    with pytest.raises(InvalidInputError, match=r"'three' already.*on_conflict"):
        archive.import_legacy(line(tmp_path / "old"))
    assert [each.checkpoint_id for each in archive.list_checkpoints()] == ["three"]


@pytest.mark.parametrize(
    ("on_conflict", "outcome", "states"),
    [
        ("skip", {"skipped": ("one",)}, {"one": {"mine": 1}}),
        ("replace", {"replaced": ("one",)}, {"one": STATES["one"]}),
        (
            "rename",
            {"renamed": (("one", "one-imported"),)},
            {"one": {"mine": 1}, "one-imported": STATES["one"]},
        ),
    ],
)
def test_an_id_that_is_another_checkpoints_is_handled_as_chosen(
    archive, tmp_path, on_conflict, outcome, states
):
    archive.save({"mine": 1}, "one")
    report = archive.import_legacy(line(tmp_path / "old"), on_conflict=on_conflict)
    assert {name: getattr(report, name) for name in outcome} == outcome
    expected = {"two": STATES["two"], "three": STATES["three"], **states}
    names = [each.checkpoint_id for each in archive.list_checkpoints()]
    assert {name: archive.load(name) for name in names} == expected
    again = archive.import_legacy(tmp_path / "old", on_conflict=on_conflict)
    assert again.imported == ()


def test_what_was_saved_upon_one_that_is_renamed_is_upon_its_new_id(archive, tmp_path):
    archive.save({"mine": 1}, "one")
    archive.import_legacy(line(tmp_path / "old"), on_conflict="rename")
    assert archive.get_checkpoint_info("two").base_checkpoint_id == "one-imported"
    assert archive.get_checkpoint_info("two").size_bytes < 1_000


def test_a_new_id_that_is_taken_too_gets_a_number(archive, tmp_path):
    for name in ("one", "one-imported"):
        archive.save({"mine": name}, name)
    report = archive.import_legacy(line(tmp_path / "old"), on_conflict="rename")
    assert report.renamed == (("one", "one-imported-2"),)


def test_an_unknown_choice_is_refused(archive):
    with pytest.raises(InvalidInputError, match="refuse, skip, replace, rename"):
        archive.import_legacy(LEGACY / "plain", on_conflict="overwrite")


def test_what_another_writer_saved_since_we_looked_is_not_replaced(archive, store, tmp_path):
    other = store()
    with pytest.raises(InvalidInputError, match="'two' was saved by another writer"):
        archive.import_legacy(
            line(tmp_path / "old"),
            progress=lambda done, _: done == 1 and other.save({"mine": 2}, "two"),
        )
    assert archive.load("two") == {"mine": 2}


@pytest.mark.parametrize("stop_after", [1, 2])
def test_an_import_that_was_killed_goes_on(archive, tmp_path, stop_after):
    line(tmp_path / "old")
    script = f"""
        import os, signal
        from checkpointdb import PipelineCheckpoint
        def stop(done, total):
            if done == {stop_after}:
                os.kill(os.getpid(), signal.SIGKILL)
        with PipelineCheckpoint({str(archive.checkpoint_dir)!r}) as store:
            store.import_legacy({str(tmp_path / "old")!r}, progress=stop)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], timeout=60, check=False, env=os.environ
    )
    assert done.returncode == -signal.SIGKILL
    report = archive.import_legacy(tmp_path / "old")
    assert len(report.present) == stop_after
    assert len(report.imported) == 3 - stop_after
    assert {name: archive.load(name) for name in STATES} == STATES


# --- what was encrypted


def test_a_new_store_becomes_encrypted_under_the_same_key(tmp_path):
    with PipelineCheckpoint(tmp_path / "new") as new:
        new.import_legacy(LEGACY / "encrypted")
        new.save({"later": 1}, "later")  # the handle goes on
        assert new.load("later") == {"later": 1}
    with pytest.raises(EncryptionError, match="is encrypted"):
        PipelineCheckpoint(tmp_path / "new")
    with PipelineCheckpoint(tmp_path / "new", KEY, enable_encryption=True) as new:
        assert len(new.list_checkpoints()) == 6
    for path in (tmp_path / "new").rglob("*"):
        assert path.is_dir() or b"presupuesto" not in path.read_bytes()


def test_an_encrypted_store_keeps_its_own_key(tmp_path):
    with PipelineCheckpoint(tmp_path / "new", OTHER_KEY, enable_encryption=True) as new:
        new.import_legacy(LEGACY / "encrypted", key=KEY)
        assert len(new.list_checkpoints()) == 5
    with pytest.raises(WrongKeyError):
        PipelineCheckpoint(tmp_path / "new", KEY, enable_encryption=True)


def test_the_key_of_the_store_opens_the_directory_too(tmp_path):
    line(tmp_path / "old", key=OTHER_KEY)
    with PipelineCheckpoint(tmp_path / "new", OTHER_KEY, enable_encryption=True) as new:
        assert len(new.import_legacy(tmp_path / "old").imported) == 3


def test_into_a_store_in_the_clear_it_comes_only_if_that_is_said(archive):
    archive.save({"mine": 1}, "mine")
    with pytest.raises(EncryptionError, match="allow_plain"):
        archive.import_legacy(LEGACY / "encrypted")
    assert len(archive.list_checkpoints()) == 1
    archive.import_legacy(LEGACY / "encrypted", allow_plain=True)
    assert len(archive.list_checkpoints()) == 6


def test_a_wrong_key_is_said_before_anything_is_written(tmp_path):
    with PipelineCheckpoint(tmp_path / "new") as new:
        with pytest.raises(WrongKeyError, match="opens no checkpoint"):
            new.import_legacy(LEGACY / "encrypted", key=OTHER_KEY)
        assert new.list_checkpoints() == []
    assert not (tmp_path / "new" / "keyring.json").exists()


def test_without_any_key_the_message_says_where_it_was_looked_for(archive, tmp_path):
    line(tmp_path / "old", key=OTHER_KEY)
    with pytest.raises(EncryptionError, match=r"no encryption\.key beside them: pass key"):
        archive.import_legacy(tmp_path / "old")
    with pytest.raises(EncryptionError, match="Fernet"):
        archive.import_legacy(tmp_path / "old", key=PassphraseKey("words"))


# --- opening


def test_opening_such_a_directory_explains_the_import(tmp_path):
    shutil.copytree(LEGACY / "plain", tmp_path / "an old one")
    with pytest.raises(StoreUnavailableError) as raised:
        PipelineCheckpoint(tmp_path / "an old one")
    assert f"import_legacy({str(tmp_path / 'an old one')!r})" in str(raised.value)
    assert f"checkpointdb --store STORE import '{tmp_path}/an old one'" in str(raised.value)


def test_a_directory_with_an_index_alone_is_none(tmp_path):
    (tmp_path / "checkpoint_index.json").write_text("{}")
    PipelineCheckpoint(tmp_path).close()
