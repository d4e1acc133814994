"""What was saved upon what, drawn in lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from checkpointdb.cli.terminal import moment, safe, size
from checkpointdb.reports import CheckpointPlace


def drawn(places: Sequence[CheckpointPlace]) -> Iterator[str]:
    """Yield a line for each checkpoint.

    What goes on in the same chain (or else was saved first) stands below in the same column, so
    that ten thousand saves in a row are no staircase; all else that was saved upon a checkpoint
    is a branch of it. With a stack: a history may be deeper than Python's recursion goes.
    """
    upon: dict[str | None, list[CheckpointPlace]] = {}
    for each in places:
        upon.setdefault(each.parent_id, []).append(each)
    waiting = [(root, "", "") for root in reversed(upon.get(None, []))]
    while waiting:
        place, lead, prefix = waiting.pop()
        yield lead + _line(place)
        children = upon.get(place.checkpoint_id, [])
        if not children:
            continue
        following = next((each for each in children if each.chain == place.chain), children[0])
        waiting.append((following, prefix, prefix))
        waiting += [
            (each, f"{prefix}├─ ", f"{prefix}│  ")
            for each in reversed(children)
            if each is not following
        ]


def _line(place: CheckpointPlace) -> str:
    sign = "○" if place.is_incremental else "●"
    facts = [moment(place.created_at.isoformat()), size(place.stored_bytes)]
    facts += ["pinned"] if place.pinned else []
    return f"{sign} {safe(place.checkpoint_id)}  ({', '.join(facts)})"
