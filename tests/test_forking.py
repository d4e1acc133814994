"""Forking: every writer has a chain of its own, and no chain disturbs another."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from checkpointdb import NotFoundError, RetentionPolicy

pytestmark = pytest.mark.databases

NOISE = random.Random(21)
ALL = {"retention_policy": RetentionPolicy.KEEP_ALL}


def upon(handle, checkpoint_id):
    found = handle.get_checkpoint_info(checkpoint_id)
    return found.base_checkpoint_id if found.is_incremental else "full"


def chain_of(handle, checkpoint_id):
    with handle.query() as connection:
        statement = "SELECT chain FROM checkpoint_overview WHERE checkpoint_id = :id"
        return connection.execute(text(statement), {"id": checkpoint_id}).scalar_one()


def state_of(seed, turn):
    return {"ballast": random.Random(seed).randbytes(100_000), "writer": seed, "turn": turn}


# --- writers that take turns


def test_two_handles_that_take_turns_delta_against_themselves(store):
    handles = {"a": store(**ALL), "b": store(**ALL)}
    for turn in range(4):
        for name, handle in handles.items():
            handle.save(state_of(name, turn), f"{name}{turn}")
    for name, handle in handles.items():
        assert [upon(handle, f"{name}{turn}") for turn in (1, 2, 3)] == [
            f"{name}0",
            f"{name}1",
            f"{name}2",
        ]
        assert len({chain_of(handle, f"{name}{turn}") for turn in range(4)}) == 1
        assert all(handle.load(f"{name}{turn}") == state_of(name, turn) for turn in range(4))


def test_two_threads_of_one_handle_that_take_turns_delta_against_themselves(archive):
    threads = {name: ThreadPoolExecutor(1) for name in "ab"}
    for turn in range(4):
        for name, thread in threads.items():
            thread.submit(archive.save, state_of(name, turn), f"{name}{turn}").result()
    for name, thread in threads.items():
        thread.shutdown()
        assert [upon(archive, f"{name}{turn}") for turn in (1, 2, 3)] == [
            f"{name}0",
            f"{name}1",
            f"{name}2",
        ]
        assert all(archive.load(f"{name}{turn}") == state_of(name, turn) for turn in range(4))


def test_writers_that_take_turns_store_only_what_they_changed(store):
    first, second = store(**ALL), store(**ALL)
    for turn in range(5):
        first.save(state_of("a", turn), f"a{turn}")
        second.save(state_of("b", turn), f"b{turn}")
    assert first.get_statistics()["total_size_bytes"] < 250_000


# --- going on from elsewhere


def test_a_new_handle_goes_on_from_the_newest(store):
    store(**ALL).save(state_of("a", 0), "one")
    handle = store(**ALL)
    handle.save(state_of("a", 1), "two")
    assert upon(handle, "two") == "one"
    assert chain_of(handle, "two") != chain_of(handle, "one")


def test_loading_an_older_stage_and_going_on_forks_and_both_lines_load(archive):
    for turn in range(4):
        archive.save(state_of("a", turn), f"s{turn}")
    archive.load("s1")
    archive.save(state_of("a", "other 2"), "t2")
    archive.save(state_of("a", "other 3"), "t3")
    assert (upon(archive, "t2"), upon(archive, "t3")) == ("s1", "t2")
    assert [archive.load(each)["turn"] for each in ("s2", "s3", "t2", "t3")] == [
        2,
        3,
        "other 2",
        "other 3",
    ]


def test_a_fork_stores_no_chunk_again(archive):
    archive.save(state_of("a", 0), "one")
    archive.save(state_of("a", 1), "two")
    archive.load("one")
    archive.save(state_of("a", 2), "three")
    assert archive.get_checkpoint_info("three").size_bytes < 5_000


def test_loading_what_was_just_saved_goes_on_in_its_chain(archive):
    archive.save(state_of("a", 0), "one")
    archive.load("one")
    archive.save(state_of("a", 1), "two")
    assert chain_of(archive, "two") == chain_of(archive, "one")


@pytest.mark.parametrize(
    "look",
    [
        lambda handle: handle.load("one", keys=["turn"]),
        lambda handle: dict(handle.lazy("one")),
        lambda handle: handle.get_checkpoint_info("one"),
        lambda handle: handle.diff("one", "two"),
    ],
    ids=["some keys", "lazy", "information", "diff"],
)
def test_only_a_whole_load_moves_what_the_next_save_builds_on(archive, look):
    archive.save(state_of("a", 0), "one")
    archive.save(state_of("a", 1), "two")
    look(archive)
    archive.save(state_of("a", 2), "three")
    assert upon(archive, "three") == "two"


def test_a_base_can_be_named(archive):
    for turn in range(3):
        archive.save(state_of(turn, turn), f"s{turn}", force_full=True)
    archive.save(state_of(0, "next"), "next", base="s0")
    assert upon(archive, "next") == "s0"
    assert archive.get_checkpoint_info("next").size_bytes < 5_000
    assert archive.load("next") == state_of(0, "next")
    archive.save(state_of(0, "after"), "after")
    assert chain_of(archive, "after") == chain_of(archive, "next")


def test_an_unknown_base_is_refused_and_nothing_is_saved(archive, tree):
    archive.save({"a": 1}, "one")
    before = tree(archive.checkpoint_dir / "payloads")
    with pytest.raises(NotFoundError, match="nobody"):
        archive.save({"a": 2}, "two", base="nobody")
    assert tree(archive.checkpoint_dir / "payloads") == before
    assert archive.get_checkpoint_info("two") is None


def test_a_base_of_another_pipeline_is_unknown(store):
    store(pipeline="other").save({"a": 1}, "theirs")
    with pytest.raises(NotFoundError):
        store().save({"a": 2}, "ours", base="theirs")


# --- replacing


def test_replacing_an_id_keeps_what_was_saved_upon_the_old_one(archive):
    states = {f"s{turn}": state_of("a", turn) for turn in range(4)}
    for name, state in states.items():
        archive.save(state, name)
    states["s1"] = {"quite": "different"}
    archive.save(states["s1"], "s1")
    assert {name: archive.load(name) for name in states} == states
    assert len(archive.list_checkpoints()) == 4


def test_an_id_replaced_by_its_own_writer_many_times_is_the_last(archive):
    archive.save(state_of("a", "first"), "kept")
    for turn in range(20):
        archive.save(state_of("a", turn), "latest")
        assert archive.load("latest")["turn"] == turn
    assert archive.load("kept")["turn"] == "first"
    archive._engine.pool.close()  # files go by a thread of it, after a save
    assert len(list(archive.checkpoint_dir.rglob("*.ckpt.gz"))) <= 3


def test_one_id_replaced_alone_keeps_no_old_file_but_what_it_needs(archive):
    for turn in range(10):
        archive.save(state_of("a", turn), "only")
    assert archive.load("only") == state_of("a", 9)
    assert len(archive.list_checkpoints()) == 1
    archive._engine.pool.close()  # files go by a thread of it, after a save
    assert len(list(archive.checkpoint_dir.rglob("*.ckpt.gz"))) <= 2


def test_two_handles_replace_one_id_in_turn(store):
    handles = [store(**ALL), store(**ALL)]
    for turn in range(10):
        handles[turn % 2].save(state_of("a", turn), "latest")
        assert handles[1 - turn % 2].load("latest")["turn"] == turn


def test_a_new_handle_replaces_the_newest(store):
    first = store(**ALL)
    first.save(state_of("a", 0), "one")
    first.save(state_of("a", 1), "two")
    second = store(**ALL)
    second.save(state_of("a", "replaced"), "two")
    first.save(state_of("a", 2), "three")
    assert [second.load(each)["turn"] for each in ("one", "two", "three")] == [0, "replaced", 2]


def test_replacing_with_the_base_that_is_replaced(archive):
    archive.save(state_of("a", 0), "one")
    archive.save(state_of("a", 1), "one", base="one")
    assert archive.load("one")["turn"] == 1
    assert archive.get_checkpoint_info("one").base_checkpoint_id is None


def test_the_same_state_may_replace_itself(archive):
    for _ in range(3):
        archive.save(state_of("a", 0), "one")
    assert archive.load("one") == state_of("a", 0)


# --- what a writer built on is gone


@pytest.mark.parametrize("is_own", [True, False], ids=["by itself", "by another"])
def test_a_writer_whose_last_checkpoint_was_deleted_goes_on(store, is_own):
    handle, other = store(**ALL), store(**ALL)
    handle.save(state_of("a", 0), "one")
    handle.save(state_of("a", 1), "two")
    (handle if is_own else other).delete_checkpoint("two")
    handle.save(state_of("a", 2), "three")
    assert upon(handle, "three") == "one"
    assert [handle.load(each)["turn"] for each in ("one", "three")] == [0, 2]


def test_a_writer_whose_every_checkpoint_was_deleted_begins_anew(store):
    handle, other = store(**ALL), store(**ALL)
    handle.save(state_of("a", 0), "one")
    other.delete_checkpoint("one")
    assert list(handle.checkpoint_dir.rglob("*.ckpt.gz")) == []
    handle.save(state_of("a", 0), "two")
    assert upon(handle, "two") == "full"
    assert handle.load("two") == state_of("a", 0)


def test_what_a_fork_came_from_may_be_deleted(archive):
    archive.save(state_of("a", 0), "origin")
    archive.load("origin")
    other = ThreadPoolExecutor(1)
    other.submit(archive.load, "origin").result()
    other.submit(archive.save, state_of("a", 1), "fork").result()
    other.shutdown()
    archive.delete_checkpoint("origin")
    assert archive.load("fork") == state_of("a", 1)
    found = archive.get_checkpoint_info("fork")
    assert (found.is_incremental, found.base_checkpoint_id) == (True, None)


def test_histories_of_many_writers_load_as_they_were_saved(store):
    """Saves, replaces, loads and deletes in random turns, against plain dictionaries."""
    chosen = random.Random(22)
    handles = [store(**ALL, full_every=7) for _ in range(3)]
    expected: dict[str, dict] = {}
    keys = [f"k{number}" for number in range(8)]
    for _ in range(150):
        handle = chosen.choice(handles)
        name = f"s{chosen.randrange(12)}"
        if name in expected and chosen.random() < 0.3:
            handle.delete_checkpoint(name)
            del expected[name]
        elif name in expected and chosen.random() < 0.4:
            assert handle.load(name) == expected[name]
        else:
            picked = chosen.sample(keys, chosen.randrange(1, 8))
            expected[name] = {key: "v" * chosen.randrange(3) * 4_000 for key in picked}
            handle.save(expected[name], name, force_full=chosen.random() < 0.1)
    assert {name: handles[0].load(name) for name in expected} == expected
    assert {name: list(handles[0].load(name)) for name in expected} == {
        name: list(state) for name, state in expected.items()
    }
