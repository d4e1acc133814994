"""Payloads as files of a local directory.

ROOT/p-<pipeline>/<sequence>-<checkpoint_id>.ckpt.gz     payloads
ROOT/incoming/<random>.tmp                               files not yet published
ROOT/claim, ROOT/keyring.json                            notes, where the root is named by a URL
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO

from checkpointdb.directories import (
    Unlinker,
    make_private,
    matching,
    sync,
    sync_directory,
    write_private,
)
from checkpointdb.errors import CorruptionError, StoreUnavailableError
from checkpointdb.payloads import MOST_NOTE_BYTES, PayloadFile, PayloadWriter, checked_name

_INCOMING = "incoming"
_MANY = 16

# Neither a link is followed, nor a pipe waited for, where a file should be.
_TO_READ = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
)


class LocalPayloads:
    """Payloads as files of a local directory.

    The root may be a symbolic link, which is the user's choice. Nothing below it may: a store
    that somebody else made must not read, write or delete outside of itself.
    """

    names_first = False

    def __init__(self, root: Path, *, durable: bool) -> None:
        self._root = root
        self._base = str(root)  # names are joined as text: each save makes several paths
        self._durable = durable
        self.flushes_unnamed = durable

    def flushing(self) -> LocalPayloads:
        """Return the same payloads, of which what is written is flushed."""
        return LocalPayloads(self._root, durable=True)

    def __repr__(self) -> str:
        return f"LocalPayloads({str(self._root)!r}, durable={self._durable})"

    def create(self, name: str) -> LocalWriter:
        """Return a writer of a new file in `incoming/`.

        Raises StoreUnavailableError if it cannot be made.
        """
        path = f"{self._base}/{_INCOMING}/{uuid.uuid4().hex}.tmp"
        try:
            self._refuse_link(_INCOMING)
            try:
                return LocalWriter(path, self._root, durable=self._durable)
            except FileNotFoundError:
                self._make_directory(self._root / _INCOMING)
                return LocalWriter(path, self._root, durable=self._durable)
        except OSError as error:
            raise unavailable(error, self._root) from error

    def publish(self, writer: PayloadWriter, name: str) -> None:
        """Rename a finished file to its name and flush the directory that received it."""
        self.give_name(writer, name)
        self.flush_name(name)

    def give_name(self, writer: PayloadWriter, name: str) -> None:
        assert isinstance(writer, LocalWriter)
        target = self._inside(name)
        try:
            try:
                os.replace(writer.path, target)
            except FileNotFoundError:
                self._make_directory(Path(target).parent)
                os.replace(writer.path, target)
            writer.published()
        except OSError as error:
            raise unavailable(error, self._root) from error

    def flush_name(self, name: str) -> None:
        # Only the receiving directory: that the name in `incoming` is gone may be lost.
        if self._durable:
            try:
                sync_directory(os.path.dirname(self._path(name)))
            except OSError as error:
                raise unavailable(error, self._root) from error

    def exists(self, name: str) -> bool:
        try:
            os.lstat(self._path(name))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise unavailable(error, self._root, "read") from error
        return True

    def open(self, name: str) -> LocalReader:
        path = self._inside(name)
        try:
            return LocalReader(path)
        except FileNotFoundError as error:
            if not self._root.is_dir():  # not this payload alone: the store
                raise unavailable(error, self._root, "read") from error
            raise

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._inside(name))

    def delete_all(self, names: Collection[str]) -> dict[str, Exception]:
        failed: dict[str, Exception] = {}
        with Unlinker() as unlinker:
            many = Unlinker.WORKS and len(names) >= _MANY  # for few it costs more than it saves
            for name in names:
                try:
                    unlinker.unlink(self._path(name)) if many else self.delete(name)
                except (CorruptionError, OSError) as error:
                    failed[name] = error
        return failed

    def files(self) -> Iterator[PayloadFile]:
        for directory in _listed(self._root, "p-*", self._root):
            yield from _files(directory, "*.ckpt.gz", self._root)

    def unfinished(self) -> Iterator[PayloadFile]:
        yield from _files(self._root / _INCOMING, "*.tmp", self._root)

    def now(self) -> datetime:
        # Of a file that is made for this: on a network's file system the server dates them.
        with self.scratch() as file:
            try:
                made = os.fstat(file.fileno())
            except OSError as error:
                raise unavailable(error, self._root, "read") from error
        return datetime.fromtimestamp(made.st_mtime, UTC)

    @property
    def scratch_directory(self) -> Path:
        return self._root / _INCOMING

    def scratch(self) -> IO[bytes]:
        try:
            self._refuse_link(_INCOMING)
            self._make_directory(self.scratch_directory)
            # Where it has a name for a moment, a sweep knows it by its suffix.
            return TemporaryFile(dir=self.scratch_directory, suffix=".tmp", buffering=0)
        except OSError as error:
            raise unavailable(error, self._root) from error

    def locate(self, name: str) -> str:
        return self._path(name)

    def note(self, name: str, *, in_haste: bool = False) -> bytes | None:
        try:
            with LocalReader(self._root / name) as reader:
                return reader.read(0, MOST_NOTE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unavailable(error, self._root, "read") from error

    def put_note(self, name: str, content: bytes, *, is_new: bool = False) -> bool:
        try:
            write_private(self._root / name, content, is_new=is_new)
        except FileExistsError:
            return False
        except OSError as error:
            raise unavailable(error, self._root) from error
        return True

    def _path(self, name: str) -> str:
        """The path of a payload; a name from a forged database must not leave the root."""
        return f"{self._base}/{checked_name(name, self._base)}"

    def _inside(self, name: str) -> str:
        """The path of a payload whose directory is no link to somewhere else."""
        path = self._path(name)
        self._refuse_link(name.partition("/")[0])
        return path

    def _refuse_link(self, directory: str) -> None:
        """Raise CorruptionError if a directory of the root is a link.

        A look beforehand, which somebody who can write here now may outrun: this is about what
        a store holds when it is opened. (Paths relative to open directories would not be
        outrun; Windows has none, and they would cost each save several calls.)
        """
        path = f"{self._base}/{directory}"
        if os.path.islink(path):
            raise CorruptionError(
                f"{path!r} is a symbolic link, which checkpointdb never makes and does not "
                "follow: put the directory itself in its place",
                payload=directory,
            )

    def _make_directory(self, path: Path) -> None:
        # Not the root itself: a store whose directory was removed must not come back empty.
        make_private(path)
        if self._durable:
            sync_directory(path.parent)


def _files(directory: Path, pattern: str, root: Path) -> Iterator[PayloadFile]:
    """Yield what lies in a directory; links as links, names that are no text not at all."""
    if os.path.islink(directory):
        return
    for path in _listed(directory, pattern, root):
        try:
            found = path.lstat()
            name = path.relative_to(root).as_posix()
            name.encode()
        except (FileNotFoundError, UnicodeEncodeError):  # deleted since it was listed; not ours
            continue
        except OSError as error:
            raise unavailable(error, root, "read") from error
        modified_at = datetime.fromtimestamp(found.st_mtime, UTC)
        yield PayloadFile(name, found.st_size, modified_at)


def _listed(directory: Path, pattern: str, root: Path) -> list[Path]:
    """Return what lies in a directory, in the order of names; nothing if there is none."""
    try:
        return matching(directory, pattern)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unavailable(error, root, "read") from error


class LocalWriter:
    """A file in `incoming/`."""

    def __init__(self, path: str, root: Path, *, durable: bool) -> None:
        self.path = path
        self._root = root
        self._durable = durable
        self._published = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._file = os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        try:
            written = os.writev(self._file.fileno(), pieces) if hasattr(os, "writev") else 0
            if written < sum(map(len, pieces)):  # seldom: a signal, or the disk is full
                rest = memoryview(b"".join(pieces))[written:]
                while rest:
                    rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise unavailable(error, self._root) from error

    def flush(self) -> None:
        if self._durable and hasattr(os, "fdatasync"):
            try:
                os.fdatasync(self._file.fileno())
            except OSError as error:  # the kernel tells it once: a later flush would succeed
                raise unavailable(error, self._root) from error

    def finish(self) -> None:
        try:
            if self._durable:
                sync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise unavailable(error, self._root) from error

    def published(self) -> None:
        """Note that the file has its name: `discard` leaves it alone from now on."""
        self._published = True

    def discard(self) -> None:
        try:
            self._file.close()
        finally:
            if not self._published:
                with suppress(FileNotFoundError):
                    os.unlink(self.path)


class LocalReader:
    """An open payload file."""

    def __init__(self, path: str | Path) -> None:
        """Open a file. Raises CorruptionError for a link, a pipe, a device or a directory."""
        try:
            self._descriptor = os.open(path, _TO_READ)
        except OSError as error:
            if error.errno == errno.ENXIO or os.path.islink(path):  # a socket, or a link
                raise _no_file(path) from error
            raise
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._descriptor)
            raise _no_file(path)
        self._lock = threading.Lock()
        self.stored_bytes = found.st_size

    def read(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, length, offset)
        with self._lock:  # no pread there: seek and read must not be interleaved
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, length)

    def read_each(self, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        return (self.read(offset, length) for offset, length in ranges)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> LocalReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _no_file(path: str | Path) -> CorruptionError:
    return CorruptionError(
        f"{str(path)!r} is no regular file: something else was put in the place of a payload"
    )


def advice(error: OSError) -> str:
    """Return what to do about a failed file operation."""
    return _ADVICE.get(errno.errorcode.get(error.errno or 0, ""), "see the cause")


_ADVICE = {  # by name: not every system has all of them
    "ENOSPC": "the disk is full: free space and retry",
    "EDQUOT": "the disk quota is used up: free space and retry",
    "EFBIG": "the file is larger than this process may write: raise the limit (ulimit -f)",
    "EROFS": "the file system is read-only: remount it, or copy the store elsewhere",
    "EACCES": "permission is denied: run as the user that owns the store",
    "ENOENT": "the directory is gone: was the store removed or unmounted?",
    "EMFILE": "this process has too many files open: close some, or raise ulimit -n",
    "ENFILE": "the system has too many files open: close some",
    "EIO": "the disk failed: look at the system's log, and at a backup",
}


def unavailable(
    error: OSError, path: Path, done: str = "written", *, missing: str | None = None
) -> StoreUnavailableError:
    """Return the error for a failed file operation, with the cause's number and advice.

    `missing` is the advice where it is no store's directory that is not there.
    """
    told = missing if missing and isinstance(error, FileNotFoundError) else advice(error)
    result = StoreUnavailableError(f"{str(path)!r} cannot be {done} ({error.strerror}): {told}")
    result.errno = error.errno
    return result
