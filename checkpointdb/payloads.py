"""Where payloads live: the interface of what writes them once, reads ranges, lists and deletes.

`local_payloads` keeps them in a directory, `object_payloads` in a bucket.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from checkpointdb.errors import CorruptionError, StoreUnavailableError

# What lets a name leave the root: separators, a drive, control characters.
_ACTS = re.compile(r"[\\:\x00-\x1f\x7f]")
_MOST_CITED = 200

MOST_NOTE_BYTES = 1 << 20


class PayloadFile(NamedTuple):
    """A file found below the payload root."""

    name: str
    stored_bytes: int
    modified_at: datetime


class PayloadReader(Protocol):
    """An open payload; many threads may read it at once."""

    @property
    def stored_bytes(self) -> int: ...
    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes of a range, fewer where the file ends before."""
        ...

    def read_each(self, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        """Yield the bytes of ranges, by (offset, length), in their order.

        Where each read is a request, neighbours are read by one.
        """
        ...

    def close(self) -> None: ...


class PayloadWriter(Protocol):
    """A payload being written, unseen until it is published."""

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append pieces, one after the other."""
        ...

    def flush(self) -> None:
        """Make what was written so far durable, while another thread goes on writing.

        What this raises must not be lost: `finish` may then know nothing of it.
        """
        ...

    def finish(self) -> None:
        """Make what was written survive a power loss (if the store is durable)."""
        ...

    def discard(self) -> None:
        """Remove the file, unless it was published."""
        ...


class PayloadStore(Protocol):
    """Files under names; each is written once and never modified."""

    @property
    def names_first(self) -> bool:
        """Say whether a payload has its name from the beginning, as it cannot be renamed."""
        ...

    @property
    def flushes_unnamed(self) -> bool:
        """Say whether `finish` and `flush_name` wait for a disk, and a file has its name last."""
        ...

    def flushing(self) -> PayloadStore:
        """Return the same payloads, of which what is written is durable whatever the handle is."""
        ...

    def create(self, name: str) -> PayloadWriter:
        """Begin a payload; the name is its last one only where `names_first`."""
        ...

    def publish(self, writer: PayloadWriter, name: str) -> None:
        """Give a finished file its name; when this returns, name and bytes are durable.

        The caller holds the lock that gives names, and has seen that this one is free. Where
        `names_first` it has the name already, and this makes sure that it is there, whole: if
        a sweep took it for a leftover, LostRace tells the caller to write it again.
        """
        ...

    def give_name(self, writer: PayloadWriter, name: str) -> None:
        """Do the same, but for a name that is durable only when `flush_name` has returned."""
        ...

    def flush_name(self, name: str) -> None:
        """Make the name of a file survive a power loss (if the store is durable)."""
        ...

    def exists(self, name: str) -> bool: ...
    def open(self, name: str) -> PayloadReader:
        """Open a payload. Raises FileNotFoundError if there is none of that name.

        CorruptionError if the name is none of a payload, or something else is in its place.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a payload; one that is gone already is no error."""
        ...

    def delete_all(self, names: Collection[str]) -> dict[str, Exception]:
        """Delete payloads; return those that could not be, each with why."""
        ...

    def files(self) -> Iterator[PayloadFile]:
        """Yield every payload file in the order of names."""
        ...

    def unfinished(self) -> Iterator[PayloadFile]:
        """Yield files that were created and not published: being written, or left by a crash."""
        ...

    def now(self) -> datetime:
        """Return the time by the clock that says when files were modified: the place's own."""
        ...

    @property
    def scratch_directory(self) -> Path:
        """Where scratch files are made."""
        ...

    def scratch(self) -> IO[bytes]:
        """Return a file without a name, unbuffered, for what a save must read twice.

        It is gone when it is closed, and when the process is.
        """
        ...

    def locate(self, name: str) -> str:
        """Return where people and other programs find the payload."""
        ...

    def note(self, name: str, *, in_haste: bool = False) -> bytes | None:
        """Return a small file that lies beside the payloads, None if there is none of that name.

        `in_haste` where others wait for a lock meanwhile: it is not asked for again and again.
        """
        ...

    def put_note(self, name: str, content: bytes, *, is_new: bool = False) -> bool:
        """Write such a file, durable, whole or not at all; `is_new` replaces none: False then."""
        ...


def checked_name(name: str, root: str) -> str:
    """Return a payload's name if it stays below the root.

    Raises CorruptionError if not: it may be from a forged database, whose rows hold anything.
    """
    parts = str(name).split("/")
    if (
        type(name) is not str
        or len(parts) != 2
        or ".." in parts
        or not all(parts)
        or _ACTS.search(name)
    ):
        shown = ascii(name)[:_MOST_CITED]
        raise CorruptionError(
            f"{shown} is not the name of a payload below {root!r}: the database that "
            "names it is damaged or forged; restore a backup, or rebuild it",
            payload=shown,
        )
    return name


def is_damage(error: OSError) -> bool:
    """Say whether an error that reading a payload raised tells of its bytes.

    Most others tell of this process (no descriptors, no rights), or of a network or a mount that
    will be back: whatever is not known to be damage is none, since what is lost may be forgotten.
    """
    if isinstance(error, StoreUnavailableError):
        return False
    code = errno.errorcode.get(error.errno or 0)
    return isinstance(error, FileNotFoundError) or code in _DAMAGE


# By name: not every system has all of them. The last four: something else is in its place.
_DAMAGE = {"EIO", "EBADMSG", "EUCLEAN", "ENODATA", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG"}
