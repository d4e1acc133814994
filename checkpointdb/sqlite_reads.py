"""Whether a SQLite file is damaged, or could only not be read.

What a disk answers to a read, EIO, SQLite itself turns into "database disk image is malformed"
while a statement runs. Whoever believes that may throw away a database that is whole.
"""

from __future__ import annotations

import os
import sqlite3
import urllib.parse
from contextlib import closing
from pathlib import Path

# Of its extended result codes, those of reads; 3.11 has not all their names.
_IOERR, _IOERR_READ, _IOERR_CORRUPTFS = 10, 10 | 1 << 8, 10 | 33 << 8
_READ_ERRORS = {_IOERR, _IOERR_READ, _IOERR_CORRUPTFS}
_CORRUPT = 11
_BYTE = 0xFF  # an extended code's own kind
_PAGES = 1_000


def is_only_unread(error: BaseException, path: str) -> bool:
    """Say whether SQLite took an error of reading a file, then or still, for damage of the file.

    By reading it again: page by page into a copy, which no page's content keeps it from, and that
    copy is then looked at. It takes as long as the file is large, where all is lost otherwise.
    """
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _BYTE == _CORRUPT and is_sound_or_unread(path)


def is_sound_or_unread(path: str | Path) -> bool:
    """Say whether a file that SQLite called damaged is sound, or cannot be read now."""
    name = f"file:{urllib.parse.quote(os.fsencode(Path(path).absolute()))}?mode=ro"
    try:
        # The copy is a file without a name: a database may be larger than memory is.
        with (
            closing(sqlite3.connect(name, uri=True, timeout=0)) as source,
            closing(sqlite3.connect("")) as copy,
        ):
            source.backup(copy, pages=_PAGES)
            copy.execute("PRAGMA trusted_schema = OFF")  # it may be forged
            answers = copy.execute("PRAGMA integrity_check(1)").fetchall()
            return answers == [("ok",)]
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", None) in _READ_ERRORS
