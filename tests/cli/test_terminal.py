"""Text that steers no terminal, sizes as people read them, and aligned tables; JSON shapes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from checkpointdb.cli.application import cli
from checkpointdb.cli.documents import as_json, described, misfit, plain
from checkpointdb.cli.reference import PAGE, reference
from checkpointdb.cli.terminal import Table, count, safe, size, write
from checkpointdb.reports import CheckReport


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("naïve 日本 😀", "naïve 日本 😀"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x9b2J\x7f\u202e\u2028\ufeff", "\\x9b2J\\x7f\\u202e\\u2028\\ufeff"),
        ("\udc80", "\\udc80"),
    ],
)
def test_what_is_not_printed_is_escaped(text, shown):
    assert safe(text) == shown


def test_lines_of_a_value_are_kept_and_nothing_else():
    assert safe("a\n\tb\r\x1b", lines=True) == "a\n\tb\\r\\x1b"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1_234, "1.234 kB"),
        (160_123, "160.1 kB"),
        (5 * 10**6, "5 MB"),
        (10**18, "1e+06 TB"),
    ],
)
def test_a_size_is_told_in_its_unit(count, text):
    assert size(count) == text


def test_what_is_counted_stands_in_the_right_number():
    counted = [count(number, "problem") for number in (0, 1, 2)]
    assert counted == ["0 problems", "1 problem", "2 problems"]
    counted = [count(number, "key is here", "keys are here") for number in (1, 2)]
    assert counted == ["1 key is here", "2 keys are here"]


def test_a_table_is_aligned_where_there_is_no_terminal(capsys):
    write(Table(("id", "bytes"), [("a\n", "1 B"), ("long", "12 kB"), (None, 3)]))
    assert capsys.readouterr().out.splitlines() == [
        "id    bytes",
        "a\\n     1 B",
        "long  12 kB",
        "          3",
    ]


# --- documents


def test_a_document_holds_what_json_does_not_know_in_a_fixed_form():
    values = {
        "t": datetime(2026, 1, 1, tzinfo=UTC),
        "b": b"\x01\xff",
        "n": float("-inf"),
        "u": (1,),
    }
    assert plain(values) == {
        "t": "2026-01-01T00:00:00+00:00",
        "b": "01ff",
        "n": "-inf",
        "u": [1],
    }
    assert as_json("\x1b\udc80").isascii()


def test_a_shape_opens_dataclasses():
    found = described({"report": CheckReport})["report"]
    assert found["checkpoints"] == "number"
    assert found["problems"][0]["checkpoint_ids"] == ["text"]


@pytest.mark.parametrize(
    ("document", "shape", "is_fit"),
    [
        (1, "number", True),
        (True, "number", False),
        (True, "true or false", True),
        (None, "text or null", True),
        (None, "text", False),
        ([1, "a"], ["number"], False),
        ({"a": 1}, {"a": "number"}, True),
        ({"a": 1, "b": 1}, {"a": "number"}, False),
        ({}, {"a": "number"}, False),
        ({"x": 1, "y": "a"}, {"*": "text or number"}, True),
        ([], {"*": "any"}, False),
        ({}, ["any"], False),
    ],
)
def test_a_document_fits_its_shape_or_does_not(document, shape, is_fit):
    assert (misfit(document, shape) is None) == is_fit


# --- the reference page and the shell


def test_the_reference_page_is_what_the_commands_say(request):
    page = (request.config.rootpath / PAGE).read_text()
    assert page == reference(), f"stale: python -m checkpointdb.cli.reference > {PAGE}"


def test_the_help_and_the_reference_page_say_the_same_of_all_commands():
    shown = CliRunner().invoke(cli, ["-h"]).stdout
    for each in (shown, reference()):
        assert "none but `key generate` makes a key, and none but" in " ".join(each.split())
        assert "`backup pull`, `rebuild` and `demo` makes" in " ".join(each.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell):
    env = {"_CHECKPOINTDB_COMPLETE": f"{shell}_source"}
    found = CliRunner().invoke(cli, [], env=env, prog_name="checkpointdb")
    assert "_CHECKPOINTDB_COMPLETE" in found.stdout


def completed(words, store=None):
    env = {"_CHECKPOINTDB_COMPLETE": "bash_complete", "COMP_WORDS": words}
    env["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    env["CHECKPOINTDB_STORE"] = str(store or "nowhere")
    found = CliRunner().invoke(cli, [], env=env, prog_name="checkpointdb")
    return [line.split(",")[1] for line in found.stdout.split()]


def test_ids_are_completed_from_the_store(handle):
    assert completed("checkpointdb show ", handle.checkpoint_dir) == ["fork", "two", "one"]
    assert completed("checkpointdb pin one t", handle.checkpoint_dir) == ["two"]
    assert completed(f"checkpointdb --store {handle.checkpoint_dir} get f") == ["fork"]


def test_nothing_is_completed_and_nothing_made_where_there_is_no_store(tmp_path):
    assert completed("checkpointdb show ", tmp_path / "nowhere") == []
    assert list(tmp_path.iterdir()) == []


def test_an_id_that_a_shell_cannot_show_is_not_offered(store):
    other = store("other")
    other.save({"a": 1}, "x\x1b\n")
    other.save({"a": 1}, "x%")
    assert completed("checkpointdb show x", other.checkpoint_dir) == ["x%"]
