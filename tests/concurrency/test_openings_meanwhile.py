"""Races by hand: another process makes the store, and saves, while this one opens it or saves."""

from __future__ import annotations

from functools import partial

import pytest
from breaking import KEEP_ALL, state_of, tags_of

from checkpointdb import PipelineCheckpoint
from checkpointdb.local_payloads import LocalPayloads
from checkpointdb.store import claims, opening


@pytest.fixture(params=["inside", "elsewhere", "server"])
def opened(request, tmp_path):
    """Open handles of a store that is not there yet."""
    options = {}
    if request.param == "elsewhere":
        options["payload_url"] = (tmp_path / "payloads").as_uri()
    if request.param == "server":
        options["database_url"] = request.getfixturevalue("server_url")
    return partial(PipelineCheckpoint, tmp_path / "store", **options, **KEEP_ALL)


@pytest.fixture
def meanwhile(monkeypatch, opened):
    """Let another save, once, right before a call of a function."""

    def arrange(owner, name):
        original, done = getattr(owner, name), []

        def after_another(*arguments, **options):
            if not done:
                done.append(True)
                with opened() as other:
                    other.save(state_of("theirs"), "theirs")
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, after_another)
        return done

    return arrange


def saves_beside_another(handle):
    handle.save(state_of("ours"), "ours")
    assert tags_of(handle) == {"theirs": "theirs", "ours": "ours"}
    assert handle.check(read_data=True).problems == ()


@pytest.mark.parametrize("name", ["_refuse_legacy", "check_key", "_check_new", "_completed"])
def test_a_store_that_another_makes_between_two_looks_at_its_directory_is_opened(
    opened, meanwhile, name
):
    done = meanwhile(opening, name)
    with opened() as handle:
        saves_beside_another(handle)
    assert done


def test_a_store_that_another_saves_in_first_between_two_looks_at_its_rows_is_opened(
    opened, meanwhile
):
    opened().close()
    done = meanwhile(LocalPayloads, "files")
    with opened() as handle:
        saves_beside_another(handle)
    assert done


@pytest.mark.parametrize("opened", ["elsewhere", "server"], indirect=True)
@pytest.mark.parametrize("name", ["_remember", "_noted"])
def test_a_place_that_another_notes_for_the_same_store_meanwhile_is_taken(opened, meanwhile, name):
    done = meanwhile(claims, name)
    with opened() as handle:
        saves_beside_another(handle)
    assert done


@pytest.mark.parametrize("opened", ["elsewhere", "server"], indirect=True)
def test_a_place_that_another_claims_for_the_same_store_meanwhile_is_its_own(opened, meanwhile):
    done = meanwhile(claims, "_is_new")
    with opened() as handle:
        saves_beside_another(handle)
    assert done
