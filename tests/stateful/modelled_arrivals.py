"""What becomes of checkpoints that come from elsewhere: other stores, files, the predecessor."""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

from checkpointdb import ImportReport


class Arriving(NamedTuple):
    """A checkpoint as it was where it comes from."""

    checkpoint_id: str
    state: dict[str, Any]
    version: int | None
    time: str
    pinned: bool = False


def leaving(contents, checkpoint_id):
    """Return a checkpoint of a model as it leaves it."""
    return Arriving(
        checkpoint_id,
        contents.states[checkpoint_id],
        contents.versions[checkpoint_id],
        contents.times[checkpoint_id],
        checkpoint_id in contents.pinned,
    )


def are_refused(contents, arriving):
    """Say whether any has the id of another checkpoint."""
    return any(
        each.checkpoint_id in contents.states and contents.times[each.checkpoint_id] != each.time
        for each in arriving
    )


def arrive(contents, arriving, on_conflict, word="imported"):
    """Put checkpoints into a model, one after the other; return the report that is due."""
    imported, present, skipped, replaced, renamed = [], [], [], [], []
    for each in arriving:
        name = each.checkpoint_id
        if _is_another(contents, name, each):
            if on_conflict == "skip":
                skipped.append(name)
                continue
            if on_conflict == "rename":
                name = _free_name(contents, each, word)
        if name in contents.states and contents.times[name] == each.time:
            present.append(name)
            continue
        if name in contents.states:
            replaced.append(name)
        if name != each.checkpoint_id:
            renamed.append((each.checkpoint_id, name))
        imported.append(name)
        contents.put(name, each.state, each.version, each.time)
        if each.pinned:
            contents.pinned.add(name)
    return ImportReport(*map(tuple, (imported, present, skipped, replaced, renamed)))


def _is_another(contents, name, each):
    return name in contents.states and contents.times[name] != each.time


def _free_name(contents, each, word):
    for number in count(1):
        name = f"{each.checkpoint_id}-{word}" + (f"-{number}" if number > 1 else "")
        if not _is_another(contents, name, each):
            return name
    raise AssertionError
