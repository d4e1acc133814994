"""A value of any size: bytes that flow into a store and out of it, and are never held whole."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from checkpointdb.directories import (
    check_target,
    create_private,
    link_or_rename,
    named,
    sync,
    sync_directory,
    target_exists,
    temporary_of,
)
from checkpointdb.errors import InvalidInputError

if TYPE_CHECKING:
    from checkpointdb.sources import Source, Streamable

SERIALIZER: Final = "stream"
TYPE_NAME: Final = "checkpointdb.streamed.StreamedValue"
# The first part of each such value. So an empty one has a chunk too, and what a later version
# has to say of a stream has a place.
HEADER: Final = b"stream 1\n"

_BLOCK_BYTES = 1 << 20


class StreamedValue:
    """Bytes of any length, as the value of a key; neither a save nor a load holds them whole.

    It is made of a path, a binary file (from where it stands), bytes, an iterable of bytes, or a
    function without arguments that returns a new one of these each time it is called. What can
    be read only once (an iterable, a pipe) is copied to the store's disk while it is saved. A
    file that is changed while it is saved is an error.

    A loaded one, and one that was made of what can be read only once and was saved, reads from
    its checkpoint: when that is forgotten or replaced, `open` raises NotFoundError. To save a
    loaded one again, in the same pipeline, neither reads nor stores it.

    It has to be the value of a key itself: within a list, say, it cannot be saved.
    """

    __slots__ = ("_source",)

    def __init__(self, source: Streamable) -> None:
        """Take a source; nothing is read yet. Raises InvalidInputError for what is none."""
        from checkpointdb.sources import source_of  # only who has such a value imports it

        self._source: Source = source_of(source)

    @classmethod
    def _of(cls, source: Source) -> StreamedValue:
        made = cls.__new__(cls)
        made._source = source
        return made

    def __repr__(self) -> str:
        size = self.raw_bytes
        return f"<StreamedValue of {'unknown length' if size is None else f'{size:,} bytes'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a StreamedValue is saved as the value of a key itself, not within another value: "
            "give it a key of its own"
        )

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes in blocks of at most a megabyte. Raises what `open` raises."""
        with self.open() as stream:
            while block := stream.read(_BLOCK_BYTES):
                yield block

    @property
    def raw_bytes(self) -> int | None:
        """How many bytes there are; None where that is known only when they are saved."""
        return self._source.raw_bytes

    def open(self) -> io.BufferedReader:
        """Open the bytes for reading, from the first; those of a loaded one can be sought in.

        What is read was checked: the value against its digest here, each piece where it is read.

        Raises InvalidInputError for what can be read only once, which is for a save to do. For a
        loaded one: NotFoundError if its checkpoint is gone, CorruptionError, here and by
        reading, if stored bytes are missing or changed, StoreUnavailableError.
        """
        if self._source.is_once:
            raise InvalidInputError(
                "this stream can be read only once: save it, then read it from the checkpoint"
            )
        return io.BufferedReader(self._source.open(), _BLOCK_BYTES)

    def save_to(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Write the bytes into a file, which appears whole or not at all; return their number.

        The file is flushed to the medium, and private to its owner. It replaces a link, not
        what that points to. (A process that is killed meanwhile leaves `.NAME.<32 digits>` beside.)

        Raises InvalidInputError if it exists and is not to be overwritten, or is a directory or
        another thing that is no file; what `open` raises, and OSError if it cannot be written.
        """
        target = Path(path)
        check_target(target, overwrite=overwrite)
        temporary = temporary_of(target)
        try:
            with os.fdopen(create_private(temporary), "wb", buffering=0) as file:
                written = self._copy_into(file, target)
                with named(target):
                    sync(file.fileno())
            _publish(temporary, target, overwrite=overwrite)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(target.parent)
        return written

    def _copy_into(self, file: Any, target: Path) -> int:
        written = 0
        for block in self:
            rest = memoryview(block)
            with named(target):
                while rest:
                    rest = rest[file.write(rest) :]
            written += len(block)
        return written


def _publish(temporary: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(target)
        return
    try:
        link_or_rename(temporary, target)
    except FileExistsError as error:
        raise target_exists(target) from error
