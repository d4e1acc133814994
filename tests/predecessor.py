"""What the predecessor's directories look like, written as it wrote them."""

from __future__ import annotations

import gzip
import json
import pickle
from hashlib import sha256
from pathlib import Path

from cryptography.fernet import Fernet

LEGACY = Path(__file__).parent / "legacy"


def put(directory, checkpoint_id, content, /, *, base=None, key=None, day=1, packed=None, **entry):
    """Write a checkpoint's file and its entry; `packed` in place of the pickle of `content`."""
    directory.mkdir(exist_ok=True)
    raw = gzip.compress(pickle.dumps(content)) if packed is None else packed
    raw = raw if key is None else Fernet(key).encrypt(raw)
    if "/" not in checkpoint_id:
        (directory / f"{checkpoint_id}.ckpt.gz").write_bytes(raw)
    described = {
        "checkpoint_id": checkpoint_id,
        "timestamp": f"2025-01-{day:02}T12:00:00.000001",
        "version": "1.0.0",
        "file_path": f"elsewhere/{checkpoint_id}.ckpt.gz",
        "hash_sha256": sha256(raw).hexdigest(),
        "is_encrypted": key is not None,
        "is_incremental": base is not None,
        "base_checkpoint_id": base,
        "size_bytes": len(raw),
        "state_keys": [],
        "custom_metadata": {},
    }
    index = directory / "checkpoint_index.json"
    found = json.loads(index.read_text()) if index.exists() else {"checkpoints": {}}
    found["checkpoints"][checkpoint_id] = described | entry
    index.write_text(json.dumps(found))
    return directory


def line(directory, **options):
    """Write a full checkpoint and two incremental ones upon it."""
    put(directory, "one", {"a": [1], "text": "text " * 9_000}, day=1, **options)
    put(directory, "two", {"b": 2}, base="one", day=2, **options)
    changed = {"a": [3], "__deleted_keys__": ["text"]}
    return put(directory, "three", changed, base="one", day=3, **options)


STATES = {
    "one": {"a": [1], "text": "text " * 9_000},
    "two": {"a": [1], "text": "text " * 9_000, "b": 2},
    "three": {"a": [3]},
}
