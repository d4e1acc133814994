"""Ids, keys, metadata and pipelines are data: none of them acts on the file system or the SQL."""

from __future__ import annotations

import pytest

from checkpointdb import InvalidInputError, InvalidStateError, PipelineCheckpoint, meta

pytestmark = pytest.mark.databases

HOSTILE = [
    "../../etc/x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "..",
    ".",
    "~",
    "-rf",
    "CON",
    "nul.txt",
    "😀",
    "é",
    "e\u0301",
    "x" * 10_000,
    "日" * 10_000,
    "with space ",
    " ",
    "line\nbreak",
    "tab\t",
    "\x1b[31m",
    "\u202egnp",
    "a?b*c:d|e<f>g",
    "%s %d {0} {x}",
    "'; DROP TABLE checkpoints; --",
    '"',
    "null",
    "None",
    "0",
    "__deleted_keys__",
    "$HOME",
    "a.ckpt.gz",
]
REFUSED = ["a\0b", "\0", "\ud800", "x\udfff"]
each_hostile = pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:24])
each_refused = pytest.mark.parametrize("text", REFUSED, ids=ascii)


@pytest.mark.sqlite
def test_none_stands_for_an_id_that_is_made_up_and_for_no_other_name(store):
    with pytest.raises(InvalidInputError, match="id is empty: give a name, or None for one"):
        store().save({}, "")
    for use in (lambda: store(pipeline=""), lambda: store().save({}, "a", base="")):
        with pytest.raises(InvalidInputError, match=r"is empty: give a name$"):
            use()


@pytest.fixture
def guarded(tmp_path, store, tree):
    """A handle, around whose directory nothing may change."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "x").write_text("not yours")
    handle = store("in/side/store")
    before = tree(tmp_path)
    yield handle
    inside = "in/side/store/"
    after = {path: size for path, size in tree(tmp_path).items() if not path.startswith(inside)}
    assert after == {path: size for path, size in before.items() if not path.startswith(inside)}


@each_hostile
def test_any_text_is_an_id_and_none_leaves_the_directory(guarded, text):
    assert guarded.save({"n": 1}, text) == text
    guarded.save({"n": 2}, text)
    info = guarded.get_checkpoint_info(text)
    assert info.checkpoint_id == text
    assert str(guarded.checkpoint_dir / "payloads") in info.file_path
    assert guarded.load(text) == {"n": 2}
    guarded.delete_checkpoint(text)
    assert guarded.list_checkpoints() == []


@each_hostile
def test_any_text_is_a_pipeline(tmp_path, store, tree, text):
    handle = store("in/store", pipeline=text)
    handle.save({"n": 1}, "x")
    assert handle.load("x") == {"n": 1}
    assert handle.pipelines() == [text]
    assert {path.split("/")[0] for path in tree(tmp_path)} == {"in"}


def test_any_text_is_a_key(store):
    handle = store()
    state = {text: number for number, text in enumerate([*HOSTILE, ""])}
    handle.save(state, "x")
    handle.save(state | {"a/b": "changed"}, "y")
    assert handle.load("x") == state
    assert handle.load("y", keys=["a/b", ""]) == {"a/b": "changed", "": len(HOSTILE)}
    assert handle.get_checkpoint_info("x").state_keys == list(state)


def test_the_reserved_key_of_the_system_we_replace_is_a_key_like_others(store):
    handle = store()
    state = {"__deleted_keys__": ["a"], "a": 1}
    handle.save(state, "x")
    handle.save(state | {"b": 2}, "y")
    assert handle.load("y") == state | {"b": 2}


def test_any_text_is_metadata(store):
    handle = store()
    metadata = {text: text for text in HOSTILE}
    handle.save({}, "x", custom_metadata=metadata)
    assert handle.get_checkpoint_info("x").custom_metadata == metadata
    assert len(handle.list_checkpoints(where=meta("a/b") == "a/b")) == 1


def test_ids_that_differ_in_case_or_form_are_different(store):
    names = ["stage", "Stage", "STAGE", "é", "e\u0301", "stage ", "strasse", "straße"]
    handle = store()
    for number, name in enumerate(names):
        handle.save({"n": number}, name)
    assert [handle.load(name)["n"] for name in names] == list(range(len(names)))
    assert len({path.name.lower() for path in handle.checkpoint_dir.rglob("*.gz")}) == len(names)


def test_pipelines_that_differ_in_case_do_not_share_a_directory(store):
    for name in ("Day", "day", "DAY", "d/ay", "d_ay"):
        store(pipeline=name).save({"n": name}, "x")
    folders = {path.name.lower() for path in (store().checkpoint_dir / "payloads").glob("p-*")}
    assert len(folders) == 5


def test_the_names_of_files_are_plain_and_short(store):
    handle = store(pipeline="日" * 500)
    for text in HOSTILE:
        handle.save({}, text)
    names = [path.name for path in handle.checkpoint_dir.rglob("*.ckpt.gz")]
    assert all(name.isascii() and len(name) < 120 for name in names)


def test_listings_are_in_the_order_of_saves(archive):
    for name in ("zebra", "../a", "9", "😀"):
        archive.save({"n": name}, name)
    paths = [each.file_path for each in archive.list_checkpoints(reverse=False)]
    assert paths == sorted(paths)


# --- refused


@each_refused
def test_text_that_no_database_holds_is_refused_wherever_it_becomes_a_row(archive, tree, text):
    archive.save({"n": 1}, "x")
    before = tree(archive.checkpoint_dir / "payloads")
    for save in (
        lambda: archive.save({"n": 2}, text),
        lambda: archive.save({text: 2}, "y"),
        lambda: archive.save({}, "y", custom_metadata={text: 1}),
        lambda: archive.save({}, "y", custom_metadata={"a": [{"b": text}]}),
    ):
        with pytest.raises(InvalidInputError, match=r"NUL|surrogate"):
            save()
    assert tree(archive.checkpoint_dir / "payloads") == before
    assert len(archive.list_checkpoints()) == 1


@each_refused
def test_a_pipeline_that_no_database_holds_is_refused(tmp_path, text):
    with pytest.raises(InvalidInputError, match=r"NUL|surrogate"):
        PipelineCheckpoint(tmp_path / "new", pipeline=text)
    assert list(tmp_path.iterdir()) == []


@each_refused
def test_a_value_may_be_any_text(store, text):
    handle = store()
    handle.save({"value": text}, "x")
    assert handle.load("x") == {"value": text}


@pytest.mark.parametrize("checkpoint_id", ["", 3, b"x", ["x"], True, "x" * 20_000], ids=str)
def test_an_absurd_id_is_refused(archive, checkpoint_id):
    with pytest.raises(InvalidInputError):
        archive.save({}, checkpoint_id)
    assert archive.list_checkpoints() == []


def test_a_refused_key_is_named(archive):
    with pytest.raises(InvalidStateError) as caught:
        archive.save({"fine": 1, "a\0b": 2}, "x")
    assert caught.value.key == "a\0b"


# --- the store's own directory


@pytest.mark.parametrize(
    "name", ["a?b", "a%20b", "100%", "a#b", "a b", "ä;'", "a&b=c", "-x", "日本"], ids=ascii
)
@pytest.mark.sqlite
def test_a_store_lives_in_a_directory_of_any_name(tmp_path, store, tree, name):
    handle = store(name)
    handle.save({"n": 1}, "x")
    assert store(name).load("x") == {"n": 1}
    assert {path.split("/")[0] for path in tree(tmp_path)} == {name}
    assert f"{name}/checkpoints.db" in tree(tmp_path)
