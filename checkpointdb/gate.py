"""A gate that transactions pass, closed while the process forks.

SQLite keeps a file's locks in structures of the process. A child inherits these, but not the
locks: it would believe that it holds what only its parent holds, and the parent, when it closes
its last connection, would delete the write-ahead log that the child is writing. So no connection
may be open at the moment of a fork: transactions in other threads are waited for, new ones wait,
and every database closes its connections. (Forgetting them in the child alone, which was tried,
leaves SQLite's structures behind.)

So are imports, and what makes a store ready: a child would wait for ever for a lock that a thread
had, of a module or of ours, which it does not have.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - what it does at a fork is not to begin within one
import math
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from checkpointdb.errors import StoreBusyError

# A transaction that lasts longer is taken for stuck: to hang in fork would be worse.
_PATIENCE_SECONDS = 30.0


class Closed(Protocol):
    """What closes its connections before a fork."""

    def close(self) -> None: ...


class Turns:
    """Counts the threads inside, `most` at a time; one that is inside need not wait again."""

    def __init__(self, most: float = math.inf, seconds: float | None = None) -> None:
        """Take how many there may be, and how long one waits."""
        self._most = most
        self._seconds = seconds
        # Entered itself: an interrupt in a condition's own `__exit__` would leave it locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._inside: dict[int, int] = {}

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Be inside. Raises StoreBusyError if one has waited too long."""
        me, is_inside = threading.get_ident(), False
        try:
            with self._lock:
                if not self._changed.wait_for(lambda: self._may_pass(me), self._seconds):
                    raise StoreBusyError(
                        f"{self._most} other threads of this process read the store, and none was "
                        f"done within {self._seconds:g} s: try again, or let fewer read at once"
                    )
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

    def _may_pass(self, me: int) -> bool:
        return me in self._inside or len(self._inside) < self._most


class Gate(Turns):
    """Counts by thread what a fork waits for. A process has one: a child begins with its own.

    One within another, be it another database's, does not wait.
    """

    def __init__(self) -> None:
        super().__init__()
        # Of two threads that create one store, one must see that the other did.
        self.preparing = threading.RLock()
        self._closed_by: int | None = None  # the thread that forks
        self._databases: weakref.WeakSet[Closed] = weakref.WeakSet()

    def admit(self, database: Closed) -> None:
        """Let a database be closed before each fork, for as long as it is used."""
        with self._lock:  # a set that grows cannot be gone through
            self._databases.add(database)

    def _may_pass(self, me: int) -> bool:
        return self._closed_by in {None, me} or me in self._inside

    def shut(self) -> bool:
        """Wait for what other threads have inside, then close all connections.

        False if some is left: of this thread, or what takes too long.
        """
        me = threading.get_ident()
        with self._lock:
            self._closed_by = me
            self._changed.wait_for(lambda: not self._inside.keys() - {me}, _PATIENCE_SECONDS)
            databases = list(self._databases)
        for each in databases:
            each.close()
        return not self._inside

    def reopen(self) -> None:
        """Let others in again."""
        with self._lock:
            self._closed_by = None
            self._changed.notify_all()


class _Fork:
    """What happened to the gate at the last fork; one thread forks at a time."""

    lock = threading.Lock()
    gate = Gate()
    is_shut = True
    child_is_unsafe = False


def the_gate() -> Gate:
    """Return the gate of this process."""
    return _Fork.gate


def passing() -> AbstractContextManager[None]:
    """Keep a fork waiting, until the block ends."""
    return _Fork.gate.passing()


def is_unsafe_child() -> bool:
    """Say whether this process was forked while a transaction was open."""
    return _Fork.child_is_unsafe


def _before_fork() -> None:
    _Fork.lock.acquire()
    _Fork.is_shut = False  # whatever happens here: the process forks all the same
    _Fork.is_shut = _Fork.gate.shut()


def _after_fork_in_parent() -> None:
    _Fork.gate.reopen()
    _Fork.lock.release()


def _after_fork_in_child() -> None:
    # The parent's gate may be in any state; each database joins the new one when used.
    _Fork.gate = Gate()
    _Fork.lock = threading.Lock()
    _Fork.child_is_unsafe = _Fork.child_is_unsafe or not _Fork.is_shut


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
