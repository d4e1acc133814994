"""More operations: a journal, keys, streams, saves in the background, copies, imports, a rebuild.

What goes on one checkpoint after another may be stopped between two: then what is there so far is
whole, and the same call goes on.
"""

from __future__ import annotations

import io
import os
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from breaking import KEEP_ALL, state_of, tags_of
from maintenance import UPKEEP, by_key, keys_that_open
from operations import (
    ABC,
    ENCRYPTED,
    KEYS,
    OPERATIONS,
    WITHOUT_A,
    Done,
    Operation,
    acting,
    elsewhere,
    half_pushed,
    next_push,
    next_save,
    opened,
    remote_tags,
    tags_in,
    three_saved,
)
from sealed import SEALED

from checkpointdb import (
    InvalidInputError,
    KeepNewest,
    PipelineCheckpoint,
    StoreUnavailableError,
    StreamedValue,
)
from checkpointdb.cli.application import cli
from checkpointdb.sqlite_backup import use_log

LEGACY = Path(__file__).parents[1] / "legacy" / "plain"
LEGACY_IDS = {f"PDM2024-ANT-MED_stage_{number}" for number in range(1, 6)}


# --- a database that is one file alone


def by_a_journal(room: Path) -> None:
    """SQLite keeps no log then: so is the backup that an upgrade makes, when it is put back."""
    three_saved(room)
    use_log(room / "store" / "checkpoints.db", is_used=False)


# --- keys


def two_keys(room: Path) -> None:
    three_saved(room, **ENCRYPTED)
    with opened(room, **ENCRYPTED) as handle:
        handle.add_key(KEYS[1])


def next_save_by_first(room: Path) -> None:
    next_save(room, **by_key(keys_that_open(room)[0][0]))


# --- streams


def streamed(tag: str) -> dict[str, object]:
    """A small value beside a stream of several chunks."""
    return {"tag": tag, "stream": StreamedValue(iter([content_of(tag)]))}


def content_of(tag: str) -> bytes:
    return b"".join(f"{tag} {number}\n".encode() for number in range(60_000))


def one_streamed(room: Path) -> None:
    with opened(room) as handle:
        handle.save(streamed("aaa"), "a")


def tags_of_streams(room: Path) -> dict[str, str]:
    found = {}
    with opened(room) as handle:
        for each in handle.list_checkpoints(reverse=False):
            state = handle.load(each.checkpoint_id)
            assert b"".join(state["stream"]) == content_of(state["tag"])
            found[each.checkpoint_id] = state["tag"]
    return found


def next_stream(room: Path) -> None:
    with opened(room) as handle:
        handle.save(streamed("next"), "the next")
        assert b"".join(handle.load("the next")["stream"]) == content_of("next")
        handle.delete_checkpoint("the next")
    next_save(room)


def save_to_a_file(room: Path, done: Done) -> None:
    acting(lambda handle: handle.lazy("a")["stream"].save_to(room / "file"))(room, done)


def in_a_file(room: Path) -> bool:
    """Whether there is the file, and so all of it; the store itself is what it was."""
    assert tags_of_streams(room) == {"a": "aaa"}
    there = room / "file"
    assert not there.exists() or there.read_bytes() == content_of("aaa")
    return there.exists()


# --- what goes on one after the other


def tags_of_copy(room: Path) -> dict[str, str]:
    assert tags_in(room) == ABC
    with PipelineCheckpoint(room / "copy", **KEEP_ALL) as handle:
        found = tags_of(handle)
    assert found.items() <= ABC.items()
    return found if found == ABC else {}


def next_copy(room: Path) -> None:
    next_save(room)
    with opened(room) as handle:
        handle.copy_into(room / "copy")
    assert tags_of_copy(room) == ABC
    with PipelineCheckpoint(room / "copy", **KEEP_ALL) as handle:
        assert {each.kind for each in handle.check(read_data=True).problems} <= {
            "orphan",
            "unfinished",
        }


def predecessor(room: Path) -> None:
    shutil.copytree(LEGACY, room / "old")


def imported_ids(room: Path) -> set[str]:
    with opened(room) as handle:
        found = {each.checkpoint_id: each for each in handle.list_checkpoints()}
        for each in found:
            assert handle.load(each)["policy_code"] == "PDM2024-ANT-MED"
    assert found.keys() <= LEGACY_IDS
    return LEGACY_IDS if found.keys() == LEGACY_IDS else set()


def next_import(room: Path) -> None:
    with opened(room) as handle:
        assert handle.import_legacy(room / "old").is_ok
    assert imported_ids(room) == LEGACY_IDS
    next_save(room)


# --- one file


def exported(room: Path) -> None:
    three_saved(room)
    with opened(room) as handle:
        handle.export_checkpoint("b", room / "b.ckpt")
        handle.delete_checkpoint("b")


def next_import_of_a_file(room: Path) -> None:
    with opened(room) as handle:
        handle.import_checkpoint(room / "b.ckpt", on_conflict="skip")
    assert tags_in(room) == {"a": "aaa", "c": "ccc", "b": "bbb"}
    next_save(room)


def import_by_command(room: Path, done: Done) -> None:
    words = ["--store", str(room / "deep" / "new"), "import", str(room / "b.ckpt")]
    with redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 0
    done()


def tags_of_new(room: Path) -> dict[str, str]:
    """What is in the store that appears when all is in it."""
    if not (room / "deep" / "new").exists():
        return {}
    with PipelineCheckpoint(room / "deep" / "new", **KEEP_ALL) as handle:
        return tags_of(handle)


# --- the retention of a remote


def twice_pushed(room: Path) -> None:
    """Push what is gone at the next push, and with the last snapshot that names it."""
    half_pushed(room)
    with opened(room) as handle:
        handle.save(state_of("xxx"), "x", force_full=True)
        handle.push_backup(room / "remote")
        handle.delete_checkpoint("x")
        handle.push_backup(room / "remote")
    grow_old(room)


def grow_old(room: Path) -> None:
    """Let no payload at the remote be so young that it stays."""
    for path in (room / "remote").glob("payloads/*/*"):
        os.utime(path, (0, 0))


def prune_the_remote(room: Path, done: Done) -> None:
    acting(lambda handle: handle.prune_backup(KeepNewest(1), remote=room / "remote"))(room, done)


def pruned_remote(room: Path) -> tuple[dict[str, str], bool]:
    """What a pull brings back, and whether there is one snapshot, and no file that it needs not."""
    found = remote_tags(room)
    with opened(room) as handle:
        snapshots = handle.list_backups(room / "remote")
        needed = handle.verify_backup(room / "remote").payloads
    files = list((room / "remote").glob("payloads/*/*"))
    return found, (len(snapshots), len(files)) == (1, needed)


def next_prune_of_the_remote(room: Path) -> None:
    """Whatever snapshots were left, each is whole; the next prune takes the rest."""
    with opened(room) as handle:
        for each in handle.list_backups(room / "remote"):
            assert handle.verify_backup(room / "remote", snapshot=each.name, read_data=True).is_ok
        grow_old(room)  # a disk after a power cut was written anew
        handle.prune_backup(KeepNewest(1), remote=room / "remote")
    assert pruned_remote(room) == (WITHOUT_A, True)
    next_push(room)


# --- a rebuild


def without_database(room: Path) -> None:
    three_saved(room)
    for file in (room / "store").glob("checkpoints.db*"):
        file.unlink()


def rebuild(room: Path, done: Done) -> None:
    PipelineCheckpoint.rebuild(room / "store")
    done()


def rebuilt(room: Path) -> dict[str, str]:
    """What is there; nothing as long as there is no database, or an empty one."""
    try:
        return tags_in(room)
    except StoreUnavailableError as error:
        if "missing or empty" not in str(error):
            raise
        return {}


def next_rebuild(room: Path) -> None:
    if not rebuilt(room):
        PipelineCheckpoint.rebuild(room / "store")
    assert rebuilt(room) == ABC
    next_save(room)


def only_payloads(room: Path) -> None:
    """Lose the directory of a store whose payloads, and a copy of its keyring, are elsewhere."""
    three_saved(room, **elsewhere(room), **ENCRYPTED)
    shutil.rmtree(room / "store")


def rebuild_elsewhere(room: Path, done: Done) -> None:
    PipelineCheckpoint.rebuild(room / "store", KEYS[0], **elsewhere(room))
    done()


def rebuilt_elsewhere(room: Path) -> dict[str, str]:
    """What is there; nothing as long as the payloads are those of a database that is lost."""
    if not (room / "store" / "checkpoints.db").exists():
        return {}
    try:
        with opened(room, **elsewhere(room), **ENCRYPTED) as handle:
            handle.check()
            return tags_of(handle)
    except (InvalidInputError, StoreUnavailableError) as error:
        if not any(each in str(error) for each in NOT_REBUILT):
            raise
        return {}


NOT_REBUILT = ("missing or empty", "belongs to another database")  # of a database without rows


def next_rebuild_elsewhere(room: Path) -> None:
    if not rebuilt_elsewhere(room):
        PipelineCheckpoint.rebuild(room / "store", KEYS[0], **elsewhere(room))
    assert rebuilt_elsewhere(room) == ABC
    next_save(room, **elsewhere(room), **ENCRYPTED)


FURTHER = {
    "prune a remote": Operation(
        twice_pushed,
        prune_the_remote,
        (WITHOUT_A, False),
        (WITHOUT_A, True),
        look=pruned_remote,
        go_on=next_prune_of_the_remote,
    ),
    "add a key": Operation(
        lambda room: three_saved(room, **ENCRYPTED),
        acting(lambda handle: handle.add_key(KEYS[1]), **ENCRYPTED),
        ([0], ABC),
        ([0, 1], ABC),
        look=keys_that_open,
        go_on=next_save_by_first,
    ),
    "remove a key": Operation(
        two_keys,
        acting(lambda handle: handle.remove_key(KEYS[0]), **by_key(1)),
        ([0, 1], ABC),
        ([1], ABC),
        look=keys_that_open,
        go_on=next_save_by_first,
    ),
    "save a stream": Operation(
        one_streamed,
        acting(lambda handle: handle.save(streamed("ddd"), "d")),
        {"a": "aaa"},
        {"a": "aaa", "d": "ddd"},
        look=tags_of_streams,
        go_on=next_stream,
    ),
    "save to a file": Operation(
        one_streamed, save_to_a_file, False, True, look=in_a_file, go_on=next_stream
    ),
    "save by a journal": Operation(
        by_a_journal,
        acting(lambda handle: handle.save(state_of("ddd"), "d")),
        ABC,
        {**ABC, "d": "ddd"},
    ),
    "save behind": Operation(
        three_saved,
        acting(lambda handle: handle.save(state_of("ddd"), "d", wait=False).result()),
        ABC,
        {**ABC, "d": "ddd"},
    ),
    "copy": Operation(
        three_saved,
        acting(lambda handle: handle.copy_into(handle.checkpoint_dir.parent / "copy")),
        {},
        ABC,
        look=tags_of_copy,
        go_on=next_copy,
    ),
    "import legacy": Operation(
        predecessor,
        acting(lambda handle: handle.import_legacy(handle.checkpoint_dir.parent / "old")),
        set(),
        LEGACY_IDS,
        look=imported_ids,
        go_on=next_import,
    ),
    "import a file": Operation(
        exported,
        acting(lambda handle: handle.import_checkpoint(handle.checkpoint_dir.parent / "b.ckpt")),
        {"a": "aaa", "c": "ccc"},
        {"a": "aaa", "c": "ccc", "b": "bbb"},
        go_on=next_import_of_a_file,
    ),
    "import by command": Operation(
        exported,
        import_by_command,
        {},
        {"b": "bbb"},
        look=tags_of_new,
    ),
    "rebuild": Operation(without_database, rebuild, {}, ABC, look=rebuilt, go_on=next_rebuild),
    "rebuild elsewhere": Operation(
        only_payloads,
        rebuild_elsewhere,
        {},
        ABC,
        look=rebuilt_elsewhere,
        go_on=next_rebuild_elsewhere,
    ),
}
EVERY = {**OPERATIONS, **UPKEEP, **SEALED, **FURTHER}
