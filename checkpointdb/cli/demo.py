"""The command demo: a small pipeline over real input, in a store of its own, and what it left."""

from __future__ import annotations

import re
import shlex
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import click

from checkpointdb import InvalidInputError, PipelineCheckpoint, RetentionPolicy
from checkpointdb.cli.command import Command, Output
from checkpointdb.cli.session import Session
from checkpointdb.cli.terminal import Table, safe, size

State = dict[str, Any]

_WORD: Final = re.compile(r"[A-Za-z_]\w+")


class Saved(NamedTuple):
    """A checkpoint of the demo: what it holds, and what it took."""

    checkpoint_id: str
    is_incremental: bool
    state_bytes: int
    stored_bytes: int
    save_seconds: float


# --- the pipeline: each stage returns what it adds to the state


def read(state: State) -> State:
    """Read the sources of Python's own library; ours, where there are none (in an archive)."""
    for root in (Path(sysconfig.get_path("stdlib")), Path(__file__).parent):
        found = {
            path.stem: path.read_text("utf-8", "replace") for path in sorted(root.glob("*.py"))
        }
        if found:
            break
    return {"sources": found}


def count(state: State) -> State:
    """Count the words of each module."""
    return {"counts": {name: Counter(_WORD.findall(text)) for name, text in _sources(state)}}


def rank(state: State) -> State:
    """Find the most frequent words of all modules together."""
    total: Counter[str] = Counter()
    for counts in state["counts"].values():
        total += counts
    return {"ranking": total.most_common(20)}


def edit(state: State) -> State:
    """Change one module, as if its author had."""
    name, text = max(_sources(state), key=lambda item: len(item[1]))
    return {"sources": {**state["sources"], name: f"# edited\n{text}"}}


def _sources(state: State) -> list[tuple[str, str]]:
    return list(state["sources"].items())


STAGES: Final[tuple[Callable[[State], State], ...]] = (read, count, rank, edit)


def play(directory: Path) -> Iterator[Saved]:
    """Run the stages with a checkpoint after each; yield what was saved.

    Each stage opens the store anew and goes on from what it finds there, as a pipeline does that
    was killed after each of them.
    """
    for number, stage in enumerate(STAGES, 1):
        with PipelineCheckpoint(directory, retention_policy=RetentionPolicy.KEEP_ALL) as store:
            latest = store.load_latest()
            state = latest[1] if latest else {}
            state |= stage(state)
            begun = perf_counter()
            name = store.save(
                state, f"{number}-{stage.__name__}", custom_metadata={"stage": number}
            )
            took = perf_counter() - begun
            facts = store.details(name).metadata
        yield Saved(name, facts.is_incremental, facts.state_bytes, facts.size_bytes, took)


# --- the command


@click.command(
    cls=Command,
    shape={
        "store": "text",
        "checkpoints": [dict.fromkeys(Saved._fields, "number")
                        | {"checkpoint_id": "text", "is_incremental": "true or false"}],
        "try_next": ["text"],
    },
)  # fmt: skip
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.pass_obj
def demo(_session: Session, directory: Path | None) -> Output:
    """Run a small pipeline over the sources of Python's library, and say what to try next.

    The store is made in DIRECTORY, which must be new or empty, else in a temporary one; it stays.
    """
    if directory is not None and directory.exists() and any(directory.iterdir()):
        raise InvalidInputError(f"{str(directory)!r} is not empty: name a new directory")
    made = directory or Path(tempfile.mkdtemp(prefix="checkpointdb-demo-"))
    saved = list(play(made))
    commands = [f"checkpointdb --store {shlex.quote(str(made))} {rest}" for rest in _next(saved)]
    document = {
        "store": str(made),
        "checkpoints": [each._asdict() for each in saved],
        "try_next": commands,
    }
    return Output(document, _told(made, saved, commands))


def _next(saved: list[Saved]) -> list[str]:
    first, *_, ranked, last = [each.checkpoint_id for each in saved]
    return [
        "list",
        f"get {ranked} ranking",
        f"diff {first} {last}",
        "history sources",
        "check --read-data",
        "prune --keep-last 2 --dry-run",
    ]


def _told(made: Path, saved: list[Saved], commands: list[str]) -> list[str | Table]:
    columns = ("checkpoint", "kind", "state", "stored bytes", "saved in ms")
    rows = [
        (
            each.checkpoint_id,
            "incremental" if each.is_incremental else "full",
            size(each.state_bytes),
            size(each.stored_bytes),
            round(each.save_seconds * 1000),
        )
        for each in saved
    ]
    return [
        f"{len(saved)} stages, each in a handle of its own, as after a crash: {safe(str(made))}",
        "",
        Table(columns, rows),
        "",
        "Try next:",
        *(f"  {safe(each)}" for each in commands),
    ]


COMMANDS: Final[tuple[click.Command, ...]] = (demo,)
