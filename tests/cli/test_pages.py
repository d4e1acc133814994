"""The pages show command lines that run, in the order in which they stand there."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

from click.testing import CliRunner

from checkpointdb.cli.application import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "operate-from-the-command-line.md"


def test_every_command_line_of_the_how_to_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"))
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for line in "".join(blocks).splitlines() if line.startswith("checkpointdb ")]
    assert len(lines) > 20
    for line in lines:
        result = CliRunner().invoke(cli, shlex.split(line)[1:])
        assert (result.exit_code, line) == (0, line), result.output
