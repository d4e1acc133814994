"""A gate that transactions pass, closed while the process forks.

SQLite keeps a file's locks in structures of the process. A child inherits these, but not the
locks: it would believe that it holds what only its parent holds, and the parent, when it closes
its last connection, would delete the write-ahead log that the child is writing. So no connection
may be open at the moment of a fork: transactions in other threads are waited for, new ones wait,
and every database closes its connections. (Forgetting them in the child alone, which was tried,
leaves SQLite's structures behind.)

So are imports, and what makes a store ready: a child would wait for ever for a lock that a thread
had, of a module or of ours, which it does not have.

A signal's handler may raise in what is called at a fork, too: Python tells of it and forks all the
same. What has to be done whatever comes is called in C, where no handler runs.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - what it does at a fork is not to begin within one
import math
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

from checkpointdb.contexts import contextmanager
from checkpointdb.errors import StoreBusyError

# A transaction that lasts longer is taken for stuck: to hang in fork would be worse.
_PATIENCE_SECONDS = 30.0
# How long a waiter may miss that a fork is over, if an interrupt came where it would be told.
_LOOK_AGAIN_SECONDS = 1.0


class Closed(Protocol):
    """What closes its connections before a fork."""

    def close(self) -> None: ...


class Turns:
    """Counts the threads inside, `most` at a time; one that is inside need not wait again."""

    def __init__(self, most: float = math.inf, seconds: float = _LOOK_AGAIN_SECONDS) -> None:
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
                while not self._changed.wait_for(lambda: self._may_pass(me), self._seconds):
                    self._give_up()
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

    def _give_up(self) -> None:
        raise StoreBusyError(
            f"{self._most} other threads of this process read the store, and none was "
            f"done within {self._seconds:g} s: try again, or let fewer read at once"
        )


class Gate(Turns):
    """Counts by thread what a fork waits for. A process has one: a child begins with its own.

    One within another, be it another database's, does not wait.
    """

    def __init__(self) -> None:
        super().__init__()
        # Of two threads that create one store, or follow one fork, one must see that the other did.
        self.preparing = threading.RLock()
        self._closed_by: int | None = None  # the thread that forks
        self._databases: weakref.WeakSet[Closed] = weakref.WeakSet()

    def admit(self, database: Closed) -> None:
        """Let a database be closed before each fork, for as long as it is used."""
        with self._lock:  # a set that grows cannot be gone through
            self._databases.add(database)

    def _may_pass(self, me: int) -> bool:
        is_open = self._closed_by in {None, me} or not _Fork.is_going_on
        return is_open or me in self._inside

    def _give_up(self) -> None:
        """Look again: whoever forks may have been interrupted before it told."""

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
    """What happens to the gate at a fork; one thread forks at a time."""

    lock = threading.RLock()  # a child has it as the thread that forked has it
    gate = Gate()
    is_going_on = False
    is_shut = False
    child_is_unsafe = False


def the_gate() -> Gate:
    """Return the gate of this process."""
    return _Fork.gate


def passing() -> AbstractContextManager[None]:
    """Keep a fork waiting, until the block ends."""
    return _Fork.gate.passing()


class Inherited(Protocol):
    """What notes the process that it was made in."""

    _pid: int


def follow_fork(each: Inherited, begin: Callable[[], None]) -> None:
    """Let what was made before a fork begin anew in the child: once, before any thread goes on.

    One that went on sooner would wait for locks that a thread of the parent had.
    """
    if each._pid != os.getpid():
        with _Fork.gate.preparing:
            if each._pid != os.getpid():
                begin()
                each._pid = os.getpid()


def is_unsafe_child() -> bool:
    """Say whether this process was forked while a transaction was open."""
    return _Fork.child_is_unsafe


def _before_fork() -> None:
    # A handler of a signal may fork meanwhile; and lets others in when it has.
    _Fork.is_shut = _Fork.gate.shut() and _Fork.is_going_on


def _after_fork_in_parent() -> None:
    _Fork.gate.reopen()


def _after_fork_in_child() -> None:
    _Fork.child_is_unsafe = _Fork.child_is_unsafe or not _Fork.is_shut
    # The parent's gate may be in any state; each database joins the new one when used.
    _Fork.gate = Gate()


if hasattr(os, "register_at_fork"):
    _begins = partial(setattr, _Fork, "is_going_on", True)
    _ends = partial(setattr, _Fork, "is_going_on", False)
    _may_fail = partial(setattr, _Fork, "is_shut", False)
    _release = _Fork.lock.release
    # What is called before a fork is called in the opposite order: the lock is taken first, and
    # given back last.
    os.register_at_fork(
        before=_before_fork, after_in_parent=_ends, after_in_child=_after_fork_in_child
    )
    os.register_at_fork(
        before=_may_fail, after_in_parent=_after_fork_in_parent, after_in_child=_ends
    )
    os.register_at_fork(before=_begins)
    os.register_at_fork(
        before=_Fork.lock.acquire, after_in_parent=_release, after_in_child=_release
    )
