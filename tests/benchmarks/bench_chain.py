"""A load after 100 saves with a few keys changed each, beside the load of a full."""

from __future__ import annotations

from collections.abc import Iterator

from checkpointdb import PipelineCheckpoint

from .corpus import pieces
from .figures import Figure, Setting, costlier, race
from .stores import opened

SAVES = 100
SHAPES = ((100, 100_000, 3), (1000, 1000, 5), (20, 1_000_000, 1))  # keys, bytes each, changed


def run(setting: Setting) -> Iterator[Figure]:
    for keys, key_bytes, changed in SHAPES:
        yield from loads(setting, keys, key_bytes, changed)


def loads(setting: Setting, keys: int, key_bytes: int, changed: int) -> Iterator[Figure]:
    what = f"{keys:,} keys of {key_bytes // 1000} kB, {changed} changed"
    texts = pieces(keys, key_bytes)
    state = {f"key-{number}": text for number, text in enumerate(texts)}
    with opened(setting) as stores:
        ours, full = stores.ours(), stores.ours(enable_incremental=False)
        ours.save(state, "0")
        for number in range(1, SAVES + 1):
            for each in range(changed):
                place = (number * changed + each) * 7
                # Another text altogether: nothing of it can be shared with the one before.
                state[f"key-{place % keys}"] = f"{number}{texts[(place * 3 + number) % keys][::-1]}"
            ours.save(state, str(number))
        assert ours.load(str(SAVES)) == state
        yield beside_full(setting, f"load after {SAVES} saves, {what}", ours, full, str(SAVES))
        if last := last_before_full(ours):
            yield beside_full(setting, f"the last before a full (save {last})", ours, full, last)


def last_before_full(store: PipelineCheckpoint) -> str | None:
    """Return what is farthest from its full, if a full came after it; its load is the slowest."""
    fulls = [each for each in store.list_checkpoints() if not each.is_incremental]
    newest = int(fulls[0].checkpoint_id)
    return str(newest - 1) if newest else None


def beside_full(
    setting: Setting,
    what: str,
    ours: PipelineCheckpoint,
    full: PipelineCheckpoint,
    checkpoint_id: str,
) -> Figure:
    state = ours.load(checkpoint_id)
    full.save(state, checkpoint_id)
    times = race(
        setting.rounds(21),
        lambda _: None,
        warm_up=2,
        ours=lambda _: ours.load(checkpoint_id),
        full=lambda _: full.load(checkpoint_id),
    )
    assert full.load(checkpoint_id) == state
    return costlier(what, times, "full", at_most=1.3)
