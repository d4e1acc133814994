"""Files that nothing needs any more: unlinked after the commit that freed them.

Their names stand in `removals` from that commit on. A row is spent when its file is gone. Spent
rows are deleted by a later save's transaction, some at a time, so that a save costs one commit
and seldom a statement for them. While somebody holds a lease nothing is unlinked: a push copies
what the rows named when it began. Whoever opens the store after it does what was held back.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache

from sqlalchemy import Connection, Text, delete, literal, select

from checkpointdb.database import Database
from checkpointdb.errors import CheckpointError
from checkpointdb.inventory import names_to_remove
from checkpointdb.payloads import PayloadStore
from checkpointdb.queries import items, open_leases
from checkpointdb.schema import removals
from checkpointdb.statements import Prepared

_MANY_SPENT = 20

log = logging.getLogger("checkpointdb")


class Trash:
    """The removals that one handle has worked off."""

    def __init__(self, payloads: PayloadStore, database: Database) -> None:
        self._payloads = payloads
        self._database = database
        self._lock = threading.RLock()
        self._spent: list[str] = []

    def empty(self, names: Iterable[str]) -> None:
        """Unlink payloads whose removal is committed; what fails or is held is left for later."""
        names = list(names)
        if names and not self._is_held():
            self.unlink(names)

    def unlink(self, names: list[str]) -> None:
        """Do so without asking for leases: the commit that freed them had seen that there was none.

        A lease is taken under the lock of the whole store, so whoever takes one later copies rows
        that name these files no more.
        """
        if not names:
            return
        failed = self._payloads.delete_all(names)
        for name, error in failed.items():
            log.warning("payload %s could not be removed, sweep() will retry: %s", name, error)
        with self._lock:
            self._spent += [name for name in names if name not in failed]

    def _is_held(self) -> bool:
        """Say whether somebody has a lease, asked after the commit that freed what is unlinked."""
        try:
            with self._database.read() as connection:
                return bool(_leases().run(connection, {"now": datetime.now(UTC)}))
        except CheckpointError as error:
            log.warning("payloads that nothing needs stay for a later sweep(): %s", error)
            return True

    def empty_leftovers(self) -> None:
        """Unlink what a process that stopped between commit and unlinking has left.

        Not within the transaction that reads their names: another is begun here, and where there
        is a journal in place of a log, a writer that waits for the one keeps the other waiting.
        """
        with self._database.read() as connection:
            names = connection.scalars(names_to_remove()).all()
        self.empty(names)

    def clear_spent(self, connection: Connection, *, at_least: int = _MANY_SPENT) -> None:
        """Delete the rows of what is gone, within a write transaction.

        If that is rolled back the rows stay, and the next opening works them off again.
        """
        with self._lock:
            if len(self._spent) < at_least:
                return
            spent, self._spent = self._spent, []
        # All at once: names have no index, and so each statement looks through all of them.
        named = items(literal(json.dumps(spent), Text))
        # Two handles may have worked off the same: what another deletes just now is left to it.
        found = (
            select(removals.c.id)
            .where(removals.c.name.in_(select(named.c.value)))
            .with_for_update(skip_locked=True)
        )
        connection.execute(delete(removals).where(removals.c.id.in_(found)))


@cache
def _leases() -> Prepared:
    return Prepared(open_leases())
