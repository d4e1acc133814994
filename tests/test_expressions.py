"""Conditions and orders written as text: what they find, and what is refused."""

from __future__ import annotations

import pytest
from labels import label

from checkpointdb import (
    InvalidInputError,
    KeepWhere,
    RetentionPolicy,
    is_backed_up,
    meta,
    parse_where,
)
from checkpointdb.filters import parse_sort

pytestmark = pytest.mark.databases

STATES = {
    "one": {"accuracy": 0.5, "run": {"host": "n17"}, "odd name": "17", "note": None},
    "two": {"accuracy": 0.95, "run": {"host": "n18"}, "v1.2": True},
    "three": {"stage": "two words"},
}


@pytest.fixture
def handle(archive):
    for name, metadata in STATES.items():
        archive.save({name: 1}, name, custom_metadata=metadata, pinned=name == "two")
    return archive


def found(handle, text):
    return {each.checkpoint_id for each in handle.list_checkpoints(where=parse_where(text))}


def test_what_no_backup_has_yet_is_found(handle, tmp_path):
    assert found(handle, "@is_backed_up = false") == set(STATES)
    handle.push_backup(tmp_path / "nas")
    handle.push_backup(tmp_path / "second")
    handle.save({"n": 1}, "four")
    handle.save({"n": 2}, "two")
    for text in ("@is_backed_up = true", "@is_backed_up != false", "not @is_backed_up == false"):
        assert found(handle, text) == {"one", "three"}
    assert found(handle, "@is_backed_up = false and not one exists") == {"two", "four"}
    listed = handle.list_checkpoints(where=is_backed_up() & (meta("accuracy") > 0), limit=1)
    assert [each.checkpoint_id for each in listed] == ["one"]


@pytest.mark.parametrize(
    "text", ["@is_backed_up", "@is_backed_up > true", "@is_backed_up = 1", "@is_backed_up exists"]
)
def test_whether_there_is_a_backup_is_true_or_false(text):
    with pytest.raises(InvalidInputError, match="cannot be asked"):
        parse_where(text)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("accuracy > 0.9", {"two"}),
        ("accuracy>=.5 and run.host=n17", {"one"}),
        ("accuracy = 5e-1 or accuracy == 0.95", {"one", "two"}),
        ("not accuracy > 0.9", {"one", "three"}),
        ("not not accuracy > 0.9", {"two"}),
        ("accuracy < 0.6 or accuracy > 0.9 and run.host = n17", {"one"}),
        ("(accuracy < 0.6 or accuracy > 0.9) and run.host = n18", {"two"}),
        ("accuracy != 0.5", {"two"}),
        ("run.host ^= n1", {"one", "two"}),
        ("run.host in (n17, 3, null)", {"one"}),
        ("note = null", {"one"}),
        ("note exists", {"one"}),
        (r"v1\.2 = true", {"two"}),
        ('"odd name" = "17"', {"one"}),
        ("'odd name' = 17", set()),
        ("stage = 'two words'", {"three"}),
        ('stage = "two\\u0020words"', {"three"}),
        ("@pinned = true", {"two"}),
        ("@pinned = TRUE AND NOT accuracy EXISTS", set()),
        ("@id in (one, three)", {"one", "three"}),
        ("@id ^= t", {"two", "three"}),
        ("@id ^= '%'", set()),
        ("@id ^= T", set()),
        ("not @id ^= T", set(STATES)),
        ("@id ^= two", {"two"}),
        ("@id ^= ''", set(STATES)),
        ("@id exists", set(STATES)),
        ("@key_count = 1 and @state_bytes < 1e6", set(STATES)),
        (f"@state_bytes < {10**30}", set(STATES)),
        ("@created_at > 2020-01-01", set(STATES)),
        ("@created_at < 2020-01-01T12:00+02:00", set()),
        ("@is_incremental = false and @is_encrypted = false", set(STATES)),
    ],
)
def test_a_condition_finds_what_it_says(handle, text, ids):
    assert found(handle, text) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("@state_version = 1", {"v1"}),
        ("not @state_version = 1", {"v2", "none"}),
        ("@state_version != 1", {"v2"}),
        ("not @state_version != 1", {"v1", "none"}),
        ("not @state_version > 1", {"v1", "none"}),
        ("not not @state_version > 1", {"v2"}),
        ("not @state_version in (2, 3)", {"v1", "none"}),
        ("not (@state_version = 1 and @pinned = false)", {"v2", "none"}),
        ("not @state_version exists", {"none"}),
    ],
)
def test_a_comparison_with_a_version_holds_only_where_there_is_one(store, text, ids):
    for version in (1, 2):
        with store(state_version=version, retention_policy=RetentionPolicy.KEEP_ALL) as handle:
            handle.save({"a": version}, f"v{version}")
    unversioned = store(retention_policy=RetentionPolicy.KEEP_ALL)
    unversioned.save({"a": 0}, "none")
    assert found(unversioned, text) == ids


def test_a_policy_that_keeps_all_but_one_version_keeps_what_has_none(store):
    unversioned = store(retention_policy=RetentionPolicy.KEEP_ALL)
    unversioned.save({"a": 0}, "none")
    with store(state_version=1, retention_policy=RetentionPolicy.KEEP_ALL) as handle:
        handle.save({"a": 1}, "v1")
    unversioned.save({"a": 2}, "newest")
    plan = unversioned.plan_retention(KeepWhere(parse_where("not @state_version = 1")))
    assert [each.checkpoint_id for each in plan.forgotten] == ["v1"]


def test_what_is_no_text_is_no_condition():
    with pytest.raises(InvalidInputError, match="a condition is text, not int"):
        parse_where(5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a field is expected"),
        ("accuracy", "a comparison is expected"),
        ("accuracy >", "a value is expected"),
        ("and", "a field is expected"),
        ("accuracy = 1 2", "too much, at '2'"),
        ("(accuracy = 1", "'\\)' is expected"),
        ("accuracy in 1", "'\\(' is expected"),
        ("__import__('os')", "one of = == !="),
        ("accuracy > null", "null has no order"),
        ("accuracy ^= 1", "begins"),
        ("@pinned ^= true", "begins"),
        ("@colour = red", "there is no column @colour, but @id"),
        ("@pinned = 1", "no value of the column"),
        ("@id = 3", "write 3 in quotes"),
        ("@state_version = null", '"not @state_version exists" finds'),
        ("@created_at = yesterday", "no time"),
        ("@created_at = 3", "no time"),
        ("accuracy ! 3", "no word"),
        ('accuracy = "open', "no word"),
        ('accuracy = "\\q"', "no text"),
        ("accuracy = " + "9" * 5_000, "too long"),
        ("(" * 60 + "a = 1" + ")" * 60, "nested"),
        (" and ".join(["a = 1"] * 400), "at most"),
        ("a = '\0'", "NUL"),
        ("accuracy ; drop", "one of ="),
    ],
    ids=label,
)
def test_what_is_no_condition_is_refused_with_the_place(text, words):
    with pytest.raises(InvalidInputError, match=words) as caught:
        parse_where(text)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("timestamp", "three"),
        ("id", "two"),
        ("accuracy", "two"),
        ("@id", "two"),
        ("'run.host'", "two"),
        ("@created_at", "three"),
    ],
)
def test_an_order_is_named_as_fields_are(handle, text, first):
    assert handle.list_checkpoints(sort_by=parse_sort(text))[0].checkpoint_id == first


@pytest.mark.parametrize("text", ["", "a b", "@colour", "@id desc"])
def test_what_names_no_order_is_refused(text):
    with pytest.raises(InvalidInputError):
        parse_sort(text)
