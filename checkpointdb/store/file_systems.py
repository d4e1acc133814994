"""What of the place of a database is warned of: a network's file system, and hard links.

Which file system a directory lies on is found out as far as that can be: on Linux.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")

# What other machines may write to at the same time, by its name in the table of mounts.
_NETWORK = re.compile(
    r"nfs4?|cifs|smb3|smbfs|9p|afs|ceph|lustre|gpfs|beegfs|glusterfs|orangefs|pvfs2|ncpfs"
    r"|fuse\.(sshfs|s3fs|s3ql|rclone|gcsfuse|goofys|glusterfs|ceph|juicefs|mount-s3|davfs2?)"
)
_ESCAPED = re.compile(rb"\\([0-7]{3})")

_looked_at: set[str] = set()

log = logging.getLogger("checkpointdb")


def warn_of_network(directory: Path) -> None:
    """Log a warning, once in a process, if the database lies on a file system of a network.

    Not refused: while all processes that use the store run on one machine, most of them work. What
    counts as one cannot be found out everywhere, and is not tried out: a lock that is not seen by
    another machine looks here as any other.
    """
    if str(directory) in _looked_at:
        return
    _looked_at.add(str(directory))
    kind = network_file_system(directory)
    if kind is None:
        return
    log.warning(
        "the database of %r lies on a network's file system (%s), where SQLite is safe only while "
        "all processes that use the store run on one machine: keep the directory on a local disk, "
        "and only the payloads there, by payload_url=%r",
        str(directory),
        kind,
        (directory / "payloads").as_uri(),
    )


def warn_of_links(path: Path) -> None:
    """Log a warning, once in a process, if a database is another directory's too, by a hard link.

    Not refused: as long as nobody opens a copy that was made so, it only is none.
    """
    try:
        names = path.stat().st_nlink
    except OSError:
        return  # whoever opens it tells
    if names < 2 or str(path) in _looked_at:
        return
    _looked_at.add(str(path))
    log.warning(
        "the database %r has %d names, as in a copy by hard links (cp -al): what is saved or "
        "forgotten here is in the other directory too, without its payloads; give each a file of "
        "its own, while no store is open, by copying it and renaming the copy to its name",
        str(path),
        names,
    )


def network_file_system(directory: Path) -> str | None:
    """Return the name of the file system that a directory lies on, if it is one of a network."""
    try:
        table = MOUNTS.read_bytes()
    except OSError:
        return None  # not Linux
    path = os.fsencode(directory.resolve())
    kinds = {point: kind for point, kind in map(_mount, table.splitlines()) if _is_in(path, point)}
    kind = kinds[max(kinds, key=len)] if kinds else ""
    return kind if _NETWORK.fullmatch(kind) else None


def _mount(line: bytes) -> tuple[bytes, str]:
    """Return where a line says that something is mounted, and its kind; later lines hide others."""
    _, point, kind, *_ = [*line.split(b" "), b"", b""]
    point = _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), point)  # spaces, and the like
    return point, kind.decode("ascii", "replace")


def _is_in(path: bytes, point: bytes) -> bool:
    return path == point or path.startswith(point.rstrip(b"/") + b"/")
