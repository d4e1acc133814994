"""A database that is put back to an older state while handles live on: its row ids come again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa

from checkpointdb import NotFoundError, PipelineCheckpoint, RetentionPolicy, StoreUnavailableError
from checkpointdb.sweep import sweep

# `check` finds the payloads of what the older state does not know.
pytestmark = [pytest.mark.databases, pytest.mark.damages]

KEEP_ALL = RetentionPolicy.KEEP_ALL


@pytest.fixture
def kept(request, backend, tmp_path):
    """Keep a copy of a handle's database, and return what puts that back under whoever uses it."""

    def of_a_server(handle):
        server = request.getfixturevalue("postgres")
        url = sa.make_url(handle._engine.database.server_url)
        end = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{url.database}'"
        )
        server.execute(end)
        copy = server.database(url.database)

        def put_back():
            server.drop(url)
            server.execute(f"CREATE DATABASE {url.database} TEMPLATE {copy.database}")
            server.drop(copy)

        return put_back

    def of_a_file(handle):
        path, copy = handle.checkpoint_dir / "checkpoints.db", tmp_path / "copy.db"

        def copied(source, target):
            with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
                one.backup(other)

        copied(path, copy)
        return lambda: copied(copy, path)

    return of_a_file if backend == "sqlite" else of_a_server


def reopened(handle, **options):
    url = handle._engine.database.server_url
    given = {} if url is None else {"database_url": url.render_as_string(hide_password=False)}
    return PipelineCheckpoint(handle.checkpoint_dir, retention_policy=KEEP_ALL, **given, **options)


def swept(handle):
    engine = handle._engine
    return sweep(engine.database, engine.payloads, grace=timedelta(0))


@pytest.mark.parametrize("as_full", [False, True])
def test_a_save_compares_with_nothing_that_is_another_checkpoint_by_now(archive, kept, as_full):
    archive.save({"x": 0}, "c0")
    put_back = kept(archive)
    archive.save({"v": "A1", "k": [1] * 100}, "a1")
    archive.save({"v": "A2", "k": [1] * 100}, "a2")
    put_back()
    with reopened(archive) as other:
        other.save({"v": "B1", "k": [2] * 100}, "b1")
        other.save({"v": "B2", "k": [2] * 100}, "b2")
    state = {"v": "A3", "k": [1] * 100}
    archive.save(state, "a3", force_full=as_full)
    assert archive.load("a3") == state
    assert archive.load("a3", keys=["k"]) == {"k": [1] * 100}
    assert archive.load("b2") == {"v": "B2", "k": [2] * 100}
    assert {each.kind for each in archive.check().problems} == {"orphan"}


def test_what_was_loaded_is_no_base_once_its_row_is_another_checkpoints(archive, kept):
    archive.save({"x": 0}, "c0")
    put_back = kept(archive)
    with reopened(archive) as other:
        other.save({"v": 1}, "a1")
        archive.load("a1")
        put_back()
        other.save({"v": 2}, "of another line")
        other.load("c0")
        other.save({"v": 3}, "newest")
    archive.save({"v": 4}, "next")
    assert archive.details("next").parent_id == "newest"


def test_a_lazy_state_never_reads_what_came_into_its_row(archive, kept):
    archive.save({"x": 0}, "c0")
    put_back = kept(archive)
    archive.save({"v": "old", "w": 1}, "a1")
    lazy = archive.lazy("a1")
    put_back()
    with reopened(archive) as other:
        other.save({"v": "new", "w": 2}, "a1")
    with pytest.raises(NotFoundError, match="'a1' was forgotten or replaced"):
        lazy["v"]


def test_a_save_never_goes_into_a_pipeline_that_came_into_the_row_of_its_own(archive, kept):
    archive.save({"x": 0}, "c0")
    put_back = kept(archive)
    with reopened(archive, pipeline="ours") as ours:
        ours.save({"v": 1}, "a1")
        put_back()
        with reopened(archive, pipeline="theirs") as theirs:
            theirs.save({"v": 2}, "b1")
            with pytest.raises(StoreUnavailableError, match=r"older state.*open it anew"):
                ours.save({"v": 3}, "a2")
            assert [each.checkpoint_id for each in theirs.list_checkpoints()] == ["b1"]


def test_a_save_says_so_where_its_pipeline_is_gone(archive, kept):
    archive.save({"x": 0}, "c0")
    put_back = kept(archive)
    with reopened(archive, pipeline="ours") as ours:
        ours.save({"v": 1}, "a1")
        put_back()
        with pytest.raises(StoreUnavailableError, match=r"older state.*open it anew"):
            ours.save({"v": 3}, "a2")


def test_a_sweep_leaves_what_was_saved_after_the_state_that_was_put_back(archive, kept):
    archive.save({"x": 0}, "c0")
    put_back = kept(archive)
    for number in range(3):
        archive.save({"x": number + 1}, f"a{number}")
    put_back()
    problems = archive.check().problems
    assert [each.kind for each in problems] == ["orphan"] * 3
    assert all("rebuild the database" in each.detail for each in problems)
    assert swept(archive).removed_files == ()
    assert {each.kind for each in archive.check().problems} == {"orphan"}


def test_a_sweep_removes_what_a_save_that_was_killed_before_its_commit_left(archive, kept):
    archive.save({"x": 0}, "c0")
    put_back = kept(archive)
    archive.save({"x": 1}, "a0")
    put_back()  # as if it had not been committed
    [problem] = archive.check().problems
    assert "sweep removes it" in problem.detail
    assert len(swept(archive).removed_files) == 1


@pytest.mark.sqlite  # a server takes no text for a time
def test_a_row_whose_time_is_none_is_loaded_and_saved_upon(archive, alter):
    archive.save({"x": 0}, "c0")
    alter(archive, "UPDATE checkpoints SET created_at = 'no time'")
    assert archive.load("c0") == {"x": 0}
    assert archive.lazy("c0")["x"] == 0
    archive.save({"x": 0, "y": 1}, "c1")
    with reopened(archive) as other:
        assert other.load("c0") == {"x": 0}
        other.save({"x": 0, "y": 2}, "c2")
        assert other.load("c2") == {"x": 0, "y": 2}
