"""How a call may fail: which calls, and what they return instead."""

from __future__ import annotations

import errno
from typing import NamedTuple

OPENS = frozenset({"openat"})
WRITES = frozenset({"write", "pwrite64", "writev", "sendfile", "copy_file_range"})
SIZES = frozenset({"ftruncate", "fallocate"})
MAKES = frozenset({"mkdir", "mkdirat"})
FLUSHES = frozenset({"fsync", "fdatasync"})
NAMES = frozenset({"rename", "renameat", "renameat2", "link", "linkat"})
UNLINKS = frozenset({"unlink", "unlinkat", "rmdir"})
READS = frozenset({"read", "pread64", "getdents64"})
STATS = frozenset({"access", "faccessat", "faccessat2", "stat", "lstat", "newfstatat", "statx"})


class Kind(NamedTuple):
    """Calls that fail; by no error, but half the bytes, where it is None.

    For want of room an open fails only if it makes a file.
    """

    calls: frozenset[str]
    error: int | None


KINDS = {
    "full disk": Kind(WRITES | SIZES | MAKES | NAMES | OPENS | FLUSHES, errno.ENOSPC),
    "failed write": Kind(WRITES | SIZES, errno.EIO),
    "short write": Kind(WRITES, None),
    "failed flush": Kind(FLUSHES, errno.EIO),
    "failed name": Kind(NAMES, errno.EIO),
    "refused name": Kind(NAMES | MAKES, errno.EACCES),
    "failed unlink": Kind(UNLINKS, errno.EIO),
    "refused unlink": Kind(UNLINKS, errno.EACCES),
    "no descriptors": Kind(OPENS, errno.EMFILE),
    "refused open": Kind(OPENS, errno.EACCES),
    "failed open": Kind(OPENS | MAKES, errno.EIO),
    "failed read": Kind(READS, errno.EIO),
    "failed stat": Kind(STATS, errno.EIO),
    "refused stat": Kind(STATS, errno.EACCES),
}
