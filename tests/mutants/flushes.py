"""Each flush left out, one at a time, and each handle that flushes whatever another one does.

Not here is what nothing that is promised depends on:

    LocalWriter.flush   lets the disk begin before the end, where `finish` flushes the same bytes
    backing._publish    that of a pulled database: SQLite flushed it as it was closed
    rebuild             whose handle flushes each commit: its database is closed before it returns,
                        which flushes all, unless somebody else has opened it meanwhile
"""

from __future__ import annotations

from .mutant import Mutant

_TESTS = "crash/test_stopped_anywhere.py"

_LEFT_OUT = tuple(
    Mutant(bug, file, line, "pass", _TESTS)
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
        (
            "what a prune deletes of a backup comes back",
            "checkpointdb/backup/directory_remote.py",
            "sync_directory(directory)",
        ),
        (
            "the names in what was pulled are not flushed",
            "checkpointdb/store/backing.py",
            "sync_directory(each)",
        ),
        (
            "the file of a stream is not flushed",
            "checkpointdb/streamed.py",
            "sync(file.fileno())",
        ),
        (
            "the name of a stream's file is not flushed",
            "checkpointdb/streamed.py",
            "sync_directory(target.parent)",
        ),
        (
            "the name of a store that an import made is not flushed",
            "checkpointdb/cli/session.py",
            "sync_directory(store.parent)",
        ),
    )
)

_UNFLUSHED = tuple(
    Mutant(bug, file, line, line.replace("durable=True", "durable=False"), _TESTS)
    for bug, file, line in (
        (
            "files that are encrypted anew are not flushed",
            "checkpointdb/store/resealing.py",
            "durable=True,",
        ),
        (
            "the payloads of what was pulled are not flushed",
            "checkpointdb/store/backing.py",
            "return LocalPayloads(room / PAYLOAD_DIRECTORY, durable=True)",
        ),
        (
            "directories above what was pulled are not flushed",
            "checkpointdb/store/backing.py",
            "make_directories(room, durable=True)",
        ),
        (
            "directories above what an import made are not flushed",
            "checkpointdb/cli/session.py",
            "make_directories(store.parent, durable=True)",
        ),
        (
            "the directories of a backup are not flushed",
            "checkpointdb/backup/directory_remote.py",
            "make_directories(target.parent, durable=True)",
        ),
        (
            "what a backup received is not flushed",
            "checkpointdb/backup/directory_remote.py",
            "writer = LocalWriter(str(path), self._root, durable=True)",
        ),
    )
)

FLUSHES = _LEFT_OUT + _UNFLUSHED
