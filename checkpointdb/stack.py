"""Whether there is room on the stack: what cannot be read near its end is not damaged for that."""

from __future__ import annotations

import sys

# What reads a row takes a third of it, with metadata as deep as it may be.
_ROOM = 250


def is_used_up() -> bool:
    """Say whether a RecursionError, just caught, is that of who called from deep within.

    Otherwise it is of what was read: JSON that is nested too deep.
    """
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return sys.getrecursionlimit() - depth < _ROOM
