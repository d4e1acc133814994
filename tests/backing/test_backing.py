"""Pushes to a remote, and pulls from it: the whole store, a part of it, one state."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from backed import payloads_at, state_of, states_of
from breaking import KEEP_ALL

from checkpointdb import (
    CloudBackupConfig,
    CloudBackupProvider,
    InvalidInputError,
    MissingKeyError,
    NotFoundError,
    PipelineCheckpoint,
    StoreBusyError,
    StoreUnavailableError,
    generate_encryption_key,
)
from checkpointdb.backup.directory_remote import DirectoryRemote
from checkpointdb.backup.layout import POINTER
from checkpointdb.backup.lease import leased
from checkpointdb.backup.pushing import _Push
from checkpointdb.backup.remote import remote_at
from checkpointdb.store.backing import refuse_own_place

pytestmark = pytest.mark.databases


def configured(handle, nas, **options):
    handle.configure_cloud_backup(CloudBackupConfig(True, url=nas.as_uri(), **options))
    return handle


# --- all of it


@pytest.mark.damages
def test_what_was_pushed_is_pulled_on_an_empty_machine(saved, nas, tmp_path):
    report = saved.push_backup(nas)
    assert (report.copied_payloads, report.payloads, report.checkpoints) == (3, 3, 3)
    assert report.copied_bytes == sum(path.stat().st_size for path in payloads_at(nas))
    shutil.rmtree(saved.checkpoint_dir / "payloads")
    pulled = PipelineCheckpoint.pull_backup(nas, tmp_path / "new")
    assert (pulled.checkpoints, pulled.payloads) == (3, 3)
    assert states_of(tmp_path / "new") == {f"s{n}": state_of(n) for n in range(3)}
    assert not list(tmp_path.glob("**/.*"))


def test_the_next_push_copies_only_what_is_new(saved, nas):
    saved.push_backup(nas)
    before = {path: path.stat().st_ino for path in payloads_at(nas)}
    saved.save(state_of(3), "s3")
    report = saved.push_backup(nas)
    assert (report.copied_payloads, report.payloads) == (1, 4)
    assert {path: path.stat().st_ino for path in before} == before
    assert [each.is_latest for each in saved.list_backups(nas)] == [False, True]


def test_metadata_pins_and_pipelines_come_back(saved, store, nas, tmp_path):
    saved.pin("s1")
    store(pipeline="other").save({"a": 1}, "s0")
    saved.push_backup(nas)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        assert back.pipelines() == ["default", "other"]
        assert [each.to_dict() | {"file_path": ""} for each in back.list_checkpoints()] == [
            each.to_dict() | {"file_path": ""} for each in saved.list_checkpoints()
        ]


def test_a_pulled_store_saves_upon_what_it_has_and_pushes_on(saved, nas, tmp_path):
    saved.push_backup(nas)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        back.save(state_of(3), "s3")
        assert back.get_checkpoint_info("s3").is_incremental
        assert back.push_backup(nas).copied_payloads == 1
    with pytest.raises(InvalidInputError, match="another"):
        saved.push_backup(nas)
    assert saved.push_backup(nas, takes_over=True).copied_payloads == 0


def test_an_older_snapshot_is_pulled_by_its_name(saved, nas, tmp_path):
    saved.push_backup(nas)
    saved.delete_checkpoint("s0")
    saved.save(state_of(9), "s9")
    saved.push_backup(nas)
    [older, latest] = saved.list_backups(nas)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "older", snapshot=older.name)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "latest", snapshot=latest.name)
    assert list(states_of(tmp_path / "older")) == ["s0", "s1", "s2"]
    assert list(states_of(tmp_path / "latest")) == ["s1", "s2", "s9"]


def test_of_a_store_that_went_back_in_time_no_payload_is_taken_for_another(saved, nas, tmp_path):
    saved.push_backup(nas)
    saved.save(state_of(7), "again")
    saved.push_backup(nas)
    [older, _] = saved.list_backups(nas)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back", snapshot=older.name)
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        back.save(state_of(8), "again")  # of the same name as the payload of the other
        assert back.push_backup(nas, takes_over=True).copied_payloads == 1
    PipelineCheckpoint.pull_backup(nas, tmp_path / "there")
    assert states_of(tmp_path / "there")["again"] == state_of(8)


def test_of_two_payloads_of_one_name_a_rebuild_takes_the_newer(saved, nas, tmp_path):
    saved.save(state_of(7), "again")
    saved.push_backup(nas)
    for path in payloads_at(nas):
        os.utime(path, (0, 0))
    saved.close()
    [again] = (saved.checkpoint_dir / "payloads" / "p-default").glob("*-again.ckpt.gz")
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        for number in range(3):
            back.save(state_of(number), f"s{number}")
        back.save(state_of(8), "again")
        assert back.push_backup(nas, takes_over=True).copied_payloads
    assert len([path for path in payloads_at(nas) if again.name[:16] in path.name]) == 2
    PipelineCheckpoint.pull_backup(nas, tmp_path / "there", rebuild=True)
    assert states_of(tmp_path / "there")["again"] == state_of(8)


def test_what_was_pulled_of_an_older_snapshot_does_not_go_on_with_the_backup(saved, nas, tmp_path):
    """Its next snapshot would hide what only the latest has."""
    saved.push_backup(nas)
    saved.save(state_of(9), "s9")
    saved.push_backup(nas)
    [older, _] = saved.list_backups(nas)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "older", snapshot=older.name)
    with PipelineCheckpoint(tmp_path / "older", **KEEP_ALL) as back:
        assert back.get_statistics()["not_backed_up_checkpoints"] == 3
        with pytest.raises(InvalidInputError, match="another copy of this one has pushed there"):
            back.push_backup(nas)


def test_nothing_is_pulled_over_a_directory_that_has_something(saved, nas, tmp_path):
    saved.push_backup(nas)
    with pytest.raises(InvalidInputError, match="overwrites nothing"):
        PipelineCheckpoint.pull_backup(nas, saved.checkpoint_dir)
    (tmp_path / "empty").mkdir()
    PipelineCheckpoint.pull_backup(nas, tmp_path / "empty")
    assert len(states_of(tmp_path / "empty")) == 3


def test_opening_and_changing_what_was_pulled_deletes_nothing_at_the_remote(
    saved, nas, tmp_path, tree
):
    saved.push_backup(nas)
    before = tree(nas)
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    with PipelineCheckpoint(tmp_path / "back", **KEEP_ALL) as back:
        back.delete_checkpoint("s0")
        back.sweep()
    assert tree(nas) == before


def test_an_empty_store_can_be_pushed_and_pulled(archive, nas, tmp_path):
    assert archive.push_backup(nas).payloads == 0
    assert PipelineCheckpoint.pull_backup(nas, tmp_path / "back").checkpoints == 0
    assert states_of(tmp_path / "back") == {}


def test_payloads_that_lie_elsewhere_come_back_into_the_store(store, nas, tmp_path):
    handle = store("rows", payload_url=(tmp_path / "elsewhere").as_uri(), **KEEP_ALL)
    handle.save(state_of(1), "s1")
    with pytest.raises(InvalidInputError, match="lost with it"):
        handle.push_backup(tmp_path / "elsewhere")
    assert handle.push_backup(nas).copied_payloads == 1
    PipelineCheckpoint.pull_backup(nas, tmp_path / "back")
    assert states_of(tmp_path / "back") == {"s1": state_of(1)}
    assert list((tmp_path / "back" / "payloads").glob("p-*/*"))


# --- a part of it


def test_one_checkpoint_is_pulled_with_just_the_payloads_that_it_needs(saved, nas, tmp_path):
    saved.save({"alone": "x" * 9_000}, "alone", force_full=True)
    saved.push_backup(nas)
    report = PipelineCheckpoint.pull_backup(nas, tmp_path / "one", checkpoint_ids=["alone"])
    assert (report.checkpoints, report.payloads) == (1, 1)
    assert states_of(tmp_path / "one") == {"alone": {"alone": "x" * 9_000}}
    report = PipelineCheckpoint.pull_backup(nas, tmp_path / "two", checkpoint_ids=["s1"])
    assert (report.checkpoints, report.payloads) == (1, 2)
    assert states_of(tmp_path / "two") == {"s1": state_of(1)}
    with (
        PipelineCheckpoint(tmp_path / "two", **KEEP_ALL) as part,
        pytest.raises(InvalidInputError, match="another"),
    ):
        part.push_backup(nas)  # would hide the rest


def test_one_pipeline_is_pulled(saved, store, nas, tmp_path):
    store(pipeline="other").save({"a": 1}, "x")
    saved.push_backup(nas)
    report = PipelineCheckpoint.pull_backup(nas, tmp_path / "part", pipelines=["other"])
    assert (report.checkpoints, report.payloads) == (1, 1)
    assert states_of(tmp_path / "part", pipeline="other") == {"x": {"a": 1}}


@pytest.mark.parametrize("part", [{"pipelines": ["no"]}, {"checkpoint_ids": ["s1", "no"]}])
def test_what_is_not_in_the_backup_is_an_error_and_leaves_no_store(saved, nas, tmp_path, part):
    saved.push_backup(nas)
    with pytest.raises(NotFoundError, match="'no'"):
        PipelineCheckpoint.pull_backup(nas, tmp_path / "part", **part)
    assert not (tmp_path / "part").exists()
    assert not (tmp_path / ".part.pull").exists()


def test_a_state_comes_from_the_remote_and_the_store_stays_as_it_is(saved, nas, tree):
    configured(saved, nas).sync_to_cloud(["s1"])
    saved.delete_checkpoint("s1")
    before = tree(saved.checkpoint_dir)
    assert saved.list_cloud_checkpoints() == ["s0", "s1", "s2"]
    assert saved.restore_from_cloud("s1") == state_of(1)
    assert tree(saved.checkpoint_dir) == before
    with pytest.raises(NotFoundError, match="nobody"):
        saved.restore_from_cloud("nobody")
    with pytest.raises(NotFoundError, match="nobody"):
        saved.sync_to_cloud(["nobody"])


# --- encrypted


@pytest.mark.damages
def test_an_encrypted_store_is_restored_with_its_key_and_the_remote_alone(store, nas, tmp_path):
    key = generate_encryption_key()
    handle = store("sealed", encryption_key=key, enable_encryption=True, **KEEP_ALL)
    handle.save({"secret": "very secret " * 50}, "a")
    configured(handle, nas).push_backup()
    assert all(b"very secret" not in path.read_bytes() for path in nas.rglob("*.gz"))
    assert handle.restore_from_cloud("a") == {"secret": "very secret " * 50}
    handle.close()
    shutil.rmtree(handle.checkpoint_dir)
    PipelineCheckpoint.pull_backup(nas, handle.checkpoint_dir)
    with pytest.raises(MissingKeyError):
        PipelineCheckpoint(handle.checkpoint_dir, enable_encryption=True)
    assert states_of(handle.checkpoint_dir, key) == {"a": {"secret": "very secret " * 50}}
    PipelineCheckpoint.pull_backup(nas, tmp_path / "rebuilt", key, rebuild=True)
    assert states_of(tmp_path / "rebuilt", key) == {"a": {"secret": "very secret " * 50}}


# --- whose backup it is


def test_two_stores_cannot_push_to_one_place(saved, store, nas, tree):
    saved.push_backup(nas)
    other = store("other")
    other.save({"b": 1}, "b")
    before = tree(nas)
    with pytest.raises(InvalidInputError, match="another store"):
        other.push_backup(nas)
    assert tree(nas) == before


def test_a_backup_that_is_gone_is_not_begun_anew_unasked(saved, nas):
    saved.push_backup(nas)
    shutil.rmtree(nas)
    with pytest.raises(StoreUnavailableError, match="gone"):
        saved.push_backup(nas)
    assert not nas.exists()
    assert saved.push_backup(nas, takes_over=True).copied_payloads == 3


def test_pushes_that_are_cut_off_at_the_pointer_again_and_again_go_on(saved, nas, monkeypatch):
    """One behind it, which is known as pending alone; the next before it, which is pending then."""

    def cut_off(*_arguments):
        raise KeyboardInterrupt

    for _ in range(2):
        for owner, name in ((_Push, "_note"), (DirectoryRemote, "swap")):
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, cut_off)
                with pytest.raises(KeyboardInterrupt):
                    saved.push_backup(nas)
    assert saved.push_backup(nas).checkpoints == 3


def test_two_pushes_at_once_are_refused(saved, nas):
    with (
        leased(saved._engine.database, f"backup to {nas.as_uri()}"),
        pytest.raises(StoreBusyError, match="another process"),
    ):
        saved.push_backup(nas)
    saved.push_backup(nas)


@pytest.mark.parametrize("place", ["", "payloads", "backups/of/it"])
def test_a_place_within_the_store_is_refused(saved, tree, place):
    before = tree(saved.checkpoint_dir)
    with pytest.raises(InvalidInputError, match="lost with it"):
        saved.push_backup(saved.checkpoint_dir / place)
    assert tree(saved.checkpoint_dir) == before


def test_a_place_within_the_store_is_known_by_another_name(saved, store, tmp_path):
    (tmp_path / "link").symlink_to(saved.checkpoint_dir)
    with pytest.raises(InvalidInputError, match="lost with it"):
        saved.push_backup(tmp_path / "link" / "backups")
    options = "?region=eu-1&endpoint=http://127.0.0.1:9"
    for place, there in [("s3://b/runs", "s3://b/runs/backups"), ("s3://b", "s3://b/x")]:
        for url in (f"{there}{options}", f"{place}{options}"):
            with pytest.raises(InvalidInputError, match="lost with it"):
                refuse_own_place(remote_at(url), tmp_path, f"{place}?endpoint=http://127.0.0.1:9")
    refuse_own_place(remote_at("s3://b/runs-backup"), tmp_path, "s3://b/runs")
    refuse_own_place(remote_at("s3://b/runs"), tmp_path, "s3://c/runs")
    refuse_own_place(remote_at(tmp_path / "nas"), tmp_path / "store", "s3://c/runs")


@pytest.mark.parametrize("name", ["payloads", "snapshots", "incoming/deep"])
def test_a_store_that_lies_among_the_files_of_a_backup_is_refused(store, nas, name):
    inside = store(f"nas/backups/{name}")
    with pytest.raises(InvalidInputError, match="has its own files"):
        inside.push_backup(nas)
    with pytest.raises(InvalidInputError, match="has its own files"):
        refuse_own_place(remote_at("s3://b/team"), nas, f"s3://b/team/{name}?region=eu-1")
    refuse_own_place(remote_at("s3://b/team"), nas, f"s3://b/team/other/{name}")
    assert list(nas.rglob("*.json")) == []


# --- configuration


def test_without_a_configured_backup_nothing_is_copied_and_the_log_says_so(saved, caplog):
    saved.configure_cloud_backup(CloudBackupConfig(enabled=True))
    saved.sync_to_cloud()
    assert "nothing was copied" in caplog.text
    with pytest.raises(InvalidInputError, match="no backup is configured"):
        saved.list_cloud_checkpoints()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///{}/nas#1", "write %3F for"),
        ("file:///{}/nas?x=1", "write %3F for"),
        ("file:///{}/nas\t1", "write %3F for"),
        ("file:///{}/nas%00", "names no local directory"),
        ("file:///{}/nas\ud800", "is no URL"),
        ("file://[/{}/nas", "is no URL"),
        ("file:nas", "names no local directory"),
        ("s3:/nas", "does not name a bucket"),
    ],
)
def test_a_url_that_would_name_another_directory_is_refused(
    store, saved, tmp_path, monkeypatch, url, words
):
    monkeypatch.chdir(tmp_path)
    named = url.format(str(tmp_path)[1:])
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InvalidInputError, match=words):
        saved.push_backup(named)
    with pytest.raises(InvalidInputError, match=words):
        store("other", payload_url=named).save({"a": 1}, "a")
    assert {each for each in tmp_path.rglob("*") if "other" not in each.parts} == before


@pytest.mark.parametrize("is_there", [False, True])
def test_a_place_without_a_backup_is_not_an_empty_backup(saved, nas, is_there):
    if is_there:
        nas.mkdir(parents=True)
    with pytest.raises(NotFoundError, match="there is no backup at"):
        saved.list_backups(nas)
    assert nas.exists() == is_there


def test_snapshots_without_the_latest_are_still_listed(saved, nas):
    saved.push_backup(nas)
    (nas / POINTER).unlink()
    assert [each.is_latest for each in saved.list_backups(nas)] == [False]


def test_a_url_names_the_same_directory_with_one_slash_and_with_three(saved, nas, tmp_path):
    saved.push_backup(f"file:{nas}")
    assert len(saved.list_backups(nas)) == len(saved.list_backups(nas.as_uri())) == 1


def test_a_directory_with_the_name_of_a_service_is_a_directory(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("file", "s3", Path("file:nas"), "./s3:nas"):
        saved.push_backup(name)
        assert (tmp_path / name).is_dir()


def test_a_directory_whose_name_is_no_utf_8_is_itself(store, saved, tmp_path):
    directory = tmp_path / os.fsdecode(b"nas\xff#?%")
    try:
        directory.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    saved.push_backup(directory)
    elsewhere = store("other", payload_url=(directory / "own").as_uri())
    elsewhere.save({"a": 1}, "a")
    assert {each.name for each in directory.iterdir()} >= {"snapshots", "own"}
    assert [each.name for each in tmp_path.glob("nas*")] == [directory.name]


@pytest.mark.parametrize("url", ["ftp://x/y", "file://host/x", "s3:///x"])
def test_a_configuration_that_names_no_place_is_refused(store, url):
    with pytest.raises(InvalidInputError):
        store().configure_cloud_backup(CloudBackupConfig(True, url=url))


@pytest.mark.parametrize(
    ("provider", "scheme"), [("s3", "s3"), ("aws_s3", "s3"), ("az", "az"), ("gcp_storage", "gs")]
)
def test_a_provider_may_be_given_by_its_text(provider, scheme):
    pytest.importorskip("obstore")
    config = CloudBackupConfig(True, provider=provider, bucket_name="x", region="eu-1")
    assert isinstance(config.provider, CloudBackupProvider)
    if scheme == "az":
        config.endpoint_url = "http://127.0.0.1:9"
    assert remote_at(config).url.startswith(f"{scheme}://x")


@pytest.mark.parametrize("provider", ["s4", None, 3, ["s3"]])
def test_a_provider_that_there_is_not_is_refused_with_those_that_there_are(provider):
    with pytest.raises(InvalidInputError, match="aws_s3, azure_blob, gcp_storage, local_only"):
        CloudBackupConfig(True, provider=provider, bucket_name="x")


def test_a_configuration_may_name_a_directory_as_a_push_may(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("nas/backups", tmp_path / "nas/backups", str(tmp_path / "nas/backups")):
        saved.configure_cloud_backup(CloudBackupConfig(True, url=place))
        saved.push_backup()
    assert len(saved.list_backups("nas/backups")) == 3


def test_a_scheme_that_is_not_known_is_not_said_to_be_about_payloads(saved):
    with pytest.raises(InvalidInputError, match="names no place that is known: use one of file://"):
        saved.push_backup("ftp://x/y")
