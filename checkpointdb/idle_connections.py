"""Connections that nobody uses just now.

Not SQLAlchemy's own pool: it guards a queue by a condition, whose `__exit__` is Python. What a
signal's handler raises there leaves the queue locked, and every other thread waits for ever. A
deque's steps are C, and need no lock.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from sqlalchemy import Pool
from sqlalchemy.pool import ConnectionPoolEntry

_MOST = 5  # as SQLAlchemy's


class IdleConnections(Pool):
    """A pool that opens as many connections as are asked for at once, and keeps a few."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: deque[ConnectionPoolEntry] = deque()
        self._is_disposed = False

    def status(self) -> str:
        """Return how many there are, as SQLAlchemy shows it."""
        return f"{len(self._idle)} idle connections"

    def dispose(self) -> None:
        """Close them, and those in use when they come back."""
        self._is_disposed = True
        while (idle := self._taken()) is not None:
            idle.close()

    def recreate(self) -> IdleConnections:
        """Return one for later: what is in use comes back to this one."""
        return IdleConnections(
            self._creator, dialect=self._dialect, pre_ping=self._pre_ping, _dispatch=self.dispatch
        )

    def _do_get(self) -> ConnectionPoolEntry:
        return self._taken() or self._create_connection()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if len(self._idle) < _MOST:
            self._idle.append(record)
        else:
            record.close()
        # Asked last: it may have been disposed of meanwhile. A connection that stayed would be open
        # at the next fork (see `gate`).
        if self._is_disposed:
            self.dispose()

    def _taken(self) -> ConnectionPoolEntry | None:
        try:
            return self._idle.popleft()
        except IndexError:  # not asked before: another thread may take the last meanwhile
            return None
