"""What each contestant has to do, and what several do alike."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, Protocol

State = dict[str, Any]


class Contestant(Protocol):
    """Keeps the states of steps, numbered from 0, in a folder."""

    settings: str

    def __init__(self, folder: Path) -> None: ...
    def save(self, step: int, state: State) -> None: ...
    def load(self, step: int) -> State: ...
    def load_key(self, step: int, key: str) -> Any: ...
    def close(self) -> None: ...


class Whole:
    """Loads a key by loading everything, as there is no other way."""

    settings = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, step: int) -> State:
        raise NotImplementedError

    def load_key(self, step: int, key: str) -> Any:
        return self.load(step)[key]

    def close(self) -> None:
        pass


def flush(file: io.BufferedIOBase | Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def flush_new(folder: Path, pattern: str, seen: set[Path]) -> None:
    """Flush the files that were not seen before, and the folders they are in."""
    for path in set(folder.rglob(pattern)) - seen:
        seen.add(path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        flush_folder(path.parent)
