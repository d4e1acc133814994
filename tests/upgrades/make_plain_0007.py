"""How `plain_0007` was made, with schema 0007: python tests/upgrades/make_plain_0007.py

Not to be run again: later versions must read what this one wrote.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from checkpointdb import PipelineCheckpoint, RetentionPolicy

WORDS = [f"word {number * 7919 % 1000}" for number in range(3_000)]
STATES = {
    "extracted": {"words": WORDS, "source": "plan.pdf"},
    "scored": {"words": WORDS, "source": "plan.pdf", "scores": [n / 7 for n in range(99)]},
    "reported": {"words": [*WORDS, "a new word"], "report": "seven groups"},
}


def main() -> None:
    directory = Path(__file__).parent / "plain_0007"
    with PipelineCheckpoint(directory, retention_policy=RetentionPolicy.KEEP_ALL) as store:
        for name, state in STATES.items():
            store.save(state, name, pinned=name == "scored")
    with closing(sqlite3.connect(directory / "checkpoints.db")) as database:
        database.execute("PRAGMA journal_mode = DELETE")  # one file, as in a backup


if __name__ == "__main__":
    main()
