"""How `encrypted_0004` was made, with schema 0004: python tests/upgrades/make_encrypted_0004.py

Not to be run again: later versions must read what this one wrote.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from checkpointdb import PipelineCheckpoint, RetentionPolicy, generate_encryption_key

STATES = {
    "read": {"pages": list(range(500)), "n": 1},
    "scored": {"pages": list(range(500)), "n": 2, "scores": [n / 7 for n in range(99)]},
}


def main() -> None:
    directory = Path(__file__).parent / "encrypted_0004"
    directory.mkdir()
    key = generate_encryption_key(directory / "test.key")
    with PipelineCheckpoint(
        directory, key, enable_encryption=True, retention_policy=RetentionPolicy.KEEP_ALL
    ) as store:
        for name, state in STATES.items():
            store.save(state, name, custom_metadata={"host": "n17"})
        assert store.check(read_data=True).is_ok
    with closing(sqlite3.connect(directory / "checkpoints.db")) as database:
        database.execute("PRAGMA journal_mode = DELETE")  # one file, as in a backup


if __name__ == "__main__":
    main()
