"""How `plain_0003` was made, with schema 0003: python tests/upgrades/make_plain_0003.py

Not to be run again: later versions must read what this one wrote.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from checkpointdb import PipelineCheckpoint, RetentionPolicy

WORDS = [f"word {number * 7919 % 1000}" for number in range(6_000)]
STATES = {
    "extracted": {"words": WORDS, "source": "plan.pdf"},
    "scored": {"words": WORDS, "source": "plan.pdf", "scores": [n / 7 for n in range(99)]},
    "reported": {"words": [*WORDS[:3_000], "a new word", *WORDS[3_000:]], "report": "seven groups"},
    "other line": {"words": WORDS, "source": "plan.pdf", "scores": None},
}
METADATA = {"scored": {"accuracy": 0.81, "run": {"host": "n17"}}, "reported": {"accuracy": 0.93}}


def main() -> None:
    directory = Path(__file__).parent / "plain_0003"
    with PipelineCheckpoint(directory, retention_policy=RetentionPolicy.KEEP_ALL) as store:
        for name in ("extracted", "scored", "reported"):
            store.save(STATES[name], name, custom_metadata=METADATA.get(name))
        store.save({"thrown": "away"}, "forgotten")
        store.delete_checkpoint("forgotten")
        store.save(STATES["other line"], "other line", base="scored", pinned=True)
    with PipelineCheckpoint(directory, pipeline="Plan B", serializer="json") as store:
        store.save({"n": 1}, "extracted")
    with closing(sqlite3.connect(directory / "checkpoints.db")) as database:
        database.execute("PRAGMA journal_mode = DELETE")  # one file, as in a backup


if __name__ == "__main__":
    main()
