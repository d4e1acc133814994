"""A list of messages that grows by five per save, 300 saves: what is stored in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .corpus import pieces
from .figures import Figure, Setting, Times, faster, race, size, stored
from .stores import opened

SAVES = 300
PER_SAVE = 5
MESSAGE_BYTES = 400


def run(setting: Setting) -> Iterator[Figure]:
    sizes: list[int] = []
    with opened(setting) as stores:
        ours, naive = stores.ours(), stores.naive()
        folder, theirs = ours.checkpoint_dir, naive.folder
        messages: list[dict[str, Any]] = []
        texts = iter(pieces(SAVES * PER_SAVE, MESSAGE_BYTES))

        def grown(_: int) -> dict[str, Any]:
            sizes.append(stored(folder, "*.ckpt.gz"))
            for _ in range(PER_SAVE):
                role = ("user", "model")[len(messages) % 2]
                messages.append({"id": len(messages), "role": role, "text": next(texts)})
            return {"messages": list(messages)}

        times = race(
            SAVES,
            grown,
            ours=lambda given: ours.save(given),
            naive=lambda given: naive.save(given),
        )
    yield from figures(sizes, folder, theirs, times)


def figures(sizes: list[int], folder: Path, theirs: Path, times: Times) -> Iterator[Figure]:
    """Yield sizes and times; the store is closed, so that all of its database is in one file."""
    payloads, everything, naive = stored(folder, "*.ckpt.gz"), stored(folder), stored(theirs)
    what = f"{SAVES} saves of a growing list"
    yield Figure(f"{what}: payloads", naive / payloads, "×", size(payloads), size(naive))
    yield Figure(f"{what}: with database", naive / everything, "×", size(everything), size(naive))
    third = SAVES // 3
    early, late = sizes[third], payloads - sizes[-third]
    growth = "last hundred saves beside the first (linear: near 1)"
    yield Figure(f"payloads of the {growth}", late / early, "×", size(late), size(early))
    yield faster(f"{what}: median save", times)
