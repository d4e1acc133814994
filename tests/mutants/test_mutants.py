"""The bugs to plant fit the source as it is; that the suite catches them is `make mutants`."""

from __future__ import annotations

import pytest

from .__main__ import tried
from .mutant import ROOT
from .table import CONTROL, MUTANTS


@pytest.mark.parametrize("mutant", [CONTROL, *MUTANTS], ids=lambda each: each.bug.replace(" ", "-"))
def test_a_bug_can_be_planted_and_gives_python_that_compiles(mutant):
    source = (ROOT / mutant.file).read_text()
    planted = mutant.planted(source)
    assert planted != source
    compile(planted, mutant.file, "exec")
    files = [each.split("::")[0] for each in mutant.tests.split()]
    assert all((ROOT / "tests" / each).exists() for each in files)


def test_no_bug_is_listed_twice():
    assert len({each.bug for each in MUTANTS}) == len(MUTANTS)


def test_a_harmless_change_is_not_caught():
    assert tried(CONTROL, only_first=True) is None
