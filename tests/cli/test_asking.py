"""list, show, history, tree, stats, pipelines, export-index."""

from __future__ import annotations

import pytest

from checkpointdb import CheckpointIndex
from checkpointdb.cli.terminal import moment, size


def ids(result):
    return [each["checkpoint_id"] for each in result.document["checkpoints"]]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], ["fork", "two", "one"]),
        (["--reverse"], ["one", "two", "fork"]),
        (["--limit", 1], ["fork"]),
        (["--limit", 1, "--offset", 1], ["two"]),
        (["--limit", 0], []),
        (["--where", "accuracy > 0.9"], ["two"]),
        (["--where", "accuracy > 0.1", "--where", "run.host = n17"], ["one"]),
        (["--where", "accuracy > 0.9 or @pinned = true"], ["fork", "two"]),
        (["--has-key", "more"], ["fork"]),
        (["--has-key", "array", "--has-key", "n"], ["two", "one"]),
        (["--sort", "id"], ["two", "one", "fork"]),
        (["--sort", "accuracy", "--reverse"], ["one", "two", "fork"]),
        (["--sort", "@key_count", "--reverse"], ["fork", "one", "two"]),
    ],
)
def test_list_filters_sorts_and_cuts(run, words, found):
    assert ids(run("list", "--json", *words)) == found


def test_a_list_is_a_table_with_a_line_for_each(run):
    head, *lines = run("list").out.splitlines()
    assert head.split() == [
        "id",
        "saved",
        "(UTC)",
        "kind",
        "keys",
        "state",
        "bytes",
        "stored",
        "bytes",
        "pinned",
    ]
    assert [line.split()[0] for line in lines] == ["fork", "two", "one"]
    assert lines[0].endswith("pinned")


@pytest.mark.parametrize("words", [["accuracy,run.host"], ["accuracy", "--show", "run.host"]])
def test_a_list_has_a_column_for_each_metadata_field_that_is_shown(run, words):
    head, *lines = run("list", "--show", *words).out.splitlines()
    assert head.split()[-2:] == ["accuracy", "run.host"]
    assert [line.split()[-1] for line in lines] == ["pinned", "0.95", "n17"]
    assert lines[2].split()[-2] == "0.5"


def test_fields_are_shown_as_people_read_them_and_by_the_paths_of_conditions(run, store):
    metadata = {"a.b": "größe", "two words": True, "tags": ["x", None], "none": None}
    store("odd", state_version=1).save({"n": 1}, "x", custom_metadata=metadata)
    shown = r"""'a\.b', "two words", tags,none,tags.x"""
    done = run("--store", store("odd").checkpoint_dir, "list", "--show", shown)
    _, line = done.out.splitlines()
    assert line.endswith('  1        größe  true       ["x", null]  null')
    assert done.err.splitlines() == [
        "checkpointdb: no checkpoint has a metadata field 'tags.x' that can be asked for"
    ]


@pytest.mark.parametrize("words", ["", "@pinned", "a b", "a,", ",a", "a,,b", "(", "a(b", "a = b"])
def test_what_names_no_fields_is_not_shown(run, words):
    done = run("list", "--show", words)
    assert (done.code, "names no metadata fields" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sort", "nope"], "'nope' that can be asked for"),
        (["--show", "nope"], "'nope' that can be asked for"),
        (["--where", "not (accuracy > 1 or nope = 1)"], "'nope' that can be asked for"),
        (["--where", "pinned = false"], "'pinned' that can be asked for: did you mean @pinned?"),
        (["--where", "size > 9"], "did you mean @stored_bytes?"),
        (["--sort", "is_backed_up", "--json"], "did you mean @is_backed_up?"),
    ],
)
def test_a_metadata_field_that_no_checkpoint_has_is_told(run, words, told):
    done = run("list", *words)
    assert (done.code, done.err.count("\n"), told in done.err) == (0, 1, True)


@pytest.mark.parametrize(
    "words",
    [
        ["--sort", "run.host"],
        ["--show", "accuracy", "--limit", "1"],
        ["--where", "accuracy > 1 and @pinned = true"],
        ["--sort", "size"],
        ["--sort", "@depth"],
    ],
)
def test_a_metadata_field_that_some_checkpoint_has_is_not(run, words):
    assert run("list", *words).err == ""


def test_of_an_empty_pipeline_no_field_is_missed(run, store):
    assert run("--store", store("empty").checkpoint_dir, "list", "--sort", "nope").err == ""


def test_show_tells_the_place_and_the_keys(run, handle):
    document = run("show", "two", "--json").document
    assert (document["parent_id"], document["depth"]) == ("one", 1)
    assert [each["key"] for each in document["keys"]] == ["array", "n", "text", "blob"]
    text = run("show", "two").out
    assert handle.get_checkpoint_info("two").file_path in text
    assert "saved upon: one" in text
    assert "numpy.ndarray" in text


def test_history_has_each_value_of_a_key(run):
    found = run("history", "n", "--json").document["versions"]
    assert [(each["checkpoint_id"], each["change"]) for each in found] == [
        ("one", "set"),
        ("two", "set"),
        ("fork", "removed"),
    ]
    nothing = run("history", "nothing", "--json")
    assert (nothing.code, nothing.document["versions"]) == (0, [])
    assert nothing.err == "checkpointdb: no checkpoint has a key 'nothing'\n"


def test_statistics_are_those_of_the_library(run, handle):
    assert run("stats", "--json").document == handle.get_statistics()
    assert "total_checkpoints" in run("stats").out


def test_statistics_are_told_as_people_read_them(run, handle):
    found = handle.get_statistics()
    told = dict(line.split(None, 1) for line in run("stats").out.splitlines())
    assert told["total_size_bytes"] == size(found["total_size_bytes"])
    assert told["state_bytes"].endswith(" kB")
    assert told["newest_timestamp"] == moment(found["newest_timestamp"])
    assert (told["last_backup_timestamp"], told["total_checkpoints"]) == ("none", "3")
    assert set(told) == {"statistic", *found} - {"total_size_mb"}


def test_metadata_is_shown_in_its_own_letters_and_steers_no_terminal(run, store):
    store("other").save({"n": 1}, "x", custom_metadata={"größe": "\x1b[2J日本\x9b"})
    out = run("--store", store("other").checkpoint_dir, "show", "x").out
    assert '"größe": "\\u001b[2J日本\\x9b"' in out


def test_pipelines_are_those_of_the_store(run, store):
    store(pipeline="nightly").save({"a": 1}, "x")
    assert run("pipelines").out == "default\nnightly\n"
    assert run("--pipeline", "whatever", "pipelines", "--json").document == {
        "pipelines": ["default", "nightly"]
    }


def test_a_store_that_has_no_pipeline_yet_is_just_empty(run, store):
    empty = store("empty").checkpoint_dir
    assert run("--store", empty, "list", "--json").document == {"checkpoints": []}
    assert run("--store", empty, "tree").code == 0


def test_the_exported_index_is_read_again(run, handle):
    found = run("export-index")
    assert CheckpointIndex.from_dict(found.document) == handle.index()
    assert run("export-index", "--json").out == found.out


def test_versions_of_states_are_shown_where_there_are_any(run, store, handle):
    assert "version" not in run("list").out
    assert "state:      no version" in run("show", "two").out
    store(state_version=7).save({"n": 1}, "new")
    head, first, *others = run("list").out.splitlines()
    assert head.split()[-1] == "version"
    assert first.split()[-1] == "7"
    assert not any(line.endswith("7") for line in others)
    assert "state:      version 7" in run("show", "new").out
    assert ids(run("list", "--json", "--where", "@state_version = 7")) == ["new"]
    assert ids(run("list", "--json", "--sort", "@state_version"))[0] == "new"
