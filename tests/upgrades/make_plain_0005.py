"""How `plain_0005` was made, with schema 0005: python tests/upgrades/make_plain_0005.py

Not to be run again: later versions must read what this one wrote.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from checkpointdb import PipelineCheckpoint, RetentionPolicy

STATES = {
    "counted": {"counts": {"a": 1, "b": 2}, "note": "first", "pages": list(range(500))},
    "summed": {"counts": {"a": 1, "b": 2}, "note": "second", "pages": list(range(500)), "sum": 3},
    "merged": {"counts": {"a": 5}, "note": "third", "pages": list(range(500)), "sum": 5},
}


def main() -> None:
    directory = Path(__file__).parent / "plain_0005"
    with PipelineCheckpoint(directory, retention_policy=RetentionPolicy.KEEP_ALL) as store:
        for name, state in STATES.items():
            store.save({**state, "waste": f"{name} {'x' * 2_000}"}, "forgotten")
            store.save(state, name, custom_metadata={"state_version": 7}, pinned=name == "summed")
        store.delete_checkpoint("forgotten")
        assert store.merge("merged").is_merged
        assert store.check(read_data=True).is_ok  # which notes when
    with closing(sqlite3.connect(directory / "checkpoints.db")) as database:
        database.execute("PRAGMA journal_mode = DELETE")  # one file, as in a backup


if __name__ == "__main__":
    main()
