"""Directories and files made private to their owner, and flushed to the medium."""

from __future__ import annotations

import errno
import fnmatch
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from types import TracebackType
from typing import ClassVar

from checkpointdb.contexts import contextmanager
from checkpointdb.errors import InvalidInputError

if sys.platform != "win32":
    import fcntl

# How file systems say that they have no hard links: FAT, and some of networks.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def sync(descriptor: int) -> None:
    """Flush a file or directory to the medium.

    macOS's fsync stops at the drive's cache: F_FULLFSYNC goes through it.
    """
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Let an error say which file it is of: those of calls by a descriptor do not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def sync_directory(path: str | Path) -> None:
    """Flush the entries of a directory; Windows cannot and need not."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with named(path):
            sync(descriptor)
    finally:
        os.close(descriptor)


def matching(directory: Path, pattern: str) -> list[Path]:
    """Return what lies in a directory, in the order of names. Raises OSError.

    Not by `Path.glob`, to which a directory that may not be read is an empty one.
    """
    names = [each.name for each in directory.iterdir()]
    return [directory / each for each in sorted(fnmatch.filter(names, pattern))]


def make_directories(path: Path, *, durable: bool) -> None:
    """Make a directory and what is missing above it, private to its owner.

    Each new name is flushed in the directory that received it: else a power loss could take a
    whole store whose saves were acknowledged.
    """
    missing = [each for each in (path, *path.parents) if not each.is_dir()]
    for each in reversed(missing):
        make_private(each)
        if durable:
            sync_directory(each.parent)


def make_private(path: Path) -> None:
    """Make a directory for its owner alone; one that another process has just made is as good.

    By `chmod` too: of the mode that `mkdir` is given, a umask as services have it (0177) would
    leave a directory that its owner cannot enter.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        path.chmod(0o700)


def write_private(path: Path, data: bytes, *, is_new: bool) -> None:
    """Write a small file, private to its owner, whole or not at all, and flush it.

    It replaces what is there; `is_new` raises FileExistsError instead.
    """
    temporary = temporary_of(path)
    try:
        with named(path), os.fdopen(create_private(temporary), "wb") as file:
            file.write(data)
            file.flush()
            sync(file.fileno())
        if is_new:
            link_or_rename(temporary, path)
        else:
            temporary.replace(path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_of(path: Path) -> Path:
    """Return another name in the same directory, which holds 255 bytes whatever `path` is."""
    return path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}")


def create_private(path: Path) -> int:
    """Create a file, private to its owner, and return its descriptor. Raises FileExistsError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o600)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise InvalidInputError unless a file may get this name, by taking it from another if told.

    It is never taken from what is no file, such as a directory, or /dev/null. Raises
    FileNotFoundError, naming the directory, where there is none.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    if not overwrite and os.path.lexists(path):
        raise target_exists(path)
    if path.exists() and not path.is_file():
        raise InvalidInputError(
            f"{str(path)!r} is no file and was not overwritten: give the name of a file"
        )


def target_exists(path: Path) -> InvalidInputError:
    """Return the error of a name that is taken."""
    return InvalidInputError(
        f"{str(path)!r} exists and was not overwritten: say overwrite=True, or give another name"
    )


def link_or_rename(temporary: Path, path: Path) -> None:
    """Give a file its name, unless that is taken: FileExistsError, which names `path` alone.

    Of two at once, where a file system has no hard links, the later one holds.
    """
    try:
        os.link(temporary, path)  # unlike a rename, it fails where there is a file
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise _taken(path) from None
        temporary.rename(path)


def _taken(path: Path) -> FileExistsError:
    return FileExistsError(
        errno.EEXIST, "File exists and was not overwritten, name another", str(path)
    )


@contextmanager
def locked_directory(path: Path) -> Iterator[bool]:
    """Lock a directory for as long as the block lasts: False if another process has.

    True, too, where a file system or a platform has no such locks.
    """
    if sys.platform == "win32":
        yield True
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # as below
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(descriptor), path.stat())
        except (BlockingIOError, FileNotFoundError):  # another has it; or had it, and renamed it
            is_ours = False
        except OSError:
            is_ours = True
        yield is_ours
    finally:
        os.close(descriptor)


@contextmanager
def room_in(directory: Path | None, prefix: str) -> Iterator[Path]:
    """Make a directory for what is needed only meanwhile; what cannot be removed of it stays.

    Where there is no directory for it, in that of temporary files.

    Not tempfile's, whose removal raises over what was raised before, and, where nothing may be
    unlinked, calls itself without end.
    """
    room = Path(directory or gettempdir(), f"{prefix}{uuid.uuid4().hex}")
    try:  # before there is one: a signal's handler may raise as soon as it is made
        make_private(room)
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


class Unlinker:
    """Unlinks many files, and opens each directory once; none that is a link.

    Nothing outside of a directory is reached by that, whoever puts a link in its place meanwhile.
    Files of one directory come one after the other: only one is kept open.
    """

    WORKS: ClassVar[bool] = os.unlink in os.supports_dir_fd

    def __init__(self) -> None:
        self._directory: str | None = None
        self._descriptor = -1

    def unlink(self, path: str) -> None:
        """Unlink a file, unless it is gone. Raises OSError, also if its directory is a link."""
        directory, _, name = path.rpartition("/")
        try:
            if directory != self._directory:
                self._open(directory)
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            pass

    def _open(self, directory: str) -> None:
        self._close()
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._directory = directory

    def _close(self) -> None:
        if self._directory is not None:
            self._directory = None
            os.close(self._descriptor)

    def __enter__(self) -> Unlinker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()
