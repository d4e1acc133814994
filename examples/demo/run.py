"""One run of the worker as a child process: watched, drawn, and killed if wanted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .screen import Screen, seconds, size

ROOT = Path(__file__).resolve().parents[2]
Event = dict[str, Any]


class Run:
    """A worker on a store, and what it told."""

    def __init__(self, screen: Screen, store: Path) -> None:
        self.screen = screen
        self.returncode: int | None = None
        self.resumed_from: str | None = None
        self.save_seconds: list[float] = []
        self.stages: list[int] = []  # those that were begun
        self.percent = 0
        self._label = ""
        command = [sys.executable, "-m", "examples.demo.worker", str(store.resolve())]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def head(self) -> None:
        """Print what the columns are."""
        columns = f"{'stage':<12} {'result':<34} {'work':>7}  {'stored':>8}  {'save':>7}"
        self.screen.line(columns, "dim")

    def follow(self, kill_at: tuple[int, int] | None = None) -> None:
        """Draw what the worker tells until it ends; at `kill_at` (stage, percent), kill it."""
        for event in self._events():
            getattr(self, "_on_" + event["event"])(event)
            if kill_at and self.stages and (self.stages[-1], self.percent) >= kill_at:
                self.process.kill()
                break
        self.process.communicate()
        self.returncode = self.process.returncode

    def _events(self) -> Iterator[Event]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def _on_resumed(self, event: Event) -> None:
        self.resumed_from = event["checkpoint"]
        said = f"{event['checkpoint']} loaded and verified in {seconds(event['seconds'])}"
        self.screen.line(self.screen.paint("green", said))

    def _on_begin(self, event: Event) -> None:
        self.stages.append(event["stage"])
        self.percent = 0
        self._label = f"{event['stage']}  {event['name']:<9}"
        self.screen.bar(self._label, 0)

    def _on_progress(self, event: Event) -> None:
        self.percent = event["percent"]
        self.screen.bar(self._label, self.percent)

    def _on_saved(self, event: Event) -> None:
        self.save_seconds.append(event["save_seconds"])
        self.screen.line(
            f"{self._label} {event['said']:<34} {seconds(event['work_seconds']):>7}"
            f"  {size(event['stored_bytes']):>8}  {seconds(event['save_seconds']):>7}"
        )
