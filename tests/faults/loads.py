"""What is tried with calls that fail: what is stopped by crashes, too, and what only reads."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

from breaking import tag_of, tags_of
from further import EVERY, one_streamed, tags_of_streams
from maintenance import REWRITTEN, mostly_dead
from operations import (
    ABC,
    ENCRYPTED,
    Done,
    Operation,
    acting,
    next_save,
    next_save_encrypted,
    opened,
    rebuilt_tags,
    remote_tags,
    three_saved,
)
from sealed import tags_encrypted
from trying import ACKNOWLEDGED

from checkpointdb import CorruptionError, PipelineCheckpoint, StoreUnavailableError, format


def finds(expected: dict[str, str]) -> Callable[[PipelineCheckpoint], None]:
    """Load all, which must be what was saved: other bytes would be worse than an error."""

    def load(handle: PipelineCheckpoint) -> None:
        assert tags_of(handle) == expected

    return load


def load_one_by_one(handle: PipelineCheckpoint) -> None:
    """Load the keys of each checkpoint when they are asked for."""
    for each, tag in ABC.items():
        assert tag_of(dict(handle.lazy(each))) == tag


def load_streams(room: Path, done: Done) -> None:
    assert tags_of_streams(room) == {"a": "aaa"}
    done()


def push(handle: PipelineCheckpoint) -> None:
    """It leaves out what it cannot read, and says so: then it is not done."""
    report = handle.push_backup(handle.checkpoint_dir.parent / "remote")
    if not report.is_ok:
        raise StoreUnavailableError(f"{handle.checkpoint_dir}: {report.unreadable}")


def pushed_tags(room: Path) -> dict[str, str]:
    """What a pull brings back; after a push that said what it could not read, the next push first.

    To a push a payload whose disk answers EIO is damaged, and its snapshot lacks it.
    """
    try:
        return remote_tags(room)
    except CorruptionError:
        assert not (room / ACKNOWLEDGED).exists()
        with opened(room) as handle:
            assert handle.push_backup(room / "remote").is_ok
        return remote_tags(room)


def import_legacy(handle: PipelineCheckpoint) -> None:
    report = handle.import_legacy(handle.checkpoint_dir.parent / "old")
    if not report.is_ok:
        raise StoreUnavailableError(f"{handle.checkpoint_dir}: {report.unreadable}")


def repair(handle: PipelineCheckpoint) -> None:
    """To it a payload whose disk answers EIO is damaged, and what needs that lost: it says so."""
    if lost := handle.repair().lost:
        raise StoreUnavailableError(f"{handle.checkpoint_dir}: {lost}")


def compact(handle: PipelineCheckpoint) -> None:
    if left := handle.compact(min_dead=0.01).left:
        raise StoreUnavailableError(f"{handle.checkpoint_dir}: {left}")


def save_to_a_file(room: Path, done: Done) -> None:
    """Of the user's own file errors are the system's, as they are documented."""
    try:
        EVERY["save to a file"].act(room, done)
    except OSError as error:
        raise StoreUnavailableError(f"{room}: {error}") from error


def import_by_command(room: Path, done: Done) -> None:
    """A command tells by its exit code, and on standard error."""
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            EVERY["import by command"].act(room, done)
    except AssertionError as error:
        raise StoreUnavailableError(told.getvalue()) from error


def littered(room: Path) -> None:
    """Leave what crashes leave, long ago: an orphan, an unfinished file, the room of an import."""
    three_saved(room)
    payloads = room / "store" / "payloads"
    left = [
        payloads / "incoming" / "left.tmp",
        payloads / format.payload_name("default", 1, "left"),  # one newer than the rows stays
        room / "store" / ".import-left" / "store" / "file",
    ]
    left[-1].parent.mkdir(parents=True)
    for each in left:
        each.write_bytes(b"left")
    for each in (*left, room / "store" / ".import-left"):
        os.utime(each, (0, 0))


class Load(Operation):
    """What changes nothing that is kept: nothing of it can be lost."""

    def __post_init__(self) -> None:
        assert self.before == self.after


OPERATIONS = {
    **EVERY,
    "push": replace(EVERY["push"], act=acting(push), look=pushed_tags),
    "push first": replace(EVERY["push first"], act=acting(push), look=pushed_tags),
    "import legacy": replace(EVERY["import legacy"], act=acting(import_legacy)),
    "repair": replace(EVERY["repair"], act=acting(repair)),
    "compact": replace(EVERY["compact"], act=acting(compact)),
    "compact unflushed": replace(EVERY["compact unflushed"], act=acting(compact, durable=False)),
    "compact encrypted": replace(EVERY["compact encrypted"], act=acting(compact, **ENCRYPTED)),
    "save to a file": replace(EVERY["save to a file"], act=save_to_a_file),
    "import by command": replace(EVERY["import by command"], act=import_by_command),
    "sweep": Load(littered, acting(lambda handle: handle.sweep()), ABC, ABC, look=rebuilt_tags),
    "load": Load(three_saved, acting(finds(ABC)), ABC, ABC),
    "load one by one": Load(three_saved, acting(load_one_by_one), ABC, ABC),
    "load arrays": Load(mostly_dead, acting(finds(REWRITTEN)), REWRITTEN, REWRITTEN),
    "load encrypted": Load(
        lambda room: three_saved(room, **ENCRYPTED),
        acting(finds(ABC), **ENCRYPTED),
        ABC,
        ABC,
        look=tags_encrypted,
        go_on=next_save_encrypted,
    ),
    "load a stream": Load(
        one_streamed,
        load_streams,
        {"a": "aaa"},
        {"a": "aaa"},
        look=tags_of_streams,
        go_on=next_save,
    ),
}
# To a rebuild, a repair and a rewriting a payload whose disk answers EIO is damaged: a rebuild goes
# on without it.
_EIO_OF_PAYLOADS = {"failed read", "failed open", "failed stat"}
LEFT_OUT = {"rebuild": _EIO_OF_PAYLOADS, "rebuild elsewhere": _EIO_OF_PAYLOADS}
