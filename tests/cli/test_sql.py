"""sql: questions in free SQL, shown as a table or as JSON."""

from __future__ import annotations

import pytest


def test_rows_are_a_table_and_bytes_are_hexadecimal(run):
    result = run("sql", "SELECT 'a' AS name, x'00ff' AS data, NULL AS absent, 1.5 AS number")
    assert [line.split() for line in result.out.splitlines()] == [
        ["name", "data", "absent", "number"],
        ["a", "00ff", "1.5"],
    ]


def test_rows_are_lists_in_json_since_names_may_repeat(run):
    document = run("sql", "SELECT 1 AS a, 2 AS a, 9e999 AS a, x'00ff' AS a", "--json").document
    assert document == {
        "columns": ["a"] * 4,
        "rows": [[1, 2, "inf", "00ff"]],
        "is_cut": False,
    }


def test_an_answer_that_was_cut_says_so(run):
    result = run("sql", "SELECT checkpoint_id FROM checkpoint_overview", "--limit", 2)
    assert len(result.out.splitlines()) == 3
    assert "more than 2 rows" in result.err
    whole = run("sql", "SELECT checkpoint_id FROM checkpoint_overview", "--limit", 0)
    assert (len(whole.out.splitlines()), whole.err) == (4, "")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE checkpoints SET pinned = 1", "only SELECT"),
        ("SELECT colour", "no such column"),
        ("SELECT 1; SELECT 2", "one statement"),
    ],
)
def test_what_cannot_be_asked_is_explained(run, statement, words):
    result = run("sql", statement)
    assert (result.code, words in result.err) == (2, True)


def test_a_question_that_takes_too_long_is_given_up(run):
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT count(*) FROM n"
    result = run("sql", endless, "--seconds", "0.05")
    assert (result.code, "longer than 0.05 seconds" in result.err) == (2, True)
