"""Each flush left out, one at a time, and each handle that flushes whatever another one does.

Not here is what nothing that is promised depends on:

    LocalWriter.flush   lets the disk begin before the end, where `finish` flushes the same bytes
    backing._publish    that of a pulled database: SQLite flushed it as it was closed
    rebuild             whose handle flushes each commit: its database is closed before it returns,
                        which flushes all, unless somebody else has opened it meanwhile
"""

from __future__ import annotations

from .mutant import Mutant, stopped

_LEFT_OUT = tuple(
    Mutant(bug, file, line, "pass", stopped(operation))
    for bug, file, line, operation in (
        (
            "a payload's bytes are not flushed",
            "checkpointdb/local_payloads.py",
            "sync(self._file.fileno())",
            "save",
        ),
        (
            "the directory that received the rename is not flushed",
            "checkpointdb/local_payloads.py",
            "sync_directory(os.path.dirname(self._path(name)))",
            "save",
        ),
        (
            "a file that replaces another is not flushed",
            "checkpointdb/directories.py",
            "sync(file.fileno())",
            "create encrypted",
        ),
        (
            "the directory of a small file is not flushed",
            "checkpointdb/directories.py",
            "sync_directory(path.parent)",
            "create encrypted",
        ),
        (
            "the name of a new directory is not flushed",
            "checkpointdb/directories.py",
            "sync_directory(each.parent)",
            "create",
        ),
        (
            "the name of a pipeline's directory is not flushed",
            "checkpointdb/local_payloads.py",
            "sync_directory(path.parent)",
            "create",
        ),
        (
            "the first snapshot's name in a backup is not flushed",
            "checkpointdb/backup/directory_remote.py",
            "sync_directory(self._root)",
            "push first",
        ),
        (
            "what a backup received is not flushed by name",
            "checkpointdb/backup/directory_remote.py",
            "sync_directory(target.parent)",
            "push first",
        ),
        (
            "the name of what was pulled is not flushed",
            "checkpointdb/store/backing.py",
            "sync_directory(directory.parent)",
            "pull",
        ),
        (
            "the archive of an encrypted export is not flushed",
            "checkpointdb/store/parcel.py",
            "sync(file.fileno())",
            "export encrypted",
        ),
        (
            "the name of an export is not flushed",
            "checkpointdb/store/parcel.py",
            "sync_directory(file.parent)",
            "export",
        ),
        (
            "what a prune deletes of a backup comes back",
            "checkpointdb/backup/directory_remote.py",
            "sync_directory(directory)",
            "prune a remote",
        ),
        (
            "the names in what was pulled are not flushed",
            "checkpointdb/store/backing.py",
            "sync_directory(each)",
            "pull",
        ),
        (
            "the file of a stream is not flushed",
            "checkpointdb/streamed.py",
            "sync(file.fileno())",
            "save to a file",
        ),
        (
            "the name of a stream's file is not flushed",
            "checkpointdb/streamed.py",
            "sync_directory(target.parent)",
            "save to a file",
        ),
        (
            "the name of a store that an import made is not flushed",
            "checkpointdb/cli/session.py",
            "sync_directory(store.parent)",
            "import by command",
        ),
    )
)

_UNFLUSHED = tuple(
    Mutant(bug, file, line, line.replace("durable=True", "durable=False"), stopped(operation))
    for bug, file, line, operation in (
        (
            "files that are encrypted anew are not flushed",
            "checkpointdb/store/resealing.py",
            "durable=True,",
            "re-encrypt",
        ),
        (
            "the payloads of what was pulled are not flushed",
            "checkpointdb/store/backing.py",
            "return LocalPayloads(room / PAYLOAD_DIRECTORY, durable=True)",
            "pull",
        ),
        (
            "directories above what was pulled are not flushed",
            "checkpointdb/store/backing.py",
            "make_directories(room, durable=True)",
            "pull",
        ),
        (
            "the directory that a rebuild made is not flushed",
            "checkpointdb/store/encryption.py",
            "make_directories(directory, durable=True)",
            "rebuild elsewhere",
        ),
        (
            "directories above what an import made are not flushed",
            "checkpointdb/cli/session.py",
            "make_directories(store.parent, durable=True)",
            "import by command",
        ),
        (
            "the directories of a backup are not flushed",
            "checkpointdb/backup/directory_remote.py",
            "make_directories(target.parent, durable=True)",
            "push first",
        ),
        (
            "what a backup received is not flushed",
            "checkpointdb/backup/directory_remote.py",
            "writer = LocalWriter(str(path), self._root, durable=True)",
            "push first",
        ),
    )
)

_REFUSED = Mutant(
    "a flush that the disk refuses is taken for done",
    "checkpointdb/directories.py",
    "os.fsync(descriptor)",
    "try:\n            os.fsync(descriptor)\n        except OSError:\n            pass",
    "faults/test_failing_calls.py",
)

FLUSHES = (*_LEFT_OUT, *_UNFLUSHED, _REFUSED)
