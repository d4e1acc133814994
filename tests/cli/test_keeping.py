"""pin, unpin, delete: of several ids, some of which are not there."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "code", "done"),
    [
        (["one"], 0, ["one"]),
        (["one", "two", "one"], 0, ["one", "two"]),
        (["one", "nobody"], 9, ["one"]),
        (["nobody", "two"], 9, ["two"]),
        (["nobody"], 3, []),
        (["nobody", "noone"], 3, []),
    ],
)
@pytest.mark.parametrize("command", ["pin", "unpin", "delete"])
def test_what_fails_keeps_no_other_from_being_done(run, command, words, code, done):
    yes = ["--yes"] if command == "delete" else []
    result = run(command, *yes, "--json", *words)
    assert (result.code, result.document["done"]) == (code, done)
    assert {each["checkpoint_id"] for each in result.document["failed"]} == set(words) - set(done)
    assert all(each["code"] == 3 for each in result.document["failed"])
    assert result.err.count("is not in pipeline") == len(result.document["failed"])


def test_a_pin_is_there_until_it_is_taken_off(run, handle):
    run("pin", "one")
    assert handle.get_checkpoint_info("one").pinned
    run("unpin", "one")
    assert not handle.get_checkpoint_info("one").pinned


def test_what_is_deleted_is_gone_and_the_rest_loads(run, handle):
    assert run("delete", "--yes", "one").out == "deleted one\n"
    assert handle.get_checkpoint_info("one") is None
    assert handle.load("two")["n"] == 2


def test_without_a_terminal_delete_wants_yes(run, handle):
    result = run("delete", "one")
    assert (result.code, "--yes" in result.err) == (2, True)
    assert handle.get_checkpoint_info("one") is not None
