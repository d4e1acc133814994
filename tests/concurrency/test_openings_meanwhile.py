"""Races by hand: another process makes the store, and saves, while this one opens it or saves."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import pytest
from breaking import KEEP_ALL, state_of, tags_of
from sqlalchemy import insert

from checkpointdb import InvalidInputError, PipelineCheckpoint, StoreUnavailableError
from checkpointdb.local_payloads import LocalPayloads
from checkpointdb.schema import removals
from checkpointdb.sqlite_backup import use_log
from checkpointdb.sqlite_file import create_file
from checkpointdb.store import claims, opening
from checkpointdb.store.trash import Trash


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


def test_leftovers_of_a_store_without_a_log_are_unlinked_beside_a_writer(tmp_path, monkeypatch):
    """Where there is a journal, a writer waits until nobody reads, and nobody begins to meanwhile.

    An upgrade of an old store waited for a minute for who saved in it, who waited for it.
    """
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        handle.save(state_of("a"), "a")
        with handle._engine.database.write() as connection:
            left = {"name": "p-default/left.ckpt.gz", "created_at": datetime.now(UTC)}
            connection.execute(insert(removals), left)
    use_log(tmp_path / "checkpoints.db", is_used=False)
    other = PipelineCheckpoint(tmp_path, busy_seconds=0.5, **KEEP_ALL)
    is_held = Trash._is_held

    def held_after_another_has_saved(self):
        monkeypatch.undo()
        other.save(state_of("b"), "b")
        return is_held(self)

    with closing(other):
        monkeypatch.setattr(Trash, "_is_held", held_after_another_has_saved)
        with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
            assert tags_of(handle) == {"a": "a", "b": "b"}


def test_payloads_beside_an_empty_database_are_not_checked_as_a_store(tmp_path):
    """As an interrupted rebuild leaves it: it was brought up to date, and all was an orphan."""
    with PipelineCheckpoint(tmp_path, **KEEP_ALL) as handle:
        handle.save(state_of("a"), "a")
    for each in tmp_path.glob("checkpoints.db*"):
        each.unlink()
    create_file(tmp_path / "checkpoints.db", 1)
    with pytest.raises(StoreUnavailableError, match="missing or empty"):
        PipelineCheckpoint.check_without_key(tmp_path)
    assert PipelineCheckpoint.database_info(tmp_path).state == "empty"
    assert PipelineCheckpoint.rebuild(tmp_path).checkpoints == ("a",)


@pytest.mark.parametrize("first", [None, "a"])
@pytest.mark.parametrize("where", ["SQLite", "server"])
def test_a_handle_whose_place_another_has_changed_before_the_first_save_saves_nothing(
    tmp_path, request, where, first
):
    """It was acknowledged, and was missing for everyone: rows named what lay in another place."""
    a = (tmp_path / "a").as_uri() if first else None
    opened = partial(PipelineCheckpoint, tmp_path / "store", **KEEP_ALL)
    if where == "server":
        opened = partial(opened, database_url=request.getfixturevalue("server_url"))
    with opened(payload_url=a) as ours, opened(payload_url=(tmp_path / "b").as_uri()) as theirs:
        with pytest.raises(StoreUnavailableError, match=r"another place .* open it again"):
            ours.save(state_of("ours"), "ours")
        theirs.save(state_of("theirs"), "theirs")
        with pytest.raises(StoreUnavailableError, match="open it again"):
            ours.save(state_of("ours"), "ours")
    with opened() as ours:
        saves_beside_another(ours)


@pytest.mark.parametrize("name", ["_moved", "is_used", "_make_root"])
def test_a_place_is_not_changed_where_another_saves_in_it_meanwhile(tmp_path, monkeypatch, name):
    opened = partial(PipelineCheckpoint, tmp_path / "store", **KEEP_ALL)
    original = getattr(claims, name)
    with opened(payload_url=(tmp_path / "a").as_uri()) as theirs:

        def after_another(*arguments, **options):
            monkeypatch.undo()
            theirs.save(state_of("theirs"), "theirs")
            return original(*arguments, **options)

        monkeypatch.setattr(claims, name, after_another)
        with pytest.raises(InvalidInputError, match="keeps its payloads in"):
            opened(payload_url=(tmp_path / "b").as_uri())
    with opened() as ours:
        saves_beside_another(ours)


def test_a_place_that_was_never_used_may_be_changed_to_a_new_directory(tmp_path):
    """And not back: in two places with one claim, the store would be where its payloads are not."""
    opened = partial(PipelineCheckpoint, tmp_path / "store", **KEEP_ALL)
    for name in ("a", "b"):
        opened(payload_url=(tmp_path / name).as_uri()).close()
    with pytest.raises(StoreUnavailableError, match="belongs to another database"):
        opened(payload_url=(tmp_path / "a").as_uri())
    with opened() as handle:
        assert handle.payload_url == (tmp_path / "b").as_uri()
        handle.save(state_of("a"), "a")
        assert handle.check(read_data=True).problems == ()
    with pytest.raises(InvalidInputError, match="keeps its payloads in"):
        opened(payload_url=(tmp_path / "a").as_uri())


def test_a_place_that_was_never_used_is_not_changed_to_the_payloads_of_another_store(tmp_path):
    PipelineCheckpoint(tmp_path / "other").close()
    opened = partial(PipelineCheckpoint, tmp_path / "store", **KEEP_ALL)
    opened(payload_url=(tmp_path / "a").as_uri()).close()
    with pytest.raises(InvalidInputError, match="is where the store"):
        opened(payload_url=(tmp_path / "other" / "payloads").as_uri())
    with opened() as handle:
        assert handle.payload_url == (tmp_path / "a").as_uri()
