"""Payloads as objects of a bucket.

    PREFIX/p-<pipeline>/<sequence>-<checkpoint_id>-<random>.ckpt.gz

An object cannot be renamed, so each is written under its last name, before the lock; it appears
whole, or not at all. Under the lock it is looked at once more, since a sweep may have taken it for
what a crash left. Its name is that of no other: nothing that was written is ever overwritten.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from queue import Queue
from tempfile import TemporaryFile, gettempdir
from typing import IO

from checkpointdb.bucket import PART_BYTES, Bucket
from checkpointdb.database_errors import LostRace
from checkpointdb.errors import CorruptionError, StoreUnavailableError
from checkpointdb.payloads import MOST_NOTE_BYTES, PayloadFile, PayloadWriter, checked_name

_SUFFIX = ".ckpt.gz"
# What lies between two members is read too, if it is less: it costs less than a request.
_MOST_GAP_BYTES = 256 << 10
_MOST_READ_BYTES = 8 << 20  # by one request
_PARTS_WAITING = 2
# What is asked under a lock: a server ends the session of who stands still for a minute, and one
# request and its repetition, each as long, and then a deletion, are to be done by then.
_LOCKED_SECONDS = 10.0

log = logging.getLogger("checkpointdb")


class ObjectPayloads:
    """Payloads as objects of a bucket."""

    names_first = True
    flushes_unnamed = False

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._hasty = bucket.with_patience(_LOCKED_SECONDS)

    def flushing(self) -> ObjectPayloads:
        """Return itself: what is there is durable."""
        return self

    def __repr__(self) -> str:
        return f"ObjectPayloads({self._bucket.location.url!r})"

    def create(self, name: str) -> ObjectWriter:
        return ObjectWriter(self._bucket, self._path(name), name)

    def publish(self, writer: PayloadWriter, name: str) -> None:
        """Make sure that a finished object is there. Raises LostRace if not."""
        self.give_name(writer, name)

    def give_name(self, writer: PayloadWriter, name: str) -> None:
        assert isinstance(writer, ObjectWriter)
        assert writer.name == name
        if not writer.is_stored(self._hasty):
            raise LostRace(
                f"{self.locate(name)!r} was written, and is gone or of another length: did "
                "somebody delete it, or a sweep, while the save took longer than a day?"
            )
        writer.published()

    def flush_name(self, name: str) -> None:
        """Do nothing: an object that is there is durable."""

    def exists(self, name: str) -> bool:
        return self._bucket.find(self._path(name)) is not None

    def open(self, name: str) -> ObjectReader:
        path = self._path(name)
        found = self._bucket.find(path)
        if found is None:
            # A bucket that is gone says of each object that it is not there: this raises.
            next(self._bucket.list(self._bucket.location.prefix, page=1), None)
            raise FileNotFoundError(self.locate(name))
        return ObjectReader(self._bucket, path, found.stored_bytes)

    def delete(self, name: str) -> None:
        self._bucket.delete(self._path(name))

    def delete_all(self, names: Collection[str]) -> dict[str, Exception]:
        failed: dict[str, Exception] = {}
        found: dict[str, str] = {}
        for name in names:
            try:
                found[self._path(name)] = name
            except CorruptionError as error:
                failed[name] = error
        refused = self._hasty.delete_all(list(found))
        return failed | {found[path]: error for path, error in refused.items()}

    def files(self) -> Iterator[PayloadFile]:
        prefix = self._bucket.location.path_of("")
        for each in self._bucket.list(prefix.rstrip("/")):
            name = each.path.removeprefix(prefix)
            is_ours = name.count("/") == 1 and name.startswith("p-") and name.endswith(_SUFFIX)
            if is_ours:
                yield PayloadFile(name, each.stored_bytes, each.modified_at)

    def unfinished(self) -> Iterator[PayloadFile]:
        """Yield nothing: what is not finished is no object, and is not listed."""
        return iter(())

    def now(self) -> datetime:
        return self._bucket.now()

    @property
    def scratch_directory(self) -> Path:
        return Path(gettempdir())

    def scratch(self) -> IO[bytes]:
        """Return a file of this machine: what is written twice need not travel twice."""
        return TemporaryFile(buffering=0)

    def locate(self, name: str) -> str:
        place = self._bucket.location.url.partition("?")[0]
        return f"{place}/{checked_name(name, place)}"

    def note(self, name: str, *, in_haste: bool = False) -> bytes | None:
        bucket = self._hasty if in_haste else self._bucket
        return bucket.read_small(self._bucket.location.path_of(name), MOST_NOTE_BYTES)

    def put_note(self, name: str, content: bytes, *, is_new: bool = False) -> bool:
        path = self._bucket.location.path_of(name)
        if is_new:
            return self._bucket.put_new(path, content)
        self._bucket.replace(path, content)
        return True

    def _path(self, name: str) -> str:
        return self._bucket.location.path_of(checked_name(name, self._bucket.location.url))


class ObjectReader:
    """An object, read by ranges; a small one at once, as each range would be a request."""

    def __init__(self, bucket: Bucket, path: str, stored_bytes: int) -> None:
        self._bucket = bucket
        self._path = path
        self.stored_bytes = stored_bytes
        self._whole: bytes | None = None

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.stored_bytes)
        if self.stored_bytes <= _MOST_GAP_BYTES:
            if self._whole is None and offset < end:
                self._whole = self._bucket.read(self._path, 0, self.stored_bytes)
            return (self._whole or b"")[offset:end]
        return self._bucket.read(self._path, offset, end) if offset < end else b""

    def read_each(self, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        for start, end, together in _gathered(ranges):
            data = self.read(start, end - start)
            for offset, length in together:
                yield data[offset - start : offset - start + length]

    def close(self) -> None:
        """Do nothing: between two requests nothing is open."""


def _gathered(
    ranges: Iterable[tuple[int, int]],
) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield (start, end, ranges) of neighbours that one request reads."""
    together: list[tuple[int, int]] = []
    start = end = 0
    for offset, length in ranges:
        is_near = end <= offset <= end + _MOST_GAP_BYTES
        if together and not (is_near and offset + length - start <= _MOST_READ_BYTES):
            yield start, end, together
            together = []
        start = start if together else offset
        end = offset + length
        together.append((offset, length))
    if together:
        yield start, end, together


class ObjectWriter:
    """An object being written: put at once if it is small, else in parts, by a thread."""

    def __init__(self, bucket: Bucket, path: str, name: str) -> None:
        self.name = name
        self._bucket = bucket
        self._path = path
        self._gathered = bytearray()
        self._stored_bytes = 0
        self._upload: _Upload | None = None
        self._is_begun = False  # the object may be there, or come to be
        self._is_published = False

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        for piece in pieces:
            self._gathered += piece
        if len(self._gathered) >= PART_BYTES:
            self._send()

    def flush(self) -> None:
        """Do nothing: parts are sent as they come."""

    def finish(self) -> None:
        self._is_begun = True
        if self._upload is None:
            self._stored_bytes = len(self._gathered)
            if not self._bucket.put_new(self._path, bytes(self._gathered)):
                raise _exists(self._bucket, self._path)
            return
        self._send()
        try:
            self._upload.end()
        except StoreUnavailableError:
            # The answer may have been lost, while the parts were joined.
            if not self.is_stored(self._bucket):
                raise

    def is_stored(self, bucket: Bucket) -> bool:
        """Say whether the object is there, of the length that was written."""
        found = bucket.find(self._path)
        return found is not None and found.stored_bytes == self._stored_bytes

    def published(self) -> None:
        """Note that a row names the object: `discard` leaves it alone from now on."""
        self._is_published = True

    def discard(self) -> None:
        if self._upload is not None:
            self._upload.give_up()
        if not self._is_begun or self._is_published:
            return
        self._is_begun = False
        try:
            self._bucket.delete(self._path)
        except StoreUnavailableError as error:
            log.warning("%s may have been left over, sweep() removes it: %s", self.name, error)

    def _send(self) -> None:
        if self._upload is None:
            self._upload = _Upload(self._bucket, self._path)
        self._stored_bytes += len(self._gathered)
        self._upload.add(bytes(self._gathered))
        self._gathered.clear()


class _Upload:
    """A thread that sends parts as they come, a few ahead of it."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        self._parts: Queue[bytes | None] = Queue(_PARTS_WAITING)
        self._error: BaseException | None = None
        self._is_given_up = False
        self._is_ended = False  # as its user says; and as the thread has seen
        self._is_over = False
        self._thread = threading.Thread(target=self._run, args=(bucket, path), daemon=True)
        self._thread.start()

    def add(self, part: bytes) -> None:
        """Hand over a part; wait while the thread is behind. Raises what it met."""
        self._parts.put(part)
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Wait until all is stored. Raises what the thread met."""
        self._end()
        if self._error is not None:
            raise self._error

    def give_up(self) -> None:
        """Let nothing become of it, unless it has ended."""
        self._is_given_up = True
        self._end()

    def _end(self) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._parts.put(None)
        self._thread.join()

    def _run(self, bucket: Bucket, path: str) -> None:
        try:
            if bucket.find(path) is not None:  # parts are joined without a condition
                raise _exists(bucket, path)  # noqa: TRY301 - raised in the other thread
            bucket.put_parts(path, self._each())
        except BaseException as error:  # noqa: BLE001 - raised in the other thread
            self._error = error
            while not self._is_over:  # so that `add` does not wait for ever
                self._is_over = self._parts.get() is None

    def _each(self) -> Iterator[bytes]:
        while (part := self._parts.get()) is not None:
            yield part
        self._is_over = True
        if self._is_given_up:
            raise InterruptedError  # what makes obstore abort the upload


def _exists(bucket: Bucket, path: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"{path!r} exists already in {bucket.location.url!r}, and a payload is never overwritten: "
        "does another database use the same place? If not, save again"
    )
