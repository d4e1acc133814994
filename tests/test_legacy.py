"""What a damaged or hostile directory of the predecessor can do: nothing but be reported."""

from __future__ import annotations

import gzip
import json
import os
import pickle

import pytest
from breaking import refuse_to_list
from predecessor import STATES, line, put

from checkpointdb import (
    SAFE_GLOBALS,
    CorruptionError,
    InvalidInputError,
    PipelineCheckpoint,
    StoreUnavailableError,
    generate_encryption_key,
)

_ran = []


def ran():
    _ran.append(1)
    return {}


class Runs:
    def __reduce__(self):
        return ran, ()


@pytest.fixture
def old(tmp_path):
    return line(tmp_path / "old")


def reasons(handle, directory, **options):
    return dict(handle.import_legacy(directory, **options).unreadable)


def change_index(directory, change):
    path = directory / "checkpoint_index.json"
    index = json.loads(path.read_text())
    change(index["checkpoints"])
    path.write_text(json.dumps(index))


def test_a_changed_file_is_reported_before_it_is_unpickled(archive, old):
    _ran.clear()
    (old / "two.ckpt.gz").write_bytes(gzip.compress(pickle.dumps(Runs())))
    found = reasons(archive, old)
    assert list(found) == ["two"]
    assert "Hash verification failed: 'two.ckpt.gz'" in found["two"]
    assert _ran == []
    assert archive.load("three") == STATES["three"]


def test_what_is_upon_an_unreadable_base_is_unreadable_with_its_reason(archive, old):
    (old / "one.ckpt.gz").unlink()
    found = reasons(archive, old)
    assert sorted(found) == ["one", "three", "two"]
    assert found["two"] == f"its base 'one': {found['one']}"
    assert archive.list_checkpoints() == []


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (gzip.compress(pickle.dumps({"a": 1}))[:-9], "no whole gzip"),
        (b"no gzip", "no whole gzip"),
        (gzip.compress(b"no pickle"), "cannot be unpickled"),
        (gzip.compress(pickle.dumps(["a list"])), "holds list, not a dict"),
        (gzip.compress(pickle.dumps({1: "key"})), "keys of a state must be text"),
        (gzip.compress(b"cno.such\nname\n."), "ModuleNotFoundError"),
    ],
    ids=["cut off", "no gzip", "no pickle", "a list", "a key that is no text", "no such module"],
)
def test_a_file_that_is_no_state_is_reported(archive, tmp_path, packed, reason):
    put(tmp_path / "old", "good", {"a": 1})
    put(tmp_path / "old", "bad", None, packed=packed)
    found = reasons(archive, tmp_path / "old")
    assert list(found) == ["bad"]
    assert reason in found["bad"]
    assert archive.load("good") == {"a": 1}


def test_a_bomb_is_not_decompressed_beyond_the_bound(archive, tmp_path):
    put(tmp_path / "old", "bomb", None, packed=gzip.compress(bytes(10_000_000)))
    found = reasons(archive, tmp_path / "old", most_state_bytes=1_000_000)
    assert "raise most_state_bytes" in found["bomb"]


def test_what_a_pickle_names_must_be_trusted(archive, tmp_path):
    _ran.clear()
    put(tmp_path / "old", "plain", {"a": {1, 2}})
    put(tmp_path / "old", "runs", {"a": Runs()})
    found = reasons(archive, tmp_path / "old", trusted_globals=SAFE_GLOBALS)
    assert list(found) == ["runs"]
    assert "ran, which trusted_globals does not allow" in found["runs"]
    assert _ran == []


def test_what_the_handle_trusts_holds_for_the_import_too(store, tmp_path):
    handle = store(trusted_globals=SAFE_GLOBALS)
    put(tmp_path / "old", "runs", {"a": Runs()})
    assert list(reasons(handle, tmp_path / "old")) == ["runs"]


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "..\\secret", "..", "a:b", "", "a\0b"]
)
def test_an_id_that_leads_elsewhere_is_never_a_path(archive, tmp_path, name):
    put(tmp_path / "old", "x", {"a": 1})
    (tmp_path / "secret.ckpt.gz").write_bytes((tmp_path / "old" / "x.ckpt.gz").read_bytes())

    def lead_away(entries):
        entries[name] = {**entries.pop("x"), "checkpoint_id": name}

    change_index(tmp_path / "old", lead_away)
    assert reasons(archive, tmp_path / "old")[name] == "its id cannot be the name of a file"
    assert archive.list_checkpoints() == []


def test_the_path_in_the_index_is_not_followed(archive, old):
    change_index(old, lambda entries: entries["one"].update(file_path="/dev/zero"))
    assert reasons(archive, old) == {}
    assert archive.load("one") == STATES["one"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("name", ["one.ckpt.gz", "checkpoint_index.json"])
def test_links_are_not_followed(archive, old, tmp_path, name):
    (old / name).rename(tmp_path / "moved")
    (old / name).symlink_to(tmp_path / "moved")
    if name.endswith(".json"):
        with pytest.raises(StoreUnavailableError, match="is a link"):
            archive.import_legacy(old)
    else:
        assert reasons(archive, old)["one"] == "'one.ckpt.gz' is a link"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_pipe_is_not_waited_for(archive, old):
    (old / "two.ckpt.gz").unlink()
    os.mkfifo(old / "two.ckpt.gz")
    assert reasons(archive, old)["two"] == "'two.ckpt.gz' is no file"


def test_bases_in_a_circle_are_reported(archive, tmp_path):
    put(tmp_path / "old", "x", {}, base="y")
    put(tmp_path / "old", "y", {}, base="x")
    assert set(reasons(archive, tmp_path / "old").values()) == {"its bases lead back to themselves"}


def test_a_base_that_is_not_there_is_named(archive, tmp_path):
    put(tmp_path / "old", "x", {}, base="gone")
    assert reasons(archive, tmp_path / "old") == {"x": "its base 'gone': is not in the index"}


def test_a_long_line_of_incremental_upon_incremental_comes_whole(archive, tmp_path):
    put(tmp_path / "old", "0", {"n": 0, "0": 0})
    for n in range(1, 20):
        put(tmp_path / "old", str(n), {"n": n, str(n): n}, base=str(n - 1), day=1 + n)
    assert reasons(archive, tmp_path / "old") == {}
    assert archive.load("19") == {"n": 19, **{str(n): n for n in range(20)}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"timestamp": "yesterday"}, "is no time"),
        ({"timestamp": "0001-01-01T00:00:00+10:00"}, "is no time"),
        ({"timestamp": None}, "its timestamp in the index is missing"),
        ({"hash_sha256": "abc"}, "its hash_sha256 is none"),
        ({"is_incremental": "no"}, "its is_incremental in the index is missing"),
        ({"version": "3.0.0"}, "its version is '3.0.0'"),
        ({"checkpoint_id": "other"}, "or of another"),
        ({"custom_metadata": ["list"]}, "custom_metadata must be a dictionary"),
        ({"custom_metadata": {"a": "\0"}}, "NUL"),
        ({"is_incremental": True}, "its base_checkpoint_id in the index is missing"),
    ],
)
def test_an_entry_that_is_none_costs_that_checkpoint_alone(archive, tmp_path, changes, reason):
    put(tmp_path / "old", "good", {"a": 1})
    put(tmp_path / "old", "bad", {"a": 1}, **changes)
    found = reasons(archive, tmp_path / "old")
    assert list(found) == ["bad"]
    assert reason in found["bad"]


@pytest.mark.parametrize("deleted", ["text", [["a"]], 7])
def test_removed_keys_that_are_no_list_of_keys_are_reported(archive, tmp_path, deleted):
    put(tmp_path / "old", "one", {"text": 1})
    put(tmp_path / "old", "two", {"__deleted_keys__": deleted}, base="one", day=2)
    assert "no list of keys" in reasons(archive, tmp_path / "old")["two"]


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"checkpoints": []}', "\xff"])
def test_an_index_that_is_none_is_an_error_that_names_it(archive, old, text):
    (old / "checkpoint_index.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CorruptionError, match=r"checkpoint_index\.json"):
        archive.import_legacy(old)


def test_a_huge_index_is_not_read(archive, old):
    with (old / "checkpoint_index.json").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(StoreUnavailableError, match=r"checkpoint_index\.json.*over"):
        archive.import_legacy(old)


def test_a_directory_without_an_index_is_refused(archive, tmp_path):
    with pytest.raises(InvalidInputError, match="no directory of the predecessor"):
        archive.import_legacy(tmp_path / "nothing")


def test_a_directory_that_may_not_be_listed_is_not_taken_for_an_empty_one(
    archive, old, monkeypatch
):
    refuse_to_list(monkeypatch, lambda path: path == old)
    with pytest.raises(StoreUnavailableError, match="cannot be listed"):
        archive.import_legacy(old)
    assert archive.list_checkpoints() == []
    with pytest.raises(StoreUnavailableError, match="cannot be listed"):
        PipelineCheckpoint(old)


def test_a_file_that_the_index_does_not_name_is_reported(archive, old):
    (old / "lost.ckpt.gz").write_bytes(b"x")
    assert reasons(archive, old) == {"lost.ckpt.gz": "the index does not name this file"}


def test_a_token_of_another_key_costs_that_checkpoint_alone(archive, tmp_path):
    key = generate_encryption_key()
    put(tmp_path / "old", "one", {"a": 1}, key=key)
    put(tmp_path / "old", "two", {"a": 2}, key=generate_encryption_key(), day=2)
    archive.save({}, "mine")
    found = reasons(archive, tmp_path / "old", key=key, allow_plain=True)
    assert list(found) == ["two"]
    assert "cannot be decrypted" in found["two"]
