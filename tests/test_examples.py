"""Every example runs, alone, and shows what it is about."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from object_servers import endpoint_of, own_bucket

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SHOWN = {
    "incremental_stages": [r"extracted +full", r"corrected +incremental +[\d,]+ bytes of state"],
    "sensitive_plan": ["names on the disk: False", "the old key opens nothing"],
    "retention": [r"epoch 2: forgotten", r"left: \['epoch 0', 'epoch 1', 'epoch 3', 'epoch 4'\]"],
    "queries": [r"good: \['Turbo 2', 'Medellín 2'\]", r"\[\('full', 3\), \('incremental', 3\)\]"],
    "workflow": ["ValueError: could not convert", "resumed extract R1_stage_1", "total: 2000.0"],
    "quickstart": ["seven groups"],
    "cloud_backup": [r"second push: 1 payload, \d{3} bytes", r"restored: \['counted', 'extracted'"],
}
# These have tests of their own.
ELSEWHERE = {"__init__", "recover", "orchestrator"}


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_runs_alone_and_shows_what_it_is_about(name, tmp_path, monkeypatch, capsys):
    if name == "sensitive_plan":
        pytest.importorskip("cryptography")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert [each for each in SHOWN[name] if not re.search(each, printed)] == [], printed


def test_a_backup_goes_into_a_bucket_that_is_named(moto, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint_of(moto))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(sys, "argv", ["cloud_backup.py", own_bucket(moto)])
    runpy.run_path(str(EXAMPLES / "cloud_backup.py"), run_name="__main__")
    assert "restored: ['counted', 'extracted']" in capsys.readouterr().out


def test_no_example_is_without_a_test():
    assert {path.stem for path in EXAMPLES.glob("*.py")} - ELSEWHERE <= SHOWN.keys()
