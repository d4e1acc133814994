"""What changes nothing that a load shows: that it is done is seen by what it is for.

Each look says what is there, and whether nothing of it is left to do.
"""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

from breaking import HARMLESS, array_state_of, tags_of
from operations import (
    ABC,
    ENCRYPTED,
    KEYS,
    Done,
    Operation,
    acting,
    next_save,
    opened,
    rebuilt_tags,
    three_saved,
)
from sqlalchemy import select

from checkpointdb import (
    CorruptionError,
    EncryptionError,
    FernetKey,
    PipelineCheckpoint,
    WrongKeyError,
)
from checkpointdb.keyring import decode_keyring
from checkpointdb.store.keyring_copies import KEYRING_NAME

OLD = Path(__file__).parents[1] / "upgrades"
REWRITTEN = {each: each * 3 for each in "bdef"}  # what `mostly_dead` leaves
DAMAGED = {"b": "bbb", "c": "ccc", "full": "ccc"}  # what `damaged` leaves


# --- compactions and merges


def mostly_dead(room: Path, **options: object) -> None:
    """Save upon one another and forget some, the first, whose chunks the others share, too."""
    with opened(room, **options) as handle:
        for each in "abcdef":
            handle.save(array_state_of(each * 3), each)
        for each in "ac":
            handle.delete_checkpoint(each)


def compacted(room: Path, **options: object) -> tuple[dict[str, str], bool]:
    found = rebuilt_tags(room, **options)
    with opened(room, **options) as handle:
        return found, handle.compact(min_dead=0.01, dry_run=True).rewritten == ()


def merged(room: Path, **options: object) -> tuple[dict[str, str], bool]:
    """What is there, and whether "d" is a full; if so, it is one by the files alone, too."""
    found = rebuilt_tags(room, **options)
    is_full, is_rebuilt_full = (is_d_full(each, **options) for each in (room, room / "again"))
    assert is_rebuilt_full or not is_full
    return found, is_full


def is_d_full(room: Path, **options: object) -> bool:
    with opened(room, **options) as handle:
        return not handle.get_checkpoint_info("d").is_incremental


def next_compact(room: Path, **options: object) -> None:
    next_save(room, **options)
    with opened(room, **options) as handle:
        handle.compact(min_dead=0.01)
    assert compacted(room, **options) == (REWRITTEN, True)


# --- keys


def by_key(number: int) -> dict[str, object]:
    return {"encryption_key": KEYS[number], "enable_encryption": True}


def keys_of_the_file(room: Path) -> list[int]:
    """Which of the two keys open the keyring's file, as it was left: opening a store mends it."""
    keyring = decode_keyring((room / "store" / KEYRING_NAME).read_bytes())
    opening = []
    for number, key in enumerate(KEYS):
        try:
            keyring.unlock(FernetKey(key))
        except WrongKeyError:
            continue
        opening.append(number)
    return opening


def keys_that_open(room: Path) -> tuple[list[int], dict[str, str]]:
    """Which of the two keys open the files alone, and what is in the store for each of them.

    A key that opens the store opens its files: what is added is in these before it is in the row,
    and what is removed is in these after that.
    """
    opening, found = keys_of_the_file(room), []
    for number in range(2):
        try:
            with opened(room, **by_key(number)) as handle:
                found.append(tags_of(handle))
        except EncryptionError:
            continue
        assert number in opening, "the files alone are not opened by a key that opens the store"
    assert all(each == found[0] for each in found), found
    return opening, found[0]


def reencrypted(room: Path) -> tuple[dict[str, str], bool]:
    """What is there, by the files alone too; and whether the new key alone opens all of it."""
    opening = keys_of_the_file(room)
    newest = by_key(opening[-1])
    found = rebuilt_tags(room, **newest)  # before anybody opens the store, which mends files
    assert keys_that_open(room)[1] == found
    with opened(room, **newest) as handle, handle.query() as connection:
        epochs = set(connection.execute(select(handle.tables.payloads.c.key_epoch)).scalars())
    return found, (opening, epochs) == ([1], {2})


def next_save_by_last(room: Path) -> None:
    next_save(room, **by_key(keys_that_open(room)[0][-1]))


# --- repairs and upgrades


def damaged(room: Path) -> None:
    """Lose the payload of a checkpoint that is forgotten; a full has what others had there."""
    with opened(room) as handle:
        for each in "abc":
            handle.save(array_state_of(each * 3), each)
        lost = handle.get_checkpoint_info("a").file_path
        handle.delete_checkpoint("a")
        handle.save(array_state_of("ccc"), "full", force_full=True)
    Path(lost).unlink()


def repaired(room: Path) -> tuple[dict[str, str], bool]:
    """What is there, and whether that took no repair more."""
    with opened(room) as handle:
        try:
            return tags_of(handle), True
        except CorruptionError:
            assert handle.repair().lost == ()
            return tags_of(handle), False


def next_save_after_repair(room: Path) -> None:
    next_save(room, allowed={*HARMLESS, "missing"})


def upgrade(room: Path, done: Done) -> None:
    acting(lambda handle: handle)(room, done)


def upgrade_of(old: str) -> Operation:
    """The opening of a store that an older version wrote."""
    states = runpy.run_path(str(OLD / f"make_{old}.py"))["STATES"]

    def upgraded(room: Path) -> tuple[dict[str, object], bool]:
        """What is there, and whether the schema was the newest before anybody opened it."""
        is_current = PipelineCheckpoint.database_info(room / "store").state == "current"
        with opened(room) as handle:
            return {each: handle.load(each) for each in states}, is_current

    return Operation(
        lambda room: shutil.copytree(OLD / old, room / "store"),
        upgrade,
        (states, False),
        (states, True),
        look=upgraded,
    )


UPKEEP = {
    "compact": Operation(
        mostly_dead,
        acting(lambda handle: handle.compact(min_dead=0.01)),
        (REWRITTEN, False),
        (REWRITTEN, True),
        look=compacted,
        go_on=next_compact,
    ),
    # By handles that flush nothing: what was on the disk before must not be lost with it.
    "compact unflushed": Operation(
        mostly_dead,
        acting(lambda handle: handle.compact(min_dead=0.01), durable=False),
        (REWRITTEN, False),
        (REWRITTEN, True),
        look=compacted,
        go_on=next_compact,
    ),
    "merge unflushed": Operation(
        mostly_dead,
        acting(lambda handle: handle.merge("d"), durable=False),
        (REWRITTEN, False),
        (REWRITTEN, True),
        look=merged,
        go_on=next_compact,
    ),
    "merge": Operation(
        mostly_dead,
        acting(lambda handle: handle.merge("d")),
        (REWRITTEN, False),
        (REWRITTEN, True),
        look=merged,
        go_on=next_compact,
    ),
    "re-encrypt": Operation(
        lambda room: three_saved(room, **ENCRYPTED),
        acting(lambda handle: handle.rotate_key(KEYS[1], reencrypt=True), **ENCRYPTED),
        (ABC, False),
        (ABC, True),
        look=reencrypted,
        go_on=next_save_by_last,
    ),
    "repair": Operation(
        damaged,
        acting(lambda handle: handle.repair()),
        (DAMAGED, False),
        (DAMAGED, True),
        look=repaired,
        go_on=next_save_after_repair,
    ),
    "upgrade": upgrade_of("plain_0007"),
    "upgrade of the oldest": upgrade_of("plain_0003"),
}
