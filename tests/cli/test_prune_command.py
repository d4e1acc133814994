"""prune: rules as options, the plan that is printed, and what is then forgotten."""

from __future__ import annotations

import pytest

ALL = [f"e{number}" for number in range(5)]


@pytest.fixture
def epochs(store):
    archive = store("epochs", retention_policy="keep_all")
    for number, loss in enumerate([0.9, 0.2, 0.5, 0.4, 0.7]):
        archive.save(
            {"weights": [number] * 999},
            f"e{number}",
            custom_metadata={"loss": loss, "run": number % 2, "tag": "x" if number == 2 else "y"},
        )
    archive.pin("e0")
    return archive


@pytest.fixture
def prune(run, epochs):
    """Run a prune on the five epochs."""
    return lambda *words: run("--store", epochs.checkpoint_dir, "prune", *words)


def left(epochs):
    return [each.checkpoint_id for each in epochs.list_checkpoints(reverse=False)]


CASES = {
    "--keep-last 2": "034",
    "--keep-last 1 --keep-best 1 loss": "04",
    "--keep-last 1 --keep-lowest 2 loss": "0134",
    "--keep-within 1h": "01234",
    "--keep-daily 3": "04",
    "--keep-where tag=x": "024",
    "--keep-last 5 --at-most-per 1 run": "034",
    "--at-most-bytes 1": "04",
}


@pytest.mark.parametrize("words", CASES)
def test_rules_are_options_and_what_is_planned_is_done(prune, epochs, words):
    expected = [f"e{digit}" for digit in CASES[words]]
    plan = prune(*words.split(), "--dry-run", "--json").document
    kept = [each["checkpoint_id"] for each in plan["checkpoints"] if each["is_kept"]]
    assert (kept, plan["is_dry_run"], left(epochs)) == (expected, True, ALL)
    done = prune(*words.split(), "--yes", "--json").document
    assert left(epochs) == expected
    for what in ("forgotten", "freed_payloads", "freed_bytes"):
        assert done[what] == plan[what]


def test_every_checkpoint_is_printed_with_why(prune):
    out = prune("--keep-last", "2", "--dry-run").out
    assert "pinned" in out
    assert "not newest 2" in out
    assert "2 of 5 checkpoints would be forgotten" in out


@pytest.mark.parametrize("last", ["--dry-run", "--yes"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--keep-best 1 acc", "'acc' that can be asked for: no rule and no limit finds anything"),
        ("--keep-lowest 1 acc", "'acc' that can be asked for: no rule and no limit finds anything"),
        ("--keep-last 9 --at-most-per 1 acc", "'acc' that can be asked for: no rule and no limit"),
        ("--keep-where pinned=true", "'pinned' that can be asked for: did you mean @pinned?"),
    ],
)
def test_a_rule_by_a_field_that_no_checkpoint_has_is_told(prune, words, told, last):
    done = prune(*words.split(), last)
    assert (done.code, done.err.count("\n"), told in done.err) == (0, 1, True)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("7", 7),
        ("7B", 7),
        ("1MB", 10**6),
        ("1.5 kB", 1_500),
        ("2gib", 2 * 1024**3),
        ("3TiB", 3 * 1024**4),
        ("10GB", 10**10),
        ("1MiB", 2**20),
    ],
)
def test_bytes_are_given_with_a_unit_or_without(prune, text, count):
    done = prune("--at-most-bytes", text, "--dry-run", "--json")
    assert done.document["policy"] == f"all, at most {count:,} bytes"


@pytest.mark.parametrize("text", ["", "0", "0.5", "-1", "MB", "1 XB", "1e6", "9999999TB"])
def test_what_is_no_number_of_bytes_is_refused(prune, text):
    refused = prune("--at-most-bytes", text, "--dry-run")
    assert (refused.code, "is no number of bytes" in refused.err) == (2, True)


@pytest.mark.parametrize("option", ["--keep-last", "--keep-daily", "--at-most-bytes"])
def test_a_number_over_64_bits_is_refused_as_nonsense(prune, option):
    ended = prune(option, str(2**63), "--dry-run")
    assert ended.code == 2
    assert str(2**63 - 1) in ended.err


def test_nothing_is_forgotten_unless_it_is_meant(prune, epochs):
    assert prune("--keep-last", "2").code == 2
    assert prune().code == 2
    assert prune("--keep-within", "30").code == 2
    assert left(epochs) == ALL
