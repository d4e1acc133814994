"""States that evolve: recorded versions, and upgrades at load."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labels import label

from checkpointdb import (
    CheckpointError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
    PipelineCheckpoint,
    RetentionPolicy,
    StateUpgradeError,
    StateVersionError,
    checkpoints,
    generate_encryption_key,
    parse_where,
)
from checkpointdb.store.state_versions import StateVersions


def to_2(state):
    """Version 2 has a full name where 1 had two parts."""
    return {"name": f"{state['first']} {state['last']}", "n": state["n"]}


def to_3(state):
    state["n"] *= 10  # in place, as most would write it
    return state


UPGRADES = {1: to_2, 2: to_3}
OLD = {"first": "Ada", "last": "Lovelace", "n": 4}
NEW = {"name": "Ada Lovelace", "n": 40}


@pytest.fixture
def code(tmp_path, request, empty_database):
    """Handles of one store, each of another version of a pipeline's code."""
    directory, handles = tmp_path / "store", []
    keys = {}

    def handle(version=None, upgrades=None, **options):
        if not options and not directory.exists():
            directory.mkdir()
            shutil.copy(empty_database, directory)
        keys.update(options)
        options = {"retention_policy": RetentionPolicy.KEEP_ALL, "durable": False, **options}
        versions = {"state_version": version, "state_upgrades": upgrades}
        handles.append(PipelineCheckpoint(directory, **versions, **options))
        return handles[-1]

    yield handle
    for each in handles:
        each.close()
    if request.node.get_closest_marker("damages") is None:
        with PipelineCheckpoint(directory, **keys) as last:
            assert last.check(read_data=True).problems == ()


@pytest.fixture
def old(code):
    """A store with a state of version 1."""
    handle = code(1)
    handle.save(OLD, "old")
    return handle


# --- upgrades


def test_a_state_is_upgraded_step_by_step(old, code):
    new = code(3, UPGRADES)
    assert new.load("old") == NEW
    assert code(2, {1: to_2}).load("old") == {**NEW, "n": 4}
    assert new.load_latest()[1] == NEW
    assert old.load("old") == OLD


def test_what_is_upgraded_and_saved_again_has_the_new_version(old, code):
    new = code(3, UPGRADES)
    new.save(new.load("old"), "new")
    assert new.load("new") == NEW
    assert code(3).load("new") == NEW  # no upgrade is needed any more
    info = {each.checkpoint_id: each for each in new.list_checkpoints()}
    assert (info["old"].state_version, info["new"].state_version) == (1, 3)
    assert new.details("new").parent_id == "old"


def test_some_keys_of_an_older_state_are_those_of_the_upgraded_one(old, code):
    new = code(3, UPGRADES)
    assert new.load("old", keys=["n", "name"]) == {"n": 40, "name": "Ada Lovelace"}
    assert new.load("old", keys=[]) == {}
    with pytest.raises(NotFoundError, match="'first'"):
        new.load("old", keys=["n", "first"])


def test_a_lazy_mapping_of_an_older_state_is_that_of_the_upgraded_one(old, code):
    lazy = code(3, UPGRADES).lazy("old")
    assert dict(lazy) == NEW
    assert list(lazy) == list(NEW)
    assert "first" not in lazy


def test_a_lazy_look_at_an_older_state_is_nothing_to_build_on(old, code):
    new = code(3, UPGRADES)
    new.save(NEW, "new")
    new.lazy("old")
    new.load("old", keys=["n"])
    new.save({**NEW, "n": 41}, "newer")
    assert new.details("newer").parent_id == "new"


def test_states_of_the_same_version_are_read_by_key_and_not_upgraded(old, code):
    handle = code(1, {0: lambda state: 1 / 0})
    assert handle.load("old", keys=["n"]) == {"n": 4}
    assert handle.lazy("old")["last"] == "Lovelace"


def test_a_state_without_a_version_counts_as_0(code):
    code().save(OLD, "old")
    assert code(1, {0: dict}).load("old") == OLD
    assert code(0).load("old") == OLD
    with pytest.raises(StateVersionError, match=r"without a state version.* from 0 to 1") as caught:
        code(3, UPGRADES).load("old")
    assert (caught.value.found, caught.value.expected, caught.value.step) == (0, 3, 0)


def test_code_without_a_version_loads_everything_as_it_is(old, code):
    handle = code()
    assert handle.load("old") == OLD
    assert handle.lazy("old")["first"] == "Ada"
    handle.save({"n": 1}, "next")
    assert handle.get_checkpoint_info("next").state_version is None


versions = st.integers(0, 6)


@settings(max_examples=40)
@given(saved=st.none() | versions, code=versions, missing=st.none() | versions)
def test_every_chain_of_upgrades_is_walked_whole_or_refused(
    tmp_path_factory, empty_database, saved, code, missing
):
    begins = saved or 0
    steps = {step for step in range(code) if step != missing}
    upgrades = {step: lambda state, step=step: {"walked": [*state["walked"], step]}
                for step in steps}  # fmt: skip
    walked = list(range(begins, code))
    place = type("Place", (), {"checkpoint_id": "a", "state_version": saved})
    found = StateVersions(code, upgrades)
    if begins > code or missing in walked:
        with pytest.raises(StateVersionError) as caught:
            found.keys_to_read(place, ["walked"])
        assert caught.value.step == (None if begins > code else missing)
        return
    assert found.keys_to_read(place, ["walked"]) == (None if walked else ["walked"])
    assert found.upgraded(place, {"walked": []}, None) == {"walked": walked}


# --- what is refused


class Bomb:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return sys.exit, ("unpickled",)


def test_a_newer_state_is_refused_before_anything_is_unpickled(code):
    code(4).save({"bomb": Bomb()}, "new")
    handle = code(3, UPGRADES)
    for load in (
        lambda: handle.load("new"),
        lambda: handle.load("new", False),
        lambda: handle.load("new", keys=["bomb"]),
        lambda: handle.lazy("new"),
        handle.load_latest,
    ):
        with pytest.raises(StateVersionError, match=r"'new' has.* 4.*up to 3") as caught:
            load()
        assert (caught.value.checkpoint_id, caught.value.found) == ("new", 4)
        assert (caught.value.expected, caught.value.step) == (3, None)


def test_a_missing_step_is_named_before_anything_is_unpickled(code):
    code(1).save({"bomb": Bomb()}, "old")
    with pytest.raises(
        StateVersionError, match=r"'old' has state version 1.*from 2 to 3"
    ) as caught:
        code(4, {1: to_2, 3: to_3}).load("old")
    assert (caught.value.found, caught.value.expected, caught.value.step) == (1, 4, 2)


def test_an_upgrade_that_raises_is_told_with_its_step_and_its_cause(old, code):
    def fail(state):
        raise KeyError("middle")

    with pytest.raises(StateUpgradeError, match=r"'old'.*from state version 2 to 3.*KeyError") as (
        caught
    ):
        code(3, {1: to_2, 2: fail}).load("old")
    assert isinstance(caught.value.__cause__, KeyError)
    assert (caught.value.checkpoint_id, caught.value.step) == ("old", 2)
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize("result", [None, [1], {1: 2}], ids=label)
def test_an_upgrade_that_returns_no_state_is_told(old, code, result):
    with pytest.raises(StateUpgradeError, match="did not return a state"):
        code(2, {1: lambda state: result}).load("old")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_or_a_lack_of_memory_in_an_upgrade_is_that(old, code, error):
    def interrupted(state):
        raise error

    with pytest.raises(error):
        code(2, {1: interrupted}).load("old")


@pytest.mark.parametrize(
    "options",
    [
        {"state_version": -1},
        {"state_version": True},
        {"state_version": 1.0},
        {"state_version": "3"},
        {"state_version": 2**31},
        {"state_version": 2**70},
        {"state_upgrades": {1: to_2}},
        {"state_upgrades": {}},
        {"state_version": 2, "state_upgrades": [to_2]},
        {"state_version": 2, "state_upgrades": {2: to_3}},
        {"state_version": 2, "state_upgrades": {"1": to_2}},
        {"state_version": 2, "state_upgrades": {True: to_2}},
        {"state_version": 2, "state_upgrades": {-1: to_2}},
        {"state_version": 2, "state_upgrades": {1: "to_2"}},
    ],
    ids=label,
)
def test_versions_that_make_no_sense_are_refused_before_anything_is_made(tmp_path, options):
    with pytest.raises(InvalidInputError, match="state_"):
        PipelineCheckpoint(tmp_path / "new", **options)
    assert list(tmp_path.iterdir()) == []


def test_the_greatest_version_can_be_saved_and_brought_back(code):
    handle = code(2**31 - 1)
    handle.save(OLD, "old")
    handle.close()
    (handle.checkpoint_dir / "checkpoints.db").unlink()
    PipelineCheckpoint.rebuild(handle.checkpoint_dir)
    assert code().get_checkpoint_info("old").state_version == 2**31 - 1


# --- the version travels with its checkpoint


@pytest.fixture(params=["clear", "encrypted"])
def options(request):
    if request.param == "clear":
        return {}
    pytest.importorskip("cryptography")
    return {
        "encryption_key": generate_encryption_key(),
        "enable_encryption": True,
    }


@pytest.fixture
def mixed(code, options):
    """A chain of checkpoints without a version, of version 1, and of version 2."""
    for version, name in ((None, "none"), (1, "one"), (2, "two")):
        handle = code(version, **options)
        handle.save({"text": "x" * 5_000, "n": name}, name)
    return handle


def told(handle):
    return {each.checkpoint_id: each.state_version for each in handle.list_checkpoints()}


EXPECTED = {"none": None, "one": 1, "two": 2}


def loads(handle):
    return all(handle.load(each)["n"] == each for each in EXPECTED if each != "two")


def test_it_comes_back_with_the_database(mixed, code, options):
    mixed.close()
    (mixed.checkpoint_dir / "checkpoints.db").unlink()
    PipelineCheckpoint.rebuild(mixed.checkpoint_dir, options.get("encryption_key"))
    handle = code(**options)
    assert told(handle) == EXPECTED
    assert loads(handle)


def test_it_is_copied(mixed, tmp_path, options):
    mixed.copy_into(tmp_path / "copy")
    with PipelineCheckpoint(tmp_path / "copy", **options) as copy:
        assert told(copy) == EXPECTED
        assert loads(copy)
        assert copy.check(read_data=True).is_ok


def test_it_is_exported_and_imported(mixed, tmp_path, store, options):
    key = options.get("encryption_key")
    other = store("other")
    for name in ("none", "two"):
        mixed.export_checkpoint(name, tmp_path / name)
        other.import_checkpoint(tmp_path / name, key=key, allow_plain=True)
    assert told(other) == {"none": None, "two": 2}
    assert other.load("two")["n"] == "two"


def test_a_merged_and_a_compacted_one_keep_it(mixed, options):
    mixed.merge("one")
    mixed.merge("two")
    mixed.delete_checkpoint("none")
    mixed.compact(min_dead=0.01)
    assert told(mixed) == {"one": 1, "two": 2}
    assert mixed.load("two")["n"] == "two"
    mixed.close()
    (mixed.checkpoint_dir / "checkpoints.db").unlink()
    key = options.get("encryption_key")
    PipelineCheckpoint.rebuild(mixed.checkpoint_dir, key)
    given = {"encryption_key": key, "enable_encryption": None}
    with PipelineCheckpoint(mixed.checkpoint_dir, **given) as handle:
        assert {"one": 1, "two": 2}.items() <= told(handle).items()


@pytest.mark.damages
@pytest.mark.parametrize("version", ["NULL", "1", "3", "-1", "'x'", "2.5"])
def test_a_version_that_was_changed_in_the_database_is_told(mixed, code, alter, options, version):
    alter(mixed, f"UPDATE checkpoints SET state_version = {version} WHERE checkpoint_id = 'two'")
    lenient = code(9, dict.fromkeys(range(9), dict), **options)
    for handle in (mixed, lenient, code(**options)):
        with pytest.raises((CorruptionError, StateVersionError)):
            handle.load("two")
    with pytest.raises(CorruptionError):
        code(**options).merge("two")
    problems = mixed.check().problems
    assert any(each.kind == "database" or "two" in each.checkpoint_ids for each in problems)


@pytest.mark.damages
def test_in_an_encrypted_store_no_key_is_given_under_a_changed_version(code, alter):
    pytest.importorskip("cryptography")
    options = {"encryption_key": generate_encryption_key(), "enable_encryption": True}
    code(1, **options).save(OLD, "old")
    handle = code(3, UPGRADES, **options)
    alter(handle, "UPDATE checkpoints SET state_version = 3")
    with pytest.raises(CorruptionError):
        handle.load("old", False, keys=["n"])


# --- asking


def test_it_can_be_asked_for_sorted_by_and_exported(mixed):
    def found(where):
        return {each.checkpoint_id for each in mixed.list_checkpoints(where=where)}

    assert found(checkpoints.c.state_version < 2) == {"one"}
    assert found(parse_where("@state_version >= 2")) == {"two"}
    assert found(parse_where("not @state_version exists")) == {"none"}
    for reverse, order in ((False, ["one", "two", "none"]), (True, ["two", "one", "none"])):
        listed = mixed.list_checkpoints("state_version", reverse)
        assert [each.checkpoint_id for each in listed] == order
    document = json.loads(json.dumps(mixed.index().to_dict()))
    assert {name: each["state_version"] for name, each in document["checkpoints"].items()} == (
        EXPECTED
    )


def test_the_view_shows_it(mixed):
    rows = mixed.sql("SELECT checkpoint_id, state_version FROM checkpoint_overview").rows
    assert dict(rows) == EXPECTED


def test_differences_and_history_are_those_of_what_was_saved(old, code):
    new = code(3, UPGRADES)
    new.save(NEW, "new")
    assert [each.key for each in new.diff("old", "new").removed] == ["first", "last"]
    changes = [(each.checkpoint_id, each.change) for each in new.history("first")]
    assert changes == [("old", "set"), ("new", "removed")]


def test_both_errors_are_caught_as_ours():
    assert issubclass(StateUpgradeError, StateVersionError)
    assert issubclass(StateVersionError, CheckpointError)
