"""How `plain_0006` was made, with schema 0006: python tests/upgrades/make_plain_0006.py

Not to be run again: later versions must read what this one wrote.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from checkpointdb import PipelineCheckpoint, RetentionPolicy

STATES = {
    f"R_stage_{number}": {"pages": list(range(900)), "words": number * 7, "stage": number}
    for number in (1, 2, 3)
}


def main() -> None:
    directory = Path(__file__).parent / "plain_0006"
    with PipelineCheckpoint(directory, retention_policy=RetentionPolicy.KEEP_ALL) as store:
        for number, (name, state) in enumerate(STATES.items(), 1):
            store.save(state, name, custom_metadata={"run": "R", "stage": number})
    with closing(sqlite3.connect(directory / "checkpoints.db")) as database:
        database.execute("PRAGMA journal_mode = DELETE")  # one file, as in a backup


if __name__ == "__main__":
    main()
