"""The public face: names, signatures, and code written for the system we replace."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import pickle
import stat
import subprocess
import sys
from dataclasses import asdict, is_dataclass
from datetime import datetime

import pytest
from labels import label

import checkpointdb
from checkpointdb import (
    ENCRYPTION_AVAILABLE,
    CheckpointError,
    CheckpointIndex,
    CheckpointMetadata,
    CheckpointVersion,
    CloudBackupConfig,
    CloudBackupProvider,
    CorruptionError,
    EncryptionError,
    InvalidInputError,
    InvalidStateError,
    NotFoundError,
    NotSupportedError,
    PipelineCheckpoint,
    RetentionPolicy,
    SchemaVersionError,
    StateChangedError,
    StoreBusyError,
    StoreUnavailableError,
    generate_encryption_key,
    load_encryption_key,
)

NO_DEFAULT = inspect.Parameter.empty
POSITIONAL = {
    PipelineCheckpoint: {
        "checkpoint_dir": "./checkpoints",
        "encryption_key": None,
        "enable_encryption": False,
        "enable_incremental": True,
        "retention_policy": RetentionPolicy.KEEP_N_RECENT,
        "retention_count": 10,
        "retention_age_days": 30,
        "cloud_backup_config": None,
    },
    PipelineCheckpoint.save: {
        "state": NO_DEFAULT,
        "checkpoint_id": None,
        "force_full": False,
        "custom_metadata": None,
    },
    PipelineCheckpoint.load: {"checkpoint_id": NO_DEFAULT, "verify_hash": True},
    PipelineCheckpoint.delete_checkpoint: {"checkpoint_id": NO_DEFAULT},
    PipelineCheckpoint.list_checkpoints: {
        "sort_by": "timestamp",
        "reverse": True,
        "filter_fn": None,
    },
    PipelineCheckpoint.get_checkpoint_info: {"checkpoint_id": NO_DEFAULT},
    PipelineCheckpoint.get_statistics: {},
    CloudBackupConfig: {
        "enabled": False,
        "provider": CloudBackupProvider.LOCAL_ONLY,
        "bucket_name": None,
        "region": None,
        "credentials_path": None,
        "auto_sync": False,
        "sync_interval_seconds": 3600,
    },
    generate_encryption_key: {"output_path": None},
    load_encryption_key: {"key_path": NO_DEFAULT},
}
KEYWORD_ONLY = [
    (PipelineCheckpoint, {"pipeline", "durable", "full_every", "compression_level"}),
    (PipelineCheckpoint.load, {"keys"}),
    (PipelineCheckpoint.list_checkpoints, {"where", "limit", "offset"}),
]
METADATA_FIELDS = [
    "checkpoint_id",
    "timestamp",
    "version",
    "file_path",
    "hash_sha256",
    "is_encrypted",
    "is_incremental",
    "base_checkpoint_id",
    "size_bytes",
    "state_keys",
    "custom_metadata",
]
STATISTICS = {
    "total_checkpoints",
    "total_size_bytes",
    "total_size_mb",
    "full_checkpoints",
    "incremental_checkpoints",
    "encrypted_checkpoints",
    "oldest_checkpoint",
    "oldest_timestamp",
    "newest_checkpoint",
    "newest_timestamp",
}


def parameters(function, *kinds):
    found = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in found if each.kind in kinds and each.name != "self"}


# --- names and signatures


def test_every_public_name_is_completed_at_a_prompt():
    found = subprocess.run(
        [sys.executable, "-c", "import checkpointdb; print(*dir(checkpointdb))"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert set(checkpointdb.__all__) <= set(found.stdout.split())


@pytest.mark.parametrize("name", checkpointdb.__all__)
def test_every_name_of_the_public_face_can_be_imported(name):
    assert getattr(checkpointdb, name) is not None


@pytest.mark.parametrize("function", POSITIONAL, ids=lambda each: each.__name__)
def test_arguments_stand_where_old_code_puts_them(function):
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    expected = POSITIONAL[function]
    found = parameters(function, kind)
    assert (list(found), found) == (list(expected), expected)


@pytest.mark.parametrize(("function", "names"), KEYWORD_ONLY)
def test_what_is_new_is_given_by_name_and_may_be_left_out(function, names):
    found = parameters(function, inspect.Parameter.KEYWORD_ONLY)
    assert names <= found.keys()
    assert NO_DEFAULT not in found.values()


@pytest.mark.parametrize(
    ("enum", "values"),
    [
        (
            RetentionPolicy,
            {
                "KEEP_N_RECENT": "keep_n_recent",
                "DELETE_OLDER_THAN": "delete_older_than",
                "KEEP_ALL": "keep_all",
            },
        ),
        (
            CloudBackupProvider,
            {
                "AWS_S3": "aws_s3",
                "AZURE_BLOB": "azure_blob",
                "GCP_STORAGE": "gcp_storage",
                "LOCAL_ONLY": "local_only",
            },
        ),
    ],
)
def test_enums_have_their_old_members(enum, values):
    assert {name: each.value for name, each in enum.__members__.items()} == values


def test_the_current_version_is_one_of_the_versions():
    assert CheckpointVersion.CURRENT.value in {each.value for each in CheckpointVersion}


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (NotFoundError, ValueError),
        (CorruptionError, ValueError),
        (InvalidInputError, ValueError),
        (InvalidStateError, TypeError),
        (StateChangedError, RuntimeError),
        (EncryptionError, RuntimeError),
        (SchemaVersionError, RuntimeError),
        (StoreBusyError, TimeoutError),
        (StoreUnavailableError, OSError),
        (NotSupportedError, NotImplementedError),
    ],
)
def test_an_error_is_also_the_builtin_that_old_code_catches(error, builtin):
    assert issubclass(error, builtin)
    assert issubclass(error, CheckpointError)


def test_a_handle_that_was_closed_may_be_used_again(tmp_path):
    handle = PipelineCheckpoint(tmp_path)
    handle.save({"a": 1}, "one")
    lazy = handle.lazy("one")
    handle.close()
    assert lazy["a"] == handle.load("one")["a"] == 1
    with handle:
        handle.save({"a": 2}, "two")
    handle.close()
    assert handle.load("two") == {"a": 2}
    handle.close()


# --- code for the system we replace


def test_a_pipeline_written_for_the_system_we_replace_runs_unchanged(tmp_path):
    manager = PipelineCheckpoint(
        checkpoint_dir=str(tmp_path / "checkpoints"),
        encryption_key=None,
        enable_encryption=False,
        enable_incremental=True,
        retention_policy=RetentionPolicy.KEEP_N_RECENT,
        retention_count=5,
        retention_age_days=30,
        cloud_backup_config=CloudBackupConfig(enabled=False),
    )
    state = {"document": "PDM", "stage": 0}
    for stage in range(1, 8):
        state["stage"] = stage
        state[f"result_{stage}"] = list(range(stage))
        found = manager.save(
            state, f"PDM_stage_{stage}", custom_metadata={"stage": stage, "name": f"s{stage}"}
        )
        assert found == f"PDM_stage_{stage}"
    assert manager.load("PDM_stage_7", verify_hash=True) == state
    assert len(manager.list_checkpoints()) == 5
    info = manager.get_checkpoint_info("PDM_stage_6")
    assert info.custom_metadata["stage"] == 6
    manager.delete_checkpoint("PDM_stage_3")
    assert manager.get_statistics()["total_checkpoints"] == 4
    manager.close()


def test_old_positional_calls_mean_what_they_meant(tmp_path):
    with PipelineCheckpoint(
        str(tmp_path), None, False, False, RetentionPolicy.KEEP_ALL, 10, 30, None
    ) as manager:
        manager.save({"a": 1}, "one")
        manager.save({"a": 1}, "two", True, {"note": "forced"})
        assert manager.load("two", False) == {"a": 1}
        assert [each.is_incremental for each in manager.list_checkpoints()] == [False, False]


@pytest.mark.parametrize(
    ("call", "kind", "word"),
    [
        (lambda handle: handle.load("nobody"), ValueError, "nobody"),
        (lambda handle: handle.pin("nobody"), ValueError, "nobody"),
        (lambda handle: handle.save([1, 2]), TypeError, "dict"),
        (lambda handle: handle.restore_from_cloud("a"), ValueError, "no backup is configured"),
        (lambda handle: handle.list_cloud_checkpoints(), ValueError, "no backup is configured"),
    ],
)
def test_old_handlers_catch_the_errors(store, call, kind, word):
    with pytest.raises(kind, match=word):
        call(store())


def test_deleting_an_unknown_id_only_logs_a_warning(store, caplog):
    with caplog.at_level(logging.WARNING):
        store().delete_checkpoint("nobody")
    assert "nobody" in caplog.text


def test_deleting_an_unknown_id_is_an_error_if_asked(store):
    with pytest.raises(NotFoundError, match="nobody"):
        store().delete_checkpoint("nobody", missing_ok=False)


def test_a_handle_closes_at_the_end_of_with(tmp_path):
    with PipelineCheckpoint(tmp_path) as handle:
        handle.save({"a": 1}, "a")
    handle.close()


def test_a_handle_says_what_it_is(store):
    text = repr(store(pipeline="nightly"))
    assert "nightly" in text
    assert "store" in text


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_handle_that_is_passed_to_another_process_says_what_to_pass(store, act):
    with pytest.raises(TypeError, match="give the directory"):
        act(store())


@pytest.mark.parametrize(
    "options",
    [
        {"retention_count": 0},
        {"retention_count": "many"},
        {"retention_policy": "keep_some"},
        {"full_every": 0},
        {"compression_level": 9},
        {"pipeline": ""},
        {"pipeline": 3},
        {"cloud_backup_config": {"enabled": True}},
        {
            "retention_policy": RetentionPolicy.DELETE_OLDER_THAN,
            "retention_age_days": -1,
        },
    ],
    ids=label,
)
def test_arguments_that_make_no_sense_are_refused_before_anything_is_written(tmp_path, options):
    with pytest.raises(InvalidInputError):
        PipelineCheckpoint(tmp_path / "new", **options)
    assert list(tmp_path.iterdir()) == []


# --- lists


def test_the_three_old_sort_names_sort(store):
    handle = store()
    for name, size in (("b", 3), ("c", 1), ("a", 2)):
        handle.save({"text": "x" * size, "list": list(range(size * 50))}, name, force_full=True)
    listed = {
        name: [each.checkpoint_id for each in handle.list_checkpoints(sort_by=name, reverse=False)]
        for name in ("timestamp", "size", "id")
    }
    assert listed == {
        "timestamp": ["b", "c", "a"],
        "size": ["c", "a", "b"],
        "id": ["a", "b", "c"],
    }


def test_newest_come_first_unless_reverse_is_false(store):
    handle = store()
    for name in "abc":
        handle.save({"n": name}, name)
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["c", "b", "a"]


def test_filter_fn_is_called_with_metadata(store):
    handle = store()
    for stage in range(4):
        handle.save({"n": stage}, f"s{stage}", custom_metadata={"stage": stage})
    found = handle.list_checkpoints(filter_fn=lambda each: each.custom_metadata["stage"] % 2 == 0)
    assert [each.checkpoint_id for each in found] == ["s2", "s0"]


def test_limit_and_offset_count_after_filter_fn(store):
    handle = store()
    for stage in range(6):
        handle.save({"n": stage}, f"s{stage}")
    odd = {"s1", "s3", "s5"}
    found = handle.list_checkpoints(
        filter_fn=lambda each: each.checkpoint_id in odd, limit=1, offset=1
    )
    assert [each.checkpoint_id for each in found] == ["s3"]


@pytest.mark.parametrize(
    "options", [{"sort_by": "colour"}, {"limit": -1}, {"offset": "x"}, {"where": "a"}], ids=label
)
def test_a_list_that_makes_no_sense_is_refused(store, options):
    with pytest.raises(InvalidInputError):
        store().list_checkpoints(**options)


# --- records


def test_metadata_has_the_old_fields_in_their_order(store):
    handle = store()
    handle.save({"b": 1, "a": 2}, "x", custom_metadata={"stage": 1})
    info = handle.get_checkpoint_info("x")
    assert is_dataclass(info)
    assert list(info.to_dict())[: len(METADATA_FIELDS)] == METADATA_FIELDS
    assert info.state_keys == ["b", "a"]
    assert info.custom_metadata == {"stage": 1}
    assert datetime.fromisoformat(info.timestamp).utcoffset().total_seconds() == 0


def test_metadata_goes_through_json_and_comes_back(store):
    handle = store()
    handle.save({"a": 1}, "x", custom_metadata={"nested": {"n": [1, None]}})
    info = handle.get_checkpoint_info("x")
    assert CheckpointMetadata.from_dict(json.loads(json.dumps(info.to_dict()))) == info


def test_metadata_of_old_and_of_newer_versions_can_be_read():
    old = dict.fromkeys(METADATA_FIELDS, "x") | {"state_keys": ["a"], "custom_metadata": {}}
    assert CheckpointMetadata.from_dict(old).state_keys == ["a"]
    assert CheckpointMetadata.from_dict(old | {"of_a_newer_version": 1}).file_path == "x"
    with pytest.raises(InvalidInputError):
        CheckpointMetadata.from_dict({"checkpoint_id": "x"})


def test_metadata_is_made_by_old_positional_code():
    values = ("x", "2026-01-01T00:00:00", "1.0.0", "/f", "00", False, True, "w", 3, ["a"], {"b": 1})
    made = CheckpointMetadata(*values)
    assert list(asdict(made).values())[: len(values)] == list(values)


def test_the_index_goes_through_json_and_comes_back(store):
    handle = store()
    handle.save({"a": 1}, "full")
    handle.save({"a": 2, "b": "x" * 100}, "next", force_full=True)
    index = handle.index()
    assert list(index.checkpoints) == ["full", "next"]
    assert index.last_full_checkpoint_id == "next"
    assert CheckpointIndex.from_dict(json.loads(json.dumps(index.to_dict()))) == index


def test_an_empty_index_can_be_made_and_read():
    assert CheckpointIndex.from_dict(CheckpointIndex({}, None).to_dict()) == CheckpointIndex()


def test_statistics_have_the_old_keys_even_when_there_is_nothing(store):
    found = store().get_statistics()
    assert found.keys() >= STATISTICS
    assert (found["total_checkpoints"], found["newest_checkpoint"]) == (0, None)


# --- cloud


def test_the_cloud_calls_of_old_code_do_what_they_say(store, tmp_path):
    config = CloudBackupConfig(True, CloudBackupProvider.AWS_S3, "bucket", "eu-central-1")
    handle = store(cloud_backup_config=config)  # nothing is asked of it yet
    handle.save({"n": 1}, "a")
    handle.configure_cloud_backup(CloudBackupConfig(True, url=(tmp_path / "nas").as_uri()))
    handle.sync_to_cloud(["a"])
    assert handle.list_cloud_checkpoints() == ["a"]
    assert handle.restore_from_cloud("a") == {"n": 1}


# --- keys

needs_cryptography = pytest.mark.skipif(not ENCRYPTION_AVAILABLE, reason="needs cryptography")


@needs_cryptography
def test_a_key_is_written_for_its_owner_alone_and_read_again(tmp_path):
    path = tmp_path / "store.key"
    key = generate_encryption_key(str(path))
    assert load_encryption_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["store.key"]


@needs_cryptography
def test_a_key_file_is_never_overwritten(tmp_path):
    path = tmp_path / "store.key"
    key = generate_encryption_key(path)
    with pytest.raises(FileExistsError, match="was not overwritten, name another") as raised:
        generate_encryption_key(path)
    assert (raised.value.filename, raised.value.filename2) == (str(path), None)
    assert load_encryption_key(path) == key


@needs_cryptography
def test_two_keys_differ_and_none_is_written_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert generate_encryption_key() != generate_encryption_key()
    assert list(tmp_path.iterdir()) == []


@needs_cryptography
@pytest.mark.parametrize("content", [b"", b"not a key", b"\xff" * 44, b"a" * 44 + b"\nb"])
def test_a_file_without_a_key_is_refused(tmp_path, content):
    path = tmp_path / "store.key"
    path.write_bytes(content)
    with pytest.raises(EncryptionError, match="Fernet"):
        load_encryption_key(path)
