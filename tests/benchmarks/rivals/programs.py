"""Contestants that are programs for files: DVC, by its library, and restic, a process per call."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import subprocess
from pathlib import Path

from .contestant import State, Whole


class Dvc(Whole):
    """A folder per step, with a file per key: of equal files one is kept."""

    settings = "a folder per step, a pickle per key, nothing compressed; flushed by sync"

    def __init__(self, folder: Path) -> None:
        from dvc.repo import Repo

        super().__init__(folder)
        logging.getLogger("dvc").setLevel(logging.WARNING)  # it greets on standard output
        self._repo = Repo.init(str(folder), no_scm=True)
        self._repo.config["cache"]["type"] = ["reflink", "hardlink"]  # not a second copy

    def save(self, step: int, state: State) -> None:
        target = self._target(step)
        target.mkdir()
        for number, (key, value) in enumerate(state.items()):
            (target / f"{number:05d}.{key}").write_bytes(pickle.dumps(value, 5))
        self._repo.add([str(target)])
        shutil.rmtree(target)  # what is in the cache is enough
        os.sync()  # thousands of files one by one would take a minute

    def load(self, step: int) -> State:
        self._repo.checkout([f"{self._target(step)}.dvc"])
        files = sorted(self._target(step).iterdir())
        found = {path.name.partition(".")[2]: path for path in files}
        state = {key: pickle.loads(path.read_bytes()) for key, path in found.items()}
        shutil.rmtree(self._target(step))
        return state

    def _target(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def close(self) -> None:
        self._repo.close()


class Restic(Whole):
    """A snapshot per step, of what it is given by a pipe; it always encrypts."""

    settings = "backup --stdin of pickle.dumps(state, 5), compression auto, no cache; encrypted"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._run("init")

    def save(self, step: int, state: State) -> None:
        where = ["--stdin", "--stdin-filename", "state", "--tag", str(step)]
        self._run("backup", *where, stdin=pickle.dumps(state, 5))

    def load(self, step: int) -> State:
        state: State = pickle.loads(self._run("dump", "--tag", str(step), "latest", "state"))
        return state

    def _run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        command = ["restic", "--quiet", "--no-cache", "--repo", str(self.folder / "repository")]
        environment = {**os.environ, "RESTIC_PASSWORD": "benchmark"}
        done = subprocess.run(
            [*command, *arguments], input=stdin, capture_output=True, env=environment, check=True
        )
        return done.stdout
