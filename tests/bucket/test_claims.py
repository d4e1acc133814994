"""A place belongs to one database, and a wrong place is not taken for a store without payloads."""

from __future__ import annotations

import shutil
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from checkpointdb import (
    CloudBackupConfig,
    CloudBackupProvider,
    InvalidInputError,
    PipelineCheckpoint,
    StoreUnavailableError,
)
from checkpointdb.store.claims import Claim
from checkpointdb.store.places import access_to, payloads_at
from checkpointdb.sweep import sweep

NAME = "p-default/0000000001-first-0a1b2c3d.ckpt.gz"


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/a/b"
    return (tmp_path / "nas" / "payloads").as_uri()


only_in_a_directory = pytest.mark.parametrize("url", ["file"], indirect=True)


@pytest.fixture
def place(url, tmp_path):
    return payloads_at(url, tmp_path, durable=False)


def test_two_databases_do_not_share_a_place(placed, url, tmp_path):
    placed().save({"n": 1}, "one")
    with pytest.raises(StoreUnavailableError, match="belongs to another database"):
        PipelineCheckpoint(tmp_path / "other", payload_url=url)
    assert not (tmp_path / "other").exists()
    with pytest.raises(StoreUnavailableError, match="belongs to another database"):
        placed("empty")
    with PipelineCheckpoint(tmp_path / "empty", payload_url=f"{url}/other") as handle:
        handle.save({"n": 2}, "two")
    assert placed().load("one") == {"n": 1}


def test_a_new_store_does_not_begin_beside_payloads_whose_database_is_lost(placed, place, tmp_path):
    placed().save({"n": 1}, "one")
    claim = place.note("claim")
    _remove_claim(place)
    with pytest.raises(StoreUnavailableError, match="rebuild"):
        PipelineCheckpoint(tmp_path / "other", payload_url=placed().payload_url)
    place.put_note("claim", claim)


@only_in_a_directory
def test_a_store_that_keeps_its_payloads_elsewhere_leaves_nothing_where_they_are_wanted(
    archive, url, tmp_path
):
    archive.save({"n": 1}, "one")
    with pytest.raises(InvalidInputError, match="keeps its payloads in"):
        PipelineCheckpoint(archive.checkpoint_dir, payload_url=url)
    assert not (tmp_path / "nas").exists()


def _remove_claim(place):
    if place.names_first:
        place._bucket.delete(place._bucket.location.path_of("claim"))
    else:
        (place._root / "claim").unlink()


def test_what_is_missing_in_a_place_without_a_claim_is_not_damage(placed, place):
    handle = placed()
    handle.save({"n": 1}, "one")
    claim = place.note("claim")
    [file] = place.files()
    reader = place.open(file.name)
    content = reader.read(0, reader.stored_bytes)
    reader.close()
    place.delete(file.name)
    _remove_claim(place)
    again = placed()
    for attempt in (
        lambda: again.load("one"),
        again.check,
        again.sweep,
        lambda: again.save({"n": 2}, "two"),
    ):
        with pytest.raises(StoreUnavailableError, match="is it mounted") as caught:
            attempt()
    assert claim.decode().strip() in str(caught.value)
    writer = place.create(file.name)
    writer.write([content])
    writer.finish()
    place.publish(writer, file.name)
    place.put_note("claim", claim)
    assert again.load("one") == {"n": 1}


@only_in_a_directory
def test_what_is_missing_where_a_mount_has_just_vanished_is_not_damage(placed, tmp_path):
    """A place that was looked at a moment ago is trusted, but not for that."""
    handle = placed()
    handle.save({"n": 1}, "one")
    (tmp_path / "nas").rename(tmp_path / "unmounted")
    (tmp_path / "nas" / "payloads").mkdir(parents=True)
    with pytest.raises(StoreUnavailableError, match="is it mounted"):
        handle.load("one")
    shutil.rmtree(tmp_path / "nas")
    (tmp_path / "unmounted").rename(tmp_path / "nas")
    assert handle.load("one") == {"n": 1}


@only_in_a_directory
def test_a_directory_that_is_not_there_is_not_made_again(placed, place, tmp_path):
    placed().save({"n": 1}, "one")
    (tmp_path / "nas").rename(tmp_path / "unmounted")
    handle = placed()
    with pytest.raises(StoreUnavailableError):
        handle.save({"n": 2}, "two")
    with pytest.raises(StoreUnavailableError):
        handle.load("one")
    assert not (tmp_path / "nas").exists()
    (tmp_path / "unmounted").rename(tmp_path / "nas")


@only_in_a_directory
def test_a_place_that_was_copied_with_its_claim_is_taken_for_the_same(placed, place, tmp_path):
    placed().save({"n": 1}, "one")
    shutil.copytree(tmp_path / "nas", tmp_path / "new")
    shutil.rmtree(tmp_path / "nas")
    url = (tmp_path / "new" / "payloads").as_uri()
    assert placed(payload_url=url).load("one") == {"n": 1}
    assert placed().payload_url == url


@only_in_a_directory
def test_a_store_whose_place_is_out_of_reach_is_listed(placed, place, tmp_path):
    placed().save({"n": 1}, "one")
    (tmp_path / "nas").rename(tmp_path / "unmounted")
    assert [each.checkpoint_id for each in placed().list_checkpoints()] == ["one"]
    (tmp_path / "unmounted").rename(tmp_path / "nas")


@pytest.fixture
def lost(url, tmp_path):
    """A place of which the database is lost; returns what rebuilds it, until it takes the place."""
    with PipelineCheckpoint(tmp_path / "old", payload_url=url) as handle:
        handle.save({"n": 1}, "one")
    shutil.rmtree(tmp_path / "old")

    def interrupt(monkeypatch, *, is_taken):
        take_over = Claim.take_over

        def interrupted(claim):
            if is_taken:
                take_over(claim)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Claim, "take_over", interrupted)
            with pytest.raises(KeyboardInterrupt):
                PipelineCheckpoint.rebuild(tmp_path / "new", payload_url=url)

    return interrupt


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_rebuild_interrupted_as_it_takes_a_place_is_done_again(
    lost, placed, url, tmp_path, monkeypatch, is_taken
):
    lost(monkeypatch, is_taken=is_taken)
    with pytest.raises(StoreUnavailableError, match=r"another database|missing or empty"):
        PipelineCheckpoint(tmp_path / "new")
    report = PipelineCheckpoint.rebuild(tmp_path / "new", payload_url=url)
    assert report.checkpoints == ("one",)
    handle = placed("new")
    handle.save({"n": 2}, "two")
    assert handle.load("one") == {"n": 1}


@only_in_a_directory
@pytest.mark.parametrize("is_taken", [False, True])
def test_an_interrupted_rebuild_is_gone_on_with_by_another_url_of_its_place(
    lost, tmp_path, monkeypatch, is_taken
):
    lost(monkeypatch, is_taken=is_taken)
    (tmp_path / "link").symlink_to(tmp_path / "nas")
    other = (tmp_path / "link" / "payloads").as_uri()
    assert PipelineCheckpoint.rebuild(tmp_path / "new", payload_url=other).checkpoints == ("one",)


def test_a_database_whose_place_was_taken_over_deletes_nothing_there(placed, place):
    handle = placed()
    for name in ("one", "two", "three"):
        handle.save({name: 1}, name, force_full=True)
    claim, before = place.note("claim"), {file.name for file in place.files()}
    place.put_note("claim", b"another\n")  # as a rebuild does, a moment after the last look
    handle.delete_checkpoint("one")
    handle.save({"two": 2}, "two")
    handle._engine.pool.close()
    assert before <= {file.name for file in place.files()}
    place.put_note("claim", claim)
    handle.sweep()


def test_what_another_database_saved_is_not_swept(placed, place):
    handle = placed()
    handle.save({"n": 1}, "one")
    claim = place.note("claim")
    place.put_note("claim", b"another\n")
    later = datetime.now(UTC) + timedelta(days=9)
    with pytest.raises(StoreUnavailableError, match="belongs to another database"):
        sweep(handle._engine.database, handle._engine.payloads, now=later)
    place.put_note("claim", claim)


def test_a_configuration_says_how_to_reach_its_own_bucket_alone():
    config = CloudBackupConfig(
        provider=CloudBackupProvider.AWS_S3, bucket_name="mine", credentials_path="/x"
    )
    assert access_to("s3://mine/prefix", config) is config
    assert access_to("s3://other/prefix", config) is None
    assert access_to("gs://mine/prefix", config) is None
    assert access_to("file:///mine", config) is None


def test_the_payload_directory_of_another_store_is_no_place_for_a_second(tmp_path):
    """It has no claim: each would sweep what the other saves."""
    url = (tmp_path / "first" / "payloads").as_uri()
    with PipelineCheckpoint(tmp_path / "first") as first:
        with pytest.raises(InvalidInputError, match="keeps its payloads"):
            PipelineCheckpoint(tmp_path / "second", payload_url=url)
        assert not (tmp_path / "second").exists()
        first.save({"n": 1}, "one")
    with pytest.raises(InvalidInputError, match="move that away, and rebuild"):
        PipelineCheckpoint.rebuild(tmp_path / "second", payload_url=url)
    with PipelineCheckpoint(tmp_path / "first") as first:
        assert first.load("one") == {"n": 1}
        assert first.check(read_data=True).problems == ()
