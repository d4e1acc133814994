"""How `encrypted_1` was made: python tests/upgrades/make_encrypted_1.py

Not to be run again: later versions must read what this one wrote.
"""

import sqlite3
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: F401 - fails early

from checkpointdb import PassphraseKey, PipelineCheckpoint, RetentionPolicy

STATE = {"text": "Plan de desarrollo. " * 300, "scores": [1, 2.5, None], "n": 1}


def main() -> None:
    directory = Path(__file__).parent / "encrypted_1"
    key = (directory / "test.key").read_text().strip()
    keep_all = {"retention_policy": RetentionPolicy.KEEP_ALL}
    with PipelineCheckpoint(directory, key, enable_encryption=True, **keep_all) as store:
        store.add_key(PassphraseKey("a passphrase for tests"))
        store.save(STATE, "one", custom_metadata={"stage": 1})
        store.save({**STATE, "n": 2}, "two", custom_metadata={"stage": 2}, pinned=True)
        store.rotate_key((directory / "second.key").read_text().strip())
        store.save({**STATE, "n": 3, "text": STATE["text"] + "Fin."}, "three")
    # One file, as it would be in a backup.
    with sqlite3.connect(directory / "checkpoints.db") as database:
        database.execute("PRAGMA journal_mode = DELETE")


if __name__ == "__main__":
    main()
