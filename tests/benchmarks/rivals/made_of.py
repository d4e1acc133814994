"""Of what the bytes of a store of ours consist, read with `sqlite3` and `gzip`."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

from isal import isal_zlib

_PAYLOADS = """
SELECT NOT is_incremental, payloads.id = (SELECT min(id) FROM payloads), sum(payloads.stored_bytes)
FROM checkpoints JOIN payloads ON payloads.id = payload_id
GROUP BY 1, 2
"""
# Deflate stores what does not shrink in blocks, which makes it a little longer.
_AS_THEY_ARE = """
SELECT name, "offset", members.stored_bytes
FROM members JOIN payloads ON payloads.id = payload_id
WHERE members.stored_bytes >= members.raw_bytes
"""


def made_of(folder: Path) -> dict[str, int]:
    """Return the bytes of the first full, of later ones, of incrementals, of the database.

    And of the members that are stored as they are, and what ISA-L would make of these.
    """
    database = folder / "checkpoints.db"
    found = {"first_full": 0, "later_fulls": 0, "incrementals": 0}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as rows:
        for is_full, is_first, stored_bytes in rows.execute(_PAYLOADS):
            kind = "incrementals" if not is_full else "first_full" if is_first else "later_fulls"
            found[kind] += stored_bytes
        as_they_are = rows.execute(_AS_THEY_ARE).fetchall()
    found["rows"] = sum(path.stat().st_size for path in folder.glob("checkpoints.db*"))
    found["stored_as_is"] = sum(stored_bytes for _, _, stored_bytes in as_they_are)
    found["deflated"] = sum(_deflated(folder, *each) for each in as_they_are)
    return found


def _deflated(folder: Path, name: str, offset: int, stored_bytes: int) -> int:
    [payload] = folder.rglob(name)
    with payload.open("rb") as file:
        file.seek(offset)
        return len(isal_zlib.compress(gzip.decompress(file.read(stored_bytes)), 2, 31))
