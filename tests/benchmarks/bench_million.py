"""A million checkpoints: the newest 50 that match a filter on their metadata.

Each question of `bench_filters` in a store that never ran ANALYZE; `python -m
tests.benchmarks.bench_filters` asks them after ANALYZE too, and shows SQLite's plans.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import bench_filters
from .figures import Figure, Setting

COUNT = 1_000_000
FEW = 100_000
ASKED = ("0.01 %", "1 %", "10 %", "90 %")


def run(setting: Setting) -> Iterator[Figure]:
    count = setting.size(COUNT, quick=FEW)
    bench_filters.fill(setting.folder, count)
    with bench_filters.opened(setting.folder) as store:
        times = bench_filters.measure(store, rounds=setting.rounds(15), explain=setting.explain)
    for question in ASKED:
        spent = times.pop(question)
        yield Figure(
            f"of {count:,}: {question} match", spent, "ms", at_most=bench_filters.TARGET_MS
        )
    slowest = max(times, key=times.__getitem__)
    yield Figure(f"slowest of {len(times)} others: {slowest}", times[slowest], "ms")
