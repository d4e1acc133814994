"""Small states: ten keys, 10 KB, beside the least that durability costs.

That least is one file of the pickled state (write, fsync, rename, fsync of the directory) and
one commit of one small row in SQLite (WAL, synchronous=FULL), by the module `sqlite3` alone.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .corpus import pieces
from .figures import Figure, Setting, costlier, race
from .naive import write
from .stores import opened

KEYS = 10
KEY_BYTES = 1000


class Least:
    """One durable file and one durable row."""

    def __init__(self, folder: Path, durable: bool) -> None:
        self.folder, self.durable, self.count = folder, durable, 0
        self.rows = sqlite3.connect(folder / "rows.db", isolation_level=None)
        self.rows.execute("PRAGMA journal_mode = WAL")
        self.rows.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self.rows.execute("CREATE TABLE saved (id INTEGER PRIMARY KEY, name TEXT, bytes INTEGER)")

    def save(self, state: dict[str, Any]) -> None:
        self.count += 1
        path = self.folder / f"{self.count}.pickle"
        data = pickle.dumps(state)
        write(path, data, durable=self.durable)
        self.rows.execute("INSERT INTO saved (name, bytes) VALUES (?, ?)", (path.name, len(data)))


def run(setting: Setting) -> Iterator[Figure]:
    texts = pieces(2000, KEY_BYTES)
    for what, changed in (("1 of 10 keys changed", 1), ("all keys changed", KEYS)):
        yield from saves(setting, what, texts, changed)


def saves(setting: Setting, what: str, texts: list[str], changed: int) -> Iterator[Figure]:
    state = dict(zip(map(str, range(KEYS)), texts, strict=False))

    def change(number: int) -> dict[str, str]:
        nonlocal state
        keys = [str((number + each) % KEYS) for each in range(changed)]
        state = state | {key: f"{number} {texts[(number * 7 + int(key)) % 2000]}" for key in keys}
        return state

    with opened(setting) as stores:
        keep_10, keep_all, naive = stores.ours(keep=10), stores.ours(), stores.naive()
        least = Least(setting.new_folder("least"), setting.durable)
        times = race(
            setting.rounds(300),
            change,
            warm_up=20,
            keep_10=lambda given: keep_10.save(given),
            keep_all=lambda given: keep_all.save(given),
            least=lambda given: least.save(given),
            naive=lambda given: naive.save(given),
        )
        least.rows.close()
    for name, policy in (("keep_10", "retention 10"), ("keep_all", "keep all")):
        chosen = {"ours": times[name], "least": times["least"], "naive": times["naive"]}
        yield costlier(f"{what}, {policy}", chosen, "least", at_most=3)
    yield costlier(f"{what}, beside naive", chosen, "naive")
