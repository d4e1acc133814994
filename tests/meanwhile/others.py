"""What another does meanwhile: each is whole, and leaves alone what the operation is about."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from breaking import HARMLESS, array_state_of, tags_of
from loads import OPERATIONS
from maintenance import by_key
from operations import elsewhere, nothing, opened

from checkpointdb import CheckpointError, EncryptionError, KeepNewest, PipelineCheckpoint

PIPELINE = "of another"
Other = Callable[[Path], object]

# What is found of another's pipeline, once it is done.
FOUND = {
    "save": {"replaced": "then", "x": "last"},
    "prune": {"x": "last"},
    "rewrite": {"replaced": "then", "x": "last"},
}

# What one of two may be told that do the same at the same time, by a part of the message.
REFUSALS = {
    "export": "exists and was not overwritten",
    "export encrypted": "exists and was not overwritten",
    "save to a file": "exists and was not overwritten",
    "push": "another process is at it",
    "push first": "another process is at it",
    "prune a remote": "another process is at it",
    "pull": "and a pull overwrites nothing|another process pulls into",
    "import legacy": "was saved by another writer meanwhile",
    "import a file": "was saved by another writer meanwhile",
    "copy": "was saved by another writer meanwhile",
    "re-encrypt": "does not open this store|an older master key",
    "add a key": "opens this store already",
    "remove a key": "no key ",
    "rebuild": "rebuild",
    "rebuild elsewhere": "rebuild|belongs to another database",
}
# And what by another that does something else.
_REFUSALS_OF_OTHERS = {
    # Of a store whose key has been taken away, by a handle that was opened with it.
    "re-encrypt": "does not open this store|an older master key",
    # Until that is done, others are told to rebuild it, or that the place is another database's.
    "rebuild": "rebuild",
    "rebuild elsewhere": "rebuild|belongs to another database",
}


def others_of(name: str) -> dict[str, Other]:
    """Return what may be done while an operation goes on."""
    others = {"save": save, "prune": prune, "rewrite": rewrite, "push": push, "check": check}
    if name == "repair":  # of what is damaged, both tell
        del others["push"], others["check"]
    if name != "import by command":  # of which the process hears, and has one standard output
        others["the same"] = the_same
    return {each: partial(act, name) for each, act in others.items()}


def save(name: str, room: Path) -> None:
    with opened_as(name, room) as handle:
        for tag in ("first", "then"):
            handle.save(array_state_of(tag), "replaced")
        handle.save(array_state_of("last"), "x")


def prune(name: str, room: Path) -> None:
    save(name, room)
    with opened_as(name, room) as handle:
        handle.prune(KeepNewest(1))
        handle.sweep()


def rewrite(name: str, room: Path) -> None:
    save(name, room)
    with opened_as(name, room) as handle:
        handle.merge("x")
        handle.compact(min_dead=0.01)


def push(name: str, room: Path) -> None:
    with opened_as(name, room) as handle:
        handle.push_backup(room / "remote of another")
    PipelineCheckpoint.pull_backup(room / "remote of another", room / "pulled by another")


def check(name: str, room: Path) -> None:
    with opened_as(name, room) as handle:
        found = handle.check(read_data=True).problems
        assert {each.kind for each in found} <= HARMLESS, found


def the_same(name: str, room: Path) -> None:
    OPERATIONS[name].act(room, lambda: nothing(room))


def is_refusal(name: str, other: str, error: BaseException) -> bool:
    """Say whether an error is what one may be told because of the other."""
    told = (REFUSALS if other == "the same" else _REFUSALS_OF_OTHERS).get(name)
    is_clear = isinstance(error, CheckpointError)
    return is_clear and told is not None and any(each in str(error) for each in told.split("|"))


_ENCRYPTED = ("encrypted", "a key", "re-encrypt", "rebuild elsewhere")


def opened_as(name: str, room: Path) -> PipelineCheckpoint:
    """Open the pipeline of another, by the key that opens the store just now, if it needs one."""
    options = elsewhere(room) if name.endswith("elsewhere") else {}
    options["pipeline"] = PIPELINE
    if not name.endswith(_ENCRYPTED):
        return opened(room, **options)
    try:
        return opened(room, **options, **by_key(0))
    except EncryptionError:
        return opened(room, **options, **by_key(1))


def tags_of_another(name: str, room: Path) -> dict[str, str]:
    with opened_as(name, room) as handle:
        return tags_of(handle)
