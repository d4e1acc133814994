"""Each flush left out, one at a time."""

from __future__ import annotations

from .mutant import Mutant

FLUSHES = tuple(
    Mutant(bug, file, line, "pass", "crash/test_stopped_anywhere.py")
    for bug, file, line in (
        (
            "a payload's bytes are not flushed",
            "checkpointdb/local_payloads.py",
            "sync(self._file.fileno())",
        ),
        (
            "the directory that received the rename is not flushed",
            "checkpointdb/local_payloads.py",
            "sync_directory(os.path.dirname(self._path(name)))",
        ),
        (
            "a file that replaces another is not flushed",
            "checkpointdb/directories.py",
            "sync(file.fileno())",
        ),
        (
            "the directory of a small file is not flushed",
            "checkpointdb/directories.py",
            "sync_directory(path.parent)",
        ),
        (
            "the name of a new directory is not flushed",
            "checkpointdb/directories.py",
            "sync_directory(each.parent)",
        ),
        (
            "the name of a pipeline's directory is not flushed",
            "checkpointdb/local_payloads.py",
            "sync_directory(path.parent)",
        ),
        (
            "the first snapshot's name in a backup is not flushed",
            "checkpointdb/backup/directory_remote.py",
            "sync_directory(self._root)",
        ),
        (
            "what a backup received is not flushed by name",
            "checkpointdb/backup/directory_remote.py",
            "sync_directory(target.parent)",
        ),
        (
            "the name of what was pulled is not flushed",
            "checkpointdb/store/backing.py",
            "sync_directory(directory.parent)",
        ),
        (
            "the archive of an encrypted export is not flushed",
            "checkpointdb/store/parcel.py",
            "sync(file.fileno())",
        ),
        (
            "the name of an export is not flushed",
            "checkpointdb/store/parcel.py",
            "sync_directory(file.parent)",
        ),
    )
)
