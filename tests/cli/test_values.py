"""get and diff: values as text, as JSON, as files; what pickles may name."""

from __future__ import annotations

import pickle
import stat

import numpy as np
import pytest
from click.testing import CliRunner

from checkpointdb import StreamedValue
from checkpointdb.cli.application import cli


class Mine:
    """A class that no safe set of names has."""

    def __eq__(self, other):
        return isinstance(other, Mine)

    __hash__ = None


class Broken:
    """A class whose values cannot be restored."""

    def __reduce__(self):
        return (int, ("no number",))


@pytest.mark.parametrize(
    ("key", "text"),
    [("n", "1\n"), ("text", "first\nsecond\n"), ("array", "array([4, 4, 6, ..., ")],
)
def test_a_value_is_printed_as_people_read_it(run, key, text):
    assert run("get", "one", key).out.startswith(text)


def test_a_state_is_printed_key_by_key(run):
    lines = run("get", "fork").out.splitlines()
    assert lines[0].startswith("array = array([")
    assert "more = {" in lines


def test_json_has_what_json_can_hold_and_text_for_the_rest(run):
    values = run("get", "fork", "--json").document["values"]
    assert values["more"] == {
        "type_name": "dict",
        "value": {"deep": [1, 2.5, None]},
        "text": None,
    }
    assert values["array"]["value"] is None
    assert values["array"]["text"].startswith("array([")


@pytest.mark.parametrize("value", [(1, 2), float("nan"), {1: 2}, b"x", {"a": (1,)}])
def test_what_json_would_change_is_text(run, handle, value):
    handle.save({"value": value}, "odd")
    found = run("get", "odd", "value", "--json").document["values"]["value"]
    assert (found["value"], found["text"]) == (None, repr(value))


@pytest.mark.parametrize(
    ("key", "form"), [("blob", "bytes"), ("text", "text"), ("array", "a pickle")]
)
def test_a_value_is_written_to_a_new_private_file(run, handle, tmp_path, key, form):
    path = tmp_path / "out"
    written = run("get", "one", key, "--output", path, "--json").document["written"]
    value, data = handle.load("one", keys=[key])[key], path.read_bytes()
    assert written == {"path": str(path), "form": form, "bytes": len(data)}
    found = {"bytes": bytes, "text": bytes.decode, "a pickle": pickle.loads}[form](data)
    assert np.array_equal(found, value)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_whole_state_is_written_as_a_pickle(run, handle, tmp_path):
    run("get", "two", "--output", tmp_path / "out")
    assert pickle.loads((tmp_path / "out").read_bytes())["n"] == 2


def test_a_file_is_replaced_only_by_force(run, tmp_path):
    path = tmp_path / "out"
    path.write_text("mine")
    result = run("get", "one", "text", "--output", path)
    assert (result.code, "--force" in result.err, path.read_text()) == (1, True, "mine")
    assert run("get", "one", "text", "--output", path, "--force").code == 0
    assert path.read_text() == "first\nsecond"
    assert [each.name for each in tmp_path.glob("*out*")] == ["out"]


# --- what pickles may name


def test_what_a_pickle_names_must_be_trusted(run, handle):
    handle.save({"mine": Mine()}, "own")
    refused = run("get", "own")
    assert (refused.code, f"{__name__}.Mine" in refused.err) == (1, True)
    assert run("get", "own", "--trusted-globals", f"{__name__}.Mine").code == 0
    assert run("get", "own", "--trusted-globals", f"{__name__}.*").code == 0
    assert run("get", "own", "--trust-all").code == 0


def test_a_difference_of_values_trusts_no_more(run, handle):
    handle.save({"mine": Mine()}, "own")
    handle.save({"mine": [Mine()]}, "owned")
    assert run("diff", "own", "owned").code == 0
    assert run("diff", "own", "owned", "--values").code == 1
    assert run("diff", "own", "owned", "--values", "--trust-all").code == 0


def test_a_value_that_cannot_be_restored_is_told_without_a_traceback(run, handle):
    handle.save({"broken": Broken()}, "odd")
    result = run("get", "odd", "--trust-all")
    assert result.code == 1
    assert "ValueError" in result.err
    assert "key 'broken' of checkpoint 'odd'" in result.err


class Faulty(int):
    """A class whose values cannot be compared."""

    def __eq__(self, other):
        raise ValueError("never compared")

    __ne__ = __eq__
    __hash__ = int.__hash__


class Mute:
    """A class whose values cannot be shown."""

    def __repr__(self):
        raise ValueError("nothing to show")


def test_a_value_that_cannot_be_shown_does_not_hide_the_rest(run, handle):
    handle.save({"large": [10**5_000, 1], "mute": {"a": Mute()}, "n": 1}, "odd")
    assert run("get", "odd", "--trust-all").out.splitlines() == [
        "large = [<an integer of 16610 bits>, 1]",
        "mute = {'a': <Mute that cannot be shown: ValueError: nothing to show>}",
        "n = 1",
    ]
    values = run("get", "odd", "--trust-all", "--json").document["values"]
    assert values["large"]["text"] == "[<an integer of 16610 bits>, 1]"
    assert values["n"]["value"] == 1


# --- differences


def test_a_difference_is_told_by_key(run):
    document = run("diff", "one", "fork", "--json").document
    assert [each["key"] for each in document["removed"]] == ["n", "text", "blob"]
    assert [each["key"] for each in document["added"]] == ["more"]
    assert (document["unchanged"], document["values"]) == (["array"], {})


def test_values_are_compared_if_asked(run):
    values = run("diff", "one", "two", "--values", "--json").document["values"]
    assert values == {"array": ["1 of 5000 items differ, by at most 2"], "n": ["1 → 2"]}
    assert "  1 → 2\n" in run("diff", "one", "two", "--values").out


def test_a_value_that_cannot_be_compared_leaves_the_rest_to_be(run, handle):
    handle.save({"faulty": Faulty(1), "n": 1}, "before")
    handle.save({"faulty": Faulty(2), "n": 2}, "after")
    asked = run("diff", "before", "after", "--values", "--trust-all", "--json")
    assert asked.document["values"] == {
        "faulty": ["cannot be compared: ValueError: never compared"],
        "n": ["1 → 2"],
    }


def test_a_checkpoint_does_not_differ_from_itself(run):
    document = run("diff", "one", "one", "--values", "--json").document
    assert (document["changed"], document["values"]) == ([], {})


# --- streams

STREAM = bytes(range(256)) * 6_000


@pytest.fixture
def streamed(handle):
    handle.save({"stream": StreamedValue(STREAM), "n": 1}, "streamed")


@pytest.mark.usefixtures("streamed")
def test_a_stream_is_told_by_its_size_and_written_as_it_is(run, tmp_path):
    assert "<StreamedValue of 1,536,000 bytes>" in run("get", "streamed", "stream").out
    shown = next(each for each in run("show", "streamed").out.splitlines() if "Streamed" in each)
    assert ("stream" in shown.split(), "MB" in shown or "MiB" in shown) == (True, True)
    path = tmp_path / "out"
    written = run("get", "streamed", "stream", "--output", path, "--json").document["written"]
    assert written == {"path": str(path), "form": "bytes", "bytes": len(STREAM)}
    assert path.read_bytes() == STREAM
    assert run("get", "streamed", "stream", "--output", path).code == 1
    assert run("get", "streamed", "stream", "--output", path, "--force").code == 0


@pytest.mark.usefixtures("streamed")
def test_a_stream_goes_to_the_next_program(handle):
    words = ["--store", str(handle.checkpoint_dir), "get", "streamed", "stream", "--output", "-"]
    assert CliRunner().invoke(cli, words).stdout_bytes == STREAM
    assert CliRunner().invoke(cli, [*words, "--json"]).exit_code == 2
    assert CliRunner().invoke(cli, [*words[:4], "n", "--output", "-"]).exit_code == 2


@pytest.mark.usefixtures("streamed")
def test_a_whole_state_with_a_stream_is_no_pickle(run, tmp_path):
    result = run("get", "streamed", "--output", tmp_path / "out")
    assert (result.code, "key 'stream' is a stream" in result.err) == (1, True)


@pytest.mark.usefixtures("streamed")
def test_streams_differ_from_a_byte_on(run, handle):
    handle.save({"stream": StreamedValue(STREAM[:1_200_000] + b"x"), "n": 1}, "shorter")
    handle.save({"stream": 5, "n": 1}, "none")
    told = run("diff", "streamed", "shorter", "--values", "--json").document["values"]["stream"]
    assert told == [
        "stream of 1536000 bytes → stream of 1200001 bytes, the first other byte is 1200000"
    ]
    told = run("diff", "streamed", "none", "--values", "--json").document["values"]["stream"]
    assert told == ["<StreamedValue of 1,536,000 bytes> → 5"]
