"""A gate that transactions pass, closed while the process forks.

SQLite keeps a file's locks in structures of the process. A child inherits these, but not the
locks: it would believe that it holds what only its parent holds, and the parent, when it closes
its last connection, would delete the write-ahead log that the child is writing. So no connection
may be open at the moment of a fork: transactions in other threads are waited for, new ones wait,
and every database closes its connections. (Forgetting them in the child alone, which was tried,
leaves SQLite's structures behind.)
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A transaction that lasts longer is taken for stuck: to hang in fork would be worse.
_PATIENCE_SECONDS = 30.0


class Gate:
    """Counts the transactions of one database, by thread."""

    def __init__(self, close_connections: Callable[[], None]) -> None:
        self._close_connections = close_connections
        # Entered itself: an interrupt in a condition's own `__exit__` would leave it locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._inside: dict[int, int] = {}
        self._is_closed = False
        _gates.add(self)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Hold the gate open for a transaction; one within another does not wait."""
        me, is_inside = threading.get_ident(), False
        try:
            with self._lock:
                while self._is_closed and me not in self._inside:
                    self._changed.wait()
                self._inside[me] = self._inside.get(me, 0) + 1
                is_inside = True
            yield
        finally:
            with self._lock:
                if is_inside:
                    # Nothing is called before it is counted: an interrupt would come in it.
                    self._inside[me] -= 1
                    if not self._inside[me]:
                        del self._inside[me]
                    self._changed.notify_all()

    def shut(self) -> bool:
        """Wait for the transactions of other threads, then close all connections.

        False if one is left: of this thread, or one that takes too long.
        """
        me = threading.get_ident()
        with self._lock:
            self._is_closed = True
            self._changed.wait_for(lambda: not self._inside.keys() - {me}, _PATIENCE_SECONDS)
        self._close_connections()
        return not self._inside

    def reopen(self) -> None:
        """Let transactions in again."""
        with self._lock:
            self._is_closed = False
            self._changed.notify_all()


_gates: weakref.WeakSet[Gate] = weakref.WeakSet()


class _Fork:
    """What happened to the gates at the last fork; one thread forks at a time."""

    lock = threading.Lock()
    all_shut = True
    child_is_unsafe = False


def is_unsafe_child() -> bool:
    """Say whether this process was forked while a transaction was open."""
    return _Fork.child_is_unsafe


def _before_fork() -> None:
    _Fork.lock.acquire()
    _Fork.all_shut = True
    for gate in list(_gates):
        _Fork.all_shut = gate.shut() and _Fork.all_shut


def _after_fork_in_parent() -> None:
    for gate in list(_gates):
        gate.reopen()
    _Fork.lock.release()


def _after_fork_in_child() -> None:
    # The parent's gates may be in any state; each database makes itself a new one when used.
    _gates.clear()
    _Fork.lock = threading.Lock()
    _Fork.child_is_unsafe = _Fork.child_is_unsafe or not _Fork.all_shut


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
