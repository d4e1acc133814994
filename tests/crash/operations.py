"""What a process is stopped in: each operation, what there is before it and after it.

An operation acts in a `room`, a directory that holds the store and what else it needs.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from breaking import HARMLESS, KEEP_ALL, array_state_of, state_of, tag_of, tags_of
from sqlalchemy import select

from checkpointdb import KeepNewest, PipelineCheckpoint
from checkpointdb.sweep import sweep

ABC = {each: each * 3 for each in "abc"}
WITHOUT_A = {"b": "bbb", "c": "ccc", "d": "ddd"}
KEYS = [base64.urlsafe_b64encode(bytes([each]) * 32) for each in range(2)]
ENCRYPTED = {"encryption_key": KEYS[0], "enable_encryption": True}

Done = Callable[[], None]


def opened(room: Path, **options: object) -> PipelineCheckpoint:
    return PipelineCheckpoint(room / "store", **{**KEEP_ALL, **options})


def nothing(_room: Path) -> None:
    pass


def three_saved(room: Path, **options: object) -> None:
    with opened(room, **options) as handle:
        for each, tag in ABC.items():
            handle.save(state_of(tag), each)


def half_pushed(room: Path) -> None:
    three_saved(room)
    with opened(room) as handle:
        handle.push_backup(room / "remote")
        handle.delete_checkpoint("a")
        handle.save(state_of("ddd"), "d")


def acting(act: Callable[[PipelineCheckpoint], object], **options: object) -> Callable:
    """An operation on an open handle; it is done before the handle is closed, which flushes."""

    def do(room: Path, done: Done) -> None:
        with opened(room, **options) as handle:
            act(handle)
            done()

    return do


def save_elsewhere(room: Path, done: Done) -> None:
    acting(lambda handle: handle.save(state_of("aaa"), "a"), **elsewhere(room))(room, done)


def push(room: Path, done: Done) -> None:
    acting(lambda handle: handle.push_backup(room / "remote"))(room, done)


def pulled_in(room: Path) -> Path:
    """Where a pull makes a store, and the directory above it."""
    return room / "deep" / "pulled"


def pull(room: Path, done: Done) -> None:
    PipelineCheckpoint.pull_backup(room / "remote", pulled_in(room))
    done()


def export(room: Path, done: Done) -> None:
    acting(lambda handle: handle.export_checkpoint("b", room / "b.ckpt"))(room, done)


def export_encrypted(room: Path, done: Done) -> None:
    acting(lambda handle: handle.export_checkpoint("b", room / "b.ckpt"), **ENCRYPTED)(room, done)


# --- what is found afterwards


def tags_in(room: Path) -> dict[str, str]:
    with opened(room) as handle:
        return tags_of(handle)


def rebuilt_tags(room: Path, **options: object) -> dict[str, str]:
    """What is there, which the files alone bring back, too."""
    again = room / "again"
    shutil.rmtree(again, ignore_errors=True)
    if (room / "store").exists():  # as it was left: opening it may mend files
        shutil.copytree(room / "store", again / "store", ignore=shutil.ignore_patterns("*.db*"))
    with opened(room, **options) as handle:
        found = tags_of(handle)
    if not found:  # there may be no keyring yet
        return found
    PipelineCheckpoint.rebuild(again / "store", options.get("encryption_key"))
    with opened(again, **options) as handle:
        assert tags_of(handle).items() >= found.items()
    return found


def rebuilt_encrypted_tags(room: Path) -> dict[str, str]:
    return rebuilt_tags(room, **ENCRYPTED)


def tags_elsewhere(room: Path) -> dict[str, str]:
    with opened(room, **elsewhere(room)) as handle:
        return tags_of(handle)


def elsewhere(room: Path) -> dict[str, object]:
    return {"payload_url": (room / "payloads").as_uri()}


def exported_tags(room: Path, **options: object) -> dict[str, str]:
    """What the file of an export brings into another store; the store itself is what it was."""
    with opened(room, **options) as handle:
        assert tags_of(handle) == ABC
    if not (room / "b.ckpt").exists():
        return {}
    with PipelineCheckpoint(room / "other", **KEEP_ALL, **options) as handle:
        handle.import_checkpoint(room / "b.ckpt")
        return tags_of(handle)


def exported_encrypted_tags(room: Path) -> dict[str, str]:
    return exported_tags(room, **ENCRYPTED)


def remote_tags(room: Path) -> dict[str, str]:
    """What a pull brings back; the store itself is what it was."""
    assert tags_in(room) in (ABC, WITHOUT_A)
    if not list((room / "remote").glob("*.json")):
        return {}
    shutil.rmtree(room / "found", ignore_errors=True)
    PipelineCheckpoint.pull_backup(room / "remote", room / "found")
    with PipelineCheckpoint(room / "found", **KEEP_ALL) as handle:
        assert handle.check(read_data=True).problems == ()
        return tags_of(handle)


def pulled_tags(room: Path) -> dict[str, str]:
    if not (pulled_in(room)).exists():
        return {}
    with PipelineCheckpoint(pulled_in(room), **KEEP_ALL) as handle:
        assert handle.check(read_data=True).problems == ()
        return tags_of(handle)


# --- the next operation


def next_save(room: Path, allowed: set[str] = HARMLESS, **options: object) -> None:
    """Only leftovers are wrong; a save and a load work; a sweep leaves nothing wrong.

    What a fault made a load take for damage is put back by a repair.
    """
    with opened(room, **options) as handle:
        problems = handle.check(read_data=True).problems
        if any(each.kind == "damaged" for each in problems):
            handle.repair(read_data=False)
            problems = handle.check(read_data=True).problems
        assert {each.kind for each in problems} <= allowed, problems
        handle.save(state_of("next"), "the next")
        assert tag_of(handle.load("the next")) == "next"
        handle.delete_checkpoint("the next")
        sweep(handle._engine.database, handle._engine.payloads, grace=timedelta(0))
        assert {each.kind for each in handle.check().problems} <= allowed - HARMLESS


def next_save_encrypted(room: Path) -> None:
    next_save(room, **ENCRYPTED)


def next_save_elsewhere(room: Path) -> None:
    next_save(room, **elsewhere(room))


def next_push(room: Path) -> None:
    """The next push goes on: it copies what is not there yet."""
    next_save(room)
    there = {path.name.split(".")[0] for path in (room / "remote" / "payloads").glob("*/*.gz")}
    with opened(room) as handle:
        with handle.query() as connection:
            names = connection.execute(select(handle.tables.payloads.c.name)).scalars().all()
        needed = {Path(each).name.split(".")[0] for each in names}
        assert handle.push_backup(room / "remote").copied_payloads == len(needed - there)
        assert handle.verify_backup(room / "remote", read_data=True).is_ok


def next_pull(room: Path) -> None:
    """The next pull goes on: it fetches what is not there yet."""
    if not (pulled_in(room)).exists():
        here = list(room.glob("deep/.pulled.pull/payloads/p-*/*"))
        report = PipelineCheckpoint.pull_backup(room / "remote", pulled_in(room))
        assert (report.payloads, report.fetched_bytes == 0) == (3, len(here) == 3)
    assert pulled_tags(room) == ABC
    assert [path.name for path in (room / "deep").glob(".*")] == []


@dataclass(frozen=True)
class Operation:
    """One operation. `look` says what is there: `before` or `after`, and `after` once it is done.

    `act` calls what it is given as soon as all is done that it is asked for. What is done must be
    seen: where a load shows nothing, by what else the operation is for.
    """

    prepare: Callable[[Path], None]
    act: Callable[[Path, Done], None]
    before: object
    after: object
    look: Callable[[Path], object] = tags_in
    go_on: Callable[[Path], None] = field(default=next_save)

    def __post_init__(self) -> None:
        assert self.before != self.after, "one that is acknowledged and lost would pass"


OPERATIONS = {
    "create": Operation(
        nothing, acting(lambda handle: handle.save(state_of("aaa"), "a")), {}, {"a": "aaa"}
    ),
    "create encrypted": Operation(
        nothing,
        acting(lambda handle: handle.save(state_of("aaa"), "a"), **ENCRYPTED),
        {},
        {"a": "aaa"},
        look=rebuilt_encrypted_tags,
        go_on=next_save_encrypted,
    ),
    "create elsewhere": Operation(
        nothing,
        save_elsewhere,
        {},
        {"a": "aaa"},
        look=tags_elsewhere,
        go_on=next_save_elsewhere,
    ),
    "save": Operation(
        three_saved,
        acting(lambda handle: handle.save(state_of("ddd"), "d")),
        ABC,
        {**ABC, "d": "ddd"},
    ),
    "save in full": Operation(
        three_saved,
        acting(lambda handle: handle.save(array_state_of("ddd"), "d", force_full=True)),
        ABC,
        {**ABC, "d": "ddd"},
    ),
    "save with retention": Operation(
        three_saved,
        acting(lambda handle: handle.save(state_of("ddd"), "d"), retention_policy=KeepNewest(2)),
        ABC,
        {"c": "ccc", "d": "ddd"},
    ),
    "replace": Operation(
        three_saved,
        acting(lambda handle: handle.save(state_of("new"), "b")),
        ABC,
        {"a": "aaa", "c": "ccc", "b": "new"},
    ),
    "delete": Operation(
        three_saved,
        acting(lambda handle: handle.delete_checkpoint("b")),
        ABC,
        {"a": "aaa", "c": "ccc"},
    ),
    "prune": Operation(
        three_saved,
        acting(lambda handle: handle.prune(KeepNewest(1))),
        ABC,
        {"c": "ccc"},
    ),
    "export": Operation(three_saved, export, {}, {"b": "bbb"}, look=exported_tags),
    "export encrypted": Operation(
        lambda room: three_saved(room, **ENCRYPTED),
        export_encrypted,
        {},
        {"b": "bbb"},
        look=exported_encrypted_tags,
        go_on=next_save_encrypted,
    ),
    "push": Operation(half_pushed, push, ABC, WITHOUT_A, look=remote_tags, go_on=next_push),
    "push first": Operation(three_saved, push, {}, ABC, look=remote_tags, go_on=next_push),
    "pull": Operation(half_pushed, pull, {}, ABC, look=pulled_tags, go_on=next_pull),
}
