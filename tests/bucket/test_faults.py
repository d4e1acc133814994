"""A bucket that fails: what was acknowledged is there, nothing half is visible, errors name it."""

from __future__ import annotations

import itertools
import random
import time
from datetime import UTC, datetime, timedelta

import pytest

from checkpointdb import PipelineCheckpoint, StoreUnavailableError, bucket_client, object_payloads
from checkpointdb.bucket import Bucket
from checkpointdb.bucket_urls import parse_url
from checkpointdb.sweep import sweep

LARGE = random.Random(5).randbytes(17 << 20)  # sent in three parts


@pytest.fixture
def url(proxied):
    return proxied


@pytest.fixture
def patience():
    """Seconds after which a bucket gives up: soon, where it will have to."""
    return 2.0


goes_on = pytest.mark.parametrize("patience", [60.0])  # however slow the machine is


@pytest.fixture
def handle(placed, proxy, monkeypatch, patience):
    """A store with one checkpoint; at the end it is whole."""
    monkeypatch.setitem(Bucket.__init__.__kwdefaults__, "patience_seconds", patience)
    handle = placed()
    handle.save({"n": 0}, "before")
    proxy.requests.clear()
    yield handle
    proxy.fault = lambda _request: None
    later = datetime.now(UTC) + timedelta(days=2)
    sweep(handle._engine.database, handle._engine.payloads, now=later)
    assert handle.load("before") == {"n": 0}


def first(method, fault, times=1, containing=""):
    """Return what gives the first requests of a method a fault."""
    left = itertools.repeat(None, times)

    def found(request):
        if not request.startswith(method) or containing not in request:
            return None
        return fault if next(left, 0) is None else None

    return found


@goes_on
@pytest.mark.parametrize("fault", ["503", "drop", "lose"])
def test_what_fails_now_and_then_is_repeated(handle, proxy, fault):
    for method in ("PUT", "HEAD", "GET"):
        proxy.fault = first(method, fault)
        handle.save({"method": method}, method, force_full=True)
        assert handle.load(method) == {"method": method}
    assert len(handle.list_checkpoints()) == 4


@goes_on
@pytest.mark.parametrize("fault", ["503", "drop", "lose"])
def test_an_upload_that_fails_now_and_then_goes_on(handle, proxy, fault):
    faults = [first(method, fault) for method in ("POST", "PUT", "HEAD", "GET")]
    proxy.fault = lambda request: next(filter(None, (each(request) for each in faults)), None)
    handle.save({"large": LARGE}, "large", force_full=True)
    assert handle.load("large") == {"large": LARGE}


SMALL_FAULTS = [("PUT", "503"), ("PUT", "drop"), ("HEAD", "drop")]
LARGE_FAULTS = [("PUT", "503"), ("POST", "drop"), ("POST", "lose"), ("HEAD", "503")]


@pytest.mark.parametrize(
    ("state", "method", "fault"),
    [
        *(pytest.param({"n": 1}, *each, id="-".join(each)) for each in SMALL_FAULTS),
        *(pytest.param({"large": LARGE}, *each, id="large-".join(each)) for each in LARGE_FAULTS),
    ],
)
def test_a_save_that_fails_leaves_nothing_to_be_seen(handle, proxy, method, state, fault):
    proxy.fault = first(method, fault, times=1_000)
    with pytest.raises(StoreUnavailableError, match="s3://store/place-"):
        handle.save(state, "failed", force_full=True)
    proxy.fault = lambda _request: None
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["before"]
    handle.save({"n": 2}, "after", force_full=True)
    assert handle.load("after") == {"n": 2}


def test_an_object_whose_every_answer_was_lost_counts_if_it_is_there(handle, proxy):
    proxy.fault = first("PUT", "lose", times=1_000)
    handle.save({"n": 1}, "lost")
    assert handle.load("lost") == {"n": 1}


def test_a_part_that_is_cut_off_after_others_were_sent_fails_the_save(handle, proxy):
    proxy.fault = first("PUT", "drop", times=1_000, containing="partNumber=2")
    with pytest.raises(StoreUnavailableError):
        handle.save({"large": LARGE}, "failed", force_full=True)
    assert any(each.startswith("DELETE") and "uploadId" in each for each in proxy.requests)
    assert len(handle.list_checkpoints()) == 1


def test_a_bucket_that_denies_says_so_at_once(handle, proxy):
    proxy.fault = lambda request: "deny" if request.startswith("PUT") else None
    with pytest.raises(StoreUnavailableError, match="permission is denied") as caught:
        handle.save({"n": 1}, "denied")
    assert "s3://store/place-" in str(caught.value)
    puts = [each for each in proxy.requests if each.startswith("PUT")]
    assert len(puts) == len(set(puts))  # none is sent again
    assert handle.load("before") == {"n": 0}


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        ("400 ExpiredToken", "credentials have expired, renew them"),
        ("400 AuthorizationHeaderMalformed", "look at region and endpoint"),
        ("301 PermanentRedirect", "look at region and endpoint"),
        ("403 RequestTimeTooSkewed", "clock of this machine is wrong"),
        ("403 InvalidAccessKeyId", "permission is denied"),
        ("405 MethodNotAllowed", "request is refused"),
    ],
)
def test_a_save_that_is_refused_for_good_says_at_once_what_to_do(handle, proxy, fault, advice):
    proxy.fault = lambda request: fault if request.startswith("PUT") else None
    with pytest.raises(StoreUnavailableError, match=advice):
        handle.save({"n": 1}, "refused")
    puts = [each for each in proxy.requests if each.startswith("PUT")]
    assert len(puts) == len(set(puts))  # none is sent again


@goes_on
@pytest.mark.parametrize("fault", ["408 RequestTimeout", "429 SlowDown"])
def test_a_save_that_is_put_off_is_repeated(handle, proxy, fault):
    proxy.fault = first("PUT", fault)
    handle.save({"n": 1}, "one")
    assert handle.load("one") == {"n": 1}


def test_a_bucket_that_may_not_be_listed_says_so(handle, proxy):
    proxy.fault = lambda request: "deny" if "list-type" in request else None
    with pytest.raises(StoreUnavailableError, match="cannot be listed: permission is denied"):
        handle.check()


def test_a_bucket_that_is_gone_is_told_as_such_by_whatever_asks_for_it(handle, proxy):
    proxy.fault = lambda _request: "404 NoSuchBucket"
    handle._engine.payloads._trusted_until = 0.0  # as a minute later
    for attempt in (
        handle.check,
        handle.sweep,
        lambda: handle.load("before"),
        lambda: handle.save({"n": 1}, "one"),
    ):
        with pytest.raises(StoreUnavailableError, match="there is no such bucket"):
            attempt()


def test_what_cannot_be_read_is_no_damage(handle, proxy):
    proxy.fault = lambda request: "deny" if request.startswith("GET") else None
    with pytest.raises(StoreUnavailableError, match="permission is denied"):
        handle.load("before")
    proxy.fault = lambda request: "drop" if request.startswith("GET") else None
    with pytest.raises(StoreUnavailableError, match="s3://store/place-"):
        handle.load("before")
    proxy.fault = lambda _request: None
    assert handle.check(read_data=True).is_ok
    assert handle.repair(dry_run=True).damaged == ()


@goes_on
def test_an_answer_that_is_cut_short_is_asked_for_again(handle, proxy):
    state = {"text": LARGE[:100_000]}
    handle.save(state, "text", force_full=True)
    proxy.fault = first("GET", "truncate")
    assert handle.load("text") == state


@pytest.mark.parametrize(
    ("fault", "call"), [("503", "read"), ("503", "list"), ("drop", "read"), ("drop", "list")]
)
def test_a_request_is_repeated_until_its_time_is_up(proxy, proxied, monkeypatch, fault, call):
    monkeypatch.setattr(bucket_client, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(bucket_client, "_LONGEST_PAUSE_SECONDS", 0.02)
    found = Bucket(parse_url(proxied), patience_seconds=1.0)
    proxy.fault = lambda _request: fault
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="failed, each time"):
        found.read("claim", 0, 1) if call == "read" else list(found.list("p"))
    assert 1 <= time.monotonic() - begun < 10
    assert len(proxy.requests) > 20


def test_an_answer_that_does_not_come_is_given_up(handle, proxy):
    proxy.fault = first("GET", "hang", times=1_000)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="s3://store/place-"):
        handle.load("before")
    assert time.monotonic() - begun < 10


@goes_on
def test_others_do_not_wait_long_for_a_save_whose_bucket_hangs_under_the_lock(
    handle, placed, proxy, monkeypatch
):
    monkeypatch.setattr(object_payloads, "_LOCKED_SECONDS", 0.5)
    other = placed()
    other.save({"n": 0}, "other")
    hung = []

    def fault(request):
        """Hang from the look at the object on, and so when its claim is asked for to delete it."""
        if request.startswith("HEAD"):
            hung.append(request)
        return "hang" if request.startswith("HEAD") or (hung and "claim" in request) else None

    proxy.fault = fault
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="s3://store/place-"):
        other.save({"n": 1}, "failed")
    assert time.monotonic() - begun < 15
    proxy.fault = lambda _request: None
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["other", "before"]


def test_what_may_not_be_deleted_is_swept_later(handle, proxy, caplog):
    handle.save({"n": 1}, "one", force_full=True)
    proxy.fault = lambda request: "deny" if request.startswith(("DELETE", "POST")) else None
    handle.delete_checkpoint("one")
    assert "could not be removed" in caplog.text
    assert [each.checkpoint_id for each in handle.list_checkpoints()] == ["before"]
    proxy.fault = lambda _request: None
    [removed] = handle.sweep().removed_files
    assert "-one-" in removed


def test_a_new_store_is_not_made_where_its_bucket_cannot_be_reached(handle, proxy, tmp_path, url):
    proxy.fault = lambda _request: "drop"
    with pytest.raises(StoreUnavailableError, match="s3://store/place-"):
        PipelineCheckpoint(tmp_path / "new", payload_url=f"{url}")
    assert not (tmp_path / "new").exists()


def test_a_server_that_replaces_what_it_was_told_not_to_is_found_out(proxy, placed, url, caplog):
    proxy.unheard = {"if-none-match"}
    placed().save({"n": 1}, "one")
    assert "takes no notice of conditions" in caplog.text
    with pytest.raises(StoreUnavailableError, match="belongs to another database"):
        placed("other")
    placed("other", payload_url=f"{url.replace('?', '/other?')}")


def test_a_small_payload_is_checked_by_two_requests(handle, proxy):
    handle.save({f"k{n}": [n] * 50 for n in range(50)}, "one", force_full=True)
    proxy.requests.clear()
    assert handle.check(read_data=True).is_ok
    assert len([each for each in proxy.requests if "-one-" in each]) == 2


def test_members_beside_each_other_are_checked_by_few_requests(handle, proxy):
    handle.save({"large": LARGE}, "one", force_full=True)
    proxy.requests.clear()
    assert handle.check(read_data=True).is_ok
    assert len([each for each in proxy.requests if "-one-" in each]) <= 6
