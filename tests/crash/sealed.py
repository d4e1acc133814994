"""What other operations do in a store in the clear, done in an encrypted one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from breaking import state_of, tags_of
from maintenance import REWRITTEN, compacted, merged, mostly_dead, next_compact
from operations import (
    ABC,
    ENCRYPTED,
    Operation,
    acting,
    next_save_encrypted,
    opened,
    rebuilt_encrypted_tags,
    three_saved,
)

from checkpointdb import KeepNewest


def tags_encrypted(room: Path) -> dict[str, str]:
    with opened(room, **ENCRYPTED) as handle:
        return tags_of(handle)


SEALED = {
    "replace encrypted": Operation(
        partial(three_saved, **ENCRYPTED),
        acting(lambda handle: handle.save(state_of("new"), "b"), **ENCRYPTED),
        ABC,
        {"a": "aaa", "c": "ccc", "b": "new"},
        look=tags_encrypted,
        go_on=next_save_encrypted,
    ),
    "prune encrypted": Operation(
        partial(three_saved, **ENCRYPTED),
        acting(lambda handle: handle.prune(KeepNewest(1)), **ENCRYPTED),
        ABC,
        {"c": "ccc"},
        look=rebuilt_encrypted_tags,
        go_on=next_save_encrypted,
    ),
    "compact encrypted": Operation(
        partial(mostly_dead, **ENCRYPTED),
        acting(lambda handle: handle.compact(min_dead=0.01), **ENCRYPTED),
        (REWRITTEN, False),
        (REWRITTEN, True),
        look=partial(compacted, **ENCRYPTED),
        go_on=partial(next_compact, **ENCRYPTED),
    ),
    "merge encrypted": Operation(
        partial(mostly_dead, **ENCRYPTED),
        acting(lambda handle: handle.merge("d"), **ENCRYPTED),
        (REWRITTEN, False),
        (REWRITTEN, True),
        look=partial(merged, **ENCRYPTED),
        go_on=partial(next_compact, **ENCRYPTED),
    ),
}
