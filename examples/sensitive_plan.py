"""A plan with names in it, under a key that is replaced: python examples/sensitive_plan.py.

Needs the extra `encryption`.
"""

import tempfile
from pathlib import Path

from checkpointdb import PipelineCheckpoint, WrongKeyError, generate_encryption_key

with tempfile.TemporaryDirectory() as folder:
    directory, key_file = Path(folder, "store"), Path(folder, "plan.key")
    key = generate_encryption_key(key_file)  # readable by its owner alone; keep it elsewhere

    with PipelineCheckpoint(directory, key, enable_encryption=True) as store:
        store.save({"victims": ["Ana Ríos", "Luis Gómez"], "budget": 1_200}, "registered")

    # Neither the files nor the database hold the names.
    stored = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
    print("names on the disk:", b"Ana" in stored)

    with PipelineCheckpoint(directory, key, enable_encryption=True) as store:
        print("with the key:", store.load("registered", keys=["victims"]))
        new_key = generate_encryption_key()
        store.rotate_key(new_key)  # at once: what is stored is not written again

    try:
        PipelineCheckpoint(directory, key, enable_encryption=True)
    except WrongKeyError:
        print("the old key opens nothing any more")
    with PipelineCheckpoint(directory, new_key, enable_encryption=True) as store:
        print("with the new key:", store.load("registered", keys=["budget"]))
