"""A directory as a remote: another disk, or one that is mounted from elsewhere."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from checkpointdb.backup.layout import INCOMING, MOST_SMALL_BYTES
from checkpointdb.backup.remote import Blob
from checkpointdb.contexts import contextmanager
from checkpointdb.directories import link_or_rename, make_directories, sync_directory
from checkpointdb.errors import CheckpointError, CorruptionError, StoreUnavailableError
from checkpointdb.local_payloads import LocalReader, LocalWriter, advice


class DirectoryRemote:
    """Blobs as files. Every name is flushed with the directory that received it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.url = root.as_uri()

    def __repr__(self) -> str:
        return f"DirectoryRemote({str(self._root)!r})"

    def blobs(self, directory: str) -> Iterator[Blob]:
        with self.explained("listed"):
            found = sorted(self._below(self._root / directory))
        yield from found

    def unfinished(self) -> Iterator[Blob]:
        return self.blobs(INCOMING)

    def open(self, path: str) -> LocalReader:
        with self.explained("read", may_be_missing=True):
            return _Blob(self, path)

    def put(self, path: str, pieces: Iterator[bytes]) -> None:
        with self.explained("written"), self._incoming() as writer:
            for piece in pieces:
                writer.write([piece])
            writer.finish()
            self._publish(writer, path)

    def small(self, path: str) -> bytes | None:
        try:
            with self.open(path) as reader:
                return reader.read(0, MOST_SMALL_BYTES)
        except FileNotFoundError:
            return None

    def around(self, path: str) -> Iterator[bytes]:
        for above in self._root.parents:
            with suppress(OSError, CorruptionError), LocalReader(above / path) as reader:
                yield reader.read(0, MOST_SMALL_BYTES)

    def swap(self, path: str, seen: bytes | None, content: bytes) -> bool:
        """Replace a small file if it is what was seen.

        The first is linked, which fails where there is one. Later a look beforehand must do: of
        two stores that push here at the same moment, both of which had a right to, one may lose
        its snapshot, never a payload. (Locks of files are not to be trusted on what is mounted.)
        """
        with self.explained("written"), self._incoming() as writer:
            writer.write([content])
            writer.finish()
            if seen is None:
                try:
                    link_or_rename(Path(writer.path), self._root / path)
                except FileExistsError:
                    return False
                sync_directory(self._root)
                return True
            if self.small(path) != seen:
                return False
            self._publish(writer, path)
            return True

    def delete(self, *paths: str) -> None:
        with self.explained("changed"):
            for path in paths:
                (self._root / path).unlink(missing_ok=True)
            for directory in sorted({(self._root / path).parent for path in paths}):
                with suppress(FileNotFoundError):
                    sync_directory(directory)

    @contextmanager
    def _incoming(self) -> Iterator[LocalWriter]:
        directory = self._root / INCOMING
        make_directories(directory, durable=True)
        path = directory / f"{uuid.uuid4().hex}.tmp"
        writer = LocalWriter(str(path), self._root, durable=True)
        try:
            yield writer
        finally:
            writer.discard()

    def _publish(self, writer: LocalWriter, path: str) -> None:
        target = self._root / path
        make_directories(target.parent, durable=True)
        Path(writer.path).replace(target)
        writer.published()
        sync_directory(target.parent)

    def _below(self, directory: Path) -> Iterator[Blob]:
        """Yield the files below a directory; what is a link is none of ours."""
        try:
            entries = list(os.scandir(directory))
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # a prune was faster
                path = Path(entry.path).relative_to(self._root).as_posix()
                yield Blob(path, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def path_of(self, path: str) -> Path:
        return self._root / path

    @contextmanager
    def explained(self, done: str, *, may_be_missing: bool = False) -> Iterator[None]:
        try:
            yield
        except CheckpointError:  # such as that of a lease that was lost
            raise
        except OSError as error:
            if may_be_missing and isinstance(error, FileNotFoundError):
                raise
            raise StoreUnavailableError(
                f"the backup at {self.url!r} cannot be {done} ({error.strerror}): {advice(error)}"
            ) from error


class _Blob(LocalReader):
    """An open blob: what keeps it from being read tells of the backup."""

    def __init__(self, remote: DirectoryRemote, path: str) -> None:
        super().__init__(remote.path_of(path))
        self._remote = remote

    def read(self, offset: int, length: int) -> bytes:
        with self._remote.explained("read"):
            return super().read(offset, length)
