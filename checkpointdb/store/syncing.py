"""Backups by themselves: a thread that pushes now and then, and once more when a handle closes.

It is a daemon and holds no handle: neither keeps an interpreter or a handle alive. A handle that
closes, or an interpreter that exits, waits for the last push for so long, and no longer; what is
then not there yet is pushed by whoever opens the store next. Only the process that opened the
handle has the thread: its forked children leave that to it.

After a push the snapshots go that a policy does not keep: else the remote would grow with every
push. What only they named goes once a week, since for that every other snapshot is read.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from checkpointdb.backup import ledger
from checkpointdb.backup.remote import Remote
from checkpointdb.database import Database
from checkpointdb.errors import CheckpointError, StoreBusyError
from checkpointdb.reports import PushReport

# What a handle that closes waits for its last push.
CLOSING_SECONDS = 30.0
# After a push that failed: at first, and at most, but never longer than the interval.
_FIRST_RETRY_SECONDS = 5.0
_MOST_RETRY_SECONDS = 600.0
# How long a handle that closes lets another that pushes go on, before it asks again.
_BUSY_SECONDS = 0.2

log = logging.getLogger("checkpointdb")

Push = Callable[[], PushReport]
Prune = Callable[[bool], object]  # of snapshots alone, or of what only they named too


class Syncing:
    """The thread that pushes for one handle."""

    def __init__(
        self,
        database: Database,
        remote: Remote,
        push: Push,
        prune: Prune,
        interval_seconds: float,
    ) -> None:
        self._database = database
        self._remote = remote
        self._push = push
        self._prune = prune
        self._is_week_over = False
        self._interval_seconds = interval_seconds
        self._pid = os.getpid()
        self._is_closing = threading.Event()
        self._is_stopped = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="checkpointdb-backup", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End without another push."""
        self._is_stopped = True
        self._is_closing.set()

    def close(self) -> None:
        """Push once more what is new, and end; wait for that, but not for long."""
        self._is_closing.set()
        if self._pid != os.getpid() or threading.current_thread() is self._thread:
            return  # in a child; or the garbage collector closes a handle just here
        self._thread.join(CLOSING_SECONDS)
        if self._thread.is_alive():
            log.warning(
                "the backup to %s was not done in %g s and is left to the next opening",
                self._remote.url,
                CLOSING_SECONDS,
            )

    def _run(self) -> None:
        while not self._is_closing.wait(self._pause_seconds()):
            self._push_if_due()
        deadline = time.monotonic() + CLOSING_SECONDS
        while not self._is_stopped and time.monotonic() < deadline:
            if self._push_if_due(is_last=True):
                return
            time.sleep(_BUSY_SECONDS)

    def _pause_seconds(self) -> float:
        if not self._failures:
            return self._interval_seconds
        pause = _FIRST_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 20)
        return min(pause, _MOST_RETRY_SECONDS, self._interval_seconds)

    def _push_if_due(self, *, is_last: bool = False) -> bool:
        """Push, unless nothing is new, or another handle has just pushed: False if one is at it.

        Whatever goes wrong is noted: a save never fails because of it.
        """
        try:
            if not self._is_due(is_last=is_last):
                return True
            for name, why in self._push().unreadable:
                log.warning("payload %s is damaged and was not backed up: %s", name, why)
            self._failures = 0
            self._prune_snapshots()
        except StoreBusyError as error:
            log.info("no backup now: %s", error)
            return False
        except Exception as error:  # noqa: BLE001 - a thread that ends would back up no more
            self._failures += 1
            log.warning("the backup to %s failed, to be retried: %s", self._remote.url, error)
            self._note_failure(str(error))
        return True

    def _is_due(self, *, is_last: bool) -> bool:
        with self._database.read() as connection:
            known = ledger.standing(connection, self._remote.url)
            if known.mark == ledger.mark_of(connection):
                return False
        if known.pushed_at is None:
            return True
        self._is_week_over |= _week(known.pushed_at) != _week(datetime.now(UTC))
        if is_last:
            return True
        # Many handles share a store: who comes first in an interval pushes for all.
        age = (datetime.now(UTC) - known.pushed_at).total_seconds()
        return not 0 <= age < self._interval_seconds / 2

    def _prune_snapshots(self) -> None:
        """Delete the snapshots that are not kept; what fails is done after the next push."""
        try:
            self._prune(not self._is_week_over)
            self._is_week_over = False
        except Exception as error:  # noqa: BLE001 - the push went well, and is not made again
            log.warning("old snapshots at %s stay for now: %s", self._remote.url, error)

    def _note_failure(self, failure: str) -> None:
        try:
            with self._database.write() as connection:
                now = datetime.now(UTC)
                ledger.note(connection, self._remote.url, failed_at=now, failure=failure[:1000])
        except CheckpointError as error:
            log.warning("that it failed could not be noted: %s", error)


def _week(moment: datetime) -> tuple[int, int]:
    return moment.isocalendar()[:2]
