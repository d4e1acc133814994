"""Pushes to a bucket that fails: the backup is that of before or the new one, and whole."""

from __future__ import annotations

import itertools
import shutil

import object_servers
import pytest
from object_servers import endpoint_of

from checkpointdb import (
    InvalidInputError,
    PipelineCheckpoint,
    RetentionPolicy,
    StoreUnavailableError,
)
from checkpointdb.bucket import Bucket

KEEP_ALL = {"retention_policy": RetentionPolicy.KEEP_ALL}
WRITES = ("payload", "snapshot", "pointer")  # of a push, in this order


@pytest.fixture
def patience(monkeypatch):
    """Say how long a bucket is asked again, in seconds."""

    def be(seconds):
        monkeypatch.setitem(Bucket.__init__.__kwdefaults__, "patience_seconds", seconds)

    return be


@pytest.fixture
def saved(archive, proxied):
    """A store that was pushed, and has something new since."""
    archive.save({"n": 0}, "a")
    archive.push_backup(proxied)
    archive.save({"n": 1, "text": "new " * 900}, "b")
    return archive


def writes_from(number, fault, times=None):
    """Return what gives writes a fault, from one of them on."""
    seen = itertools.count()

    def found(request):
        if not request.startswith("PUT"):
            return None
        return fault if 0 <= next(seen) - number < (times or 99) else None

    return found


def ids_at(url, directory):
    PipelineCheckpoint.pull_backup(url, directory)
    with PipelineCheckpoint(directory, **KEEP_ALL) as pulled:
        assert pulled.check(read_data=True).problems == ()
        return [each.checkpoint_id for each in pulled.list_checkpoints(reverse=False)]


@pytest.fixture
def own_bucket(moto, monkeypatch):
    """The URL of a bucket that nobody else uses, by the server's number."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint_of(moto))
    return f"s3://{object_servers.own_bucket(moto)}"


@pytest.mark.parametrize("below", ["", "/team/runs", "/team/runs/deeper/backups", "/team"])
@pytest.mark.parametrize("name", ["/", "localhost", "environment"])
def test_a_store_is_not_pushed_into_its_own_place_by_another_name(
    placed, moto, own_bucket, name, below
):
    endpoint = endpoint_of(moto)
    inside = "payloads" if below == "/team" else "runs"  # a backup at `team` has its payloads there
    handle = placed(payload_url=f"{own_bucket}/team/{inside}?endpoint={endpoint}")
    handle.save({"n": 1}, "one")
    alias = {
        "/": f"?endpoint={endpoint}/",
        "localhost": f"?endpoint={endpoint.replace('127.0.0.1', 'localhost')}",
        "environment": "",
    }[name]
    if below == "":
        handle.push_backup(f"{own_bucket}/elsewhere{alias}")
        return
    before = sorted(each.name for each in handle._engine.payloads.files())
    with pytest.raises(InvalidInputError, match="the store's claim is there"):
        handle.push_backup(f"{own_bucket}{below}{alias}")
    assert sorted(each.name for each in handle._engine.payloads.files()) == before


def test_nor_into_a_directory_that_is_mounted_twice(placed, tmp_path):
    nas = tmp_path / "nas"
    handle = placed(payload_url=nas.as_uri())
    handle.save({"n": 1}, "one")
    again = tmp_path / "again"
    (again / "backups").mkdir(parents=True)
    shutil.copy(nas / "claim", again)
    for place in (again, again / "backups"):
        with pytest.raises(InvalidInputError, match="the store's claim is there"):
            handle.push_backup(place)
    handle.push_backup(tmp_path / "elsewhere")


@pytest.mark.parametrize("fault", ["drop", "lose"])
@pytest.mark.parametrize("number", range(3), ids=WRITES)
def test_wherever_a_push_is_cut_off_the_backup_is_whole_and_the_next_goes_on(
    saved, proxy, proxied, tmp_path, patience, number, fault
):
    patience(1.0)
    proxy.fault = writes_from(number, fault)
    is_done = False
    try:
        saved.push_backup(proxied)
        is_done = True
    except StoreUnavailableError as error:
        assert "s3://store/" in str(error)  # noqa: PT017 - it need not be raised
    proxy.fault = lambda _request: None
    patience(60.0)
    # What the bucket did, though no answer came, counts if it can be asked.
    expected = ["a", "b"] if (WRITES[number], fault) == ("pointer", "lose") else ["a"]
    assert is_done == (len(expected) == 2)
    assert ids_at(proxied, tmp_path / "meanwhile") == expected
    assert saved.push_backup(proxied).is_ok
    assert ids_at(proxied, tmp_path / "later") == ["a", "b"]


@pytest.mark.parametrize("fault", ["drop", "lose", "503"])
@pytest.mark.parametrize("number", range(3), ids=WRITES)
def test_one_write_that_fails_is_repeated(saved, proxy, proxied, number, fault):
    proxy.fault = writes_from(number, fault, times=1)
    assert saved.push_backup(proxied).copied_payloads == 1
    assert [each.is_latest for each in saved.list_backups(proxied)] == [False, True]


def test_a_server_that_wants_etags_without_their_quotes_is_pushed_to(saved, proxy, proxied):
    proxy.refuses_quotes = True
    saved.push_backup(proxied)
    with PipelineCheckpoint(saved.checkpoint_dir, **KEEP_ALL) as other:
        other.save({"n": 2}, "c")
        assert other.push_backup(proxied).copied_payloads == 1
