"""Every example runs, alone, and shows what it is about."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SHOWN = {
    "incremental_stages": [r"extracted +full", r"corrected +incremental +[\d,]+ bytes of state"],
    "sensitive_plan": ["names on the disk: False", "the old key opens nothing"],
    "retention": [r"epoch 2: forgotten", r"left: \['epoch 0', 'epoch 1', 'epoch 3', 'epoch 4'\]"],
    "queries": [r"good: \['Turbo 2', 'Medellín 2'\]", r"\[\('full', 3\), \('incremental', 3\)\]"],
    "workflow": ["ValueError: could not convert", "resumed extract R1_stage_1", "total: 2000.0"],
    "quickstart": ["seven groups"],
}
# These have tests of their own.
ELSEWHERE = {"__init__", "recover", "orchestrator", "cloud_backup"}


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_runs_alone_and_shows_what_it_is_about(name, tmp_path, monkeypatch, capsys):
    if name == "sensitive_plan":
        pytest.importorskip("cryptography")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert [each for each in SHOWN[name] if not re.search(each, printed)] == [], printed


def test_no_example_is_without_a_test():
    assert {path.stem for path in EXAMPLES.glob("*.py")} - ELSEWHERE <= SHOWN.keys()
