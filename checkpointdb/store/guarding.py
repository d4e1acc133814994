"""Payloads in a place that others can reach too: nothing is written or missed in a wrong one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

from checkpointdb.errors import StoreUnavailableError
from checkpointdb.payloads import PayloadFile, PayloadReader, PayloadStore, PayloadWriter

# So long a place that was looked at is taken to be the same: one small request a minute.
_TRUSTED_SECONDS = 60.0


class GuardedPayloads:
    """Payloads of a place that is looked at before anything is written, deleted or missed.

    `check` raises if it is not the right one. Not before each read: what is found there by its
    name is verified anyway, and a store can be listed where its place is out of reach.
    """

    def __init__(self, payloads: PayloadStore, check: Callable[[bool], None]) -> None:
        self._payloads = payloads
        self._check = check
        self._prepare: Callable[[], None] = lambda: None
        self._trusted_until = self._prepared_until = 0.0

    def flushing(self) -> GuardedPayloads:
        return GuardedPayloads(self._payloads.flushing(), self._check)

    def __repr__(self) -> str:
        return repr(self._payloads)

    @property
    def names_first(self) -> bool:
        return self._payloads.names_first

    @property
    def flushes_unnamed(self) -> bool:
        return self._payloads.flushes_unnamed

    def prepare_by(self, prepare: Callable[[], None]) -> None:
        """Call this before payloads are written, as often as the place is looked at."""
        self._prepare = prepare

    def create(self, name: str) -> PayloadWriter:
        self._look()
        if time.monotonic() >= self._prepared_until:
            self._prepare()
            self._prepared_until = time.monotonic() + _TRUSTED_SECONDS
        return self._payloads.create(name)

    @property
    def scratch_directory(self) -> Path:
        return self._payloads.scratch_directory

    def scratch(self) -> IO[bytes]:
        self._look()
        return self._payloads.scratch()

    def publish(self, writer: PayloadWriter, name: str) -> None:
        self._payloads.publish(writer, name)

    def give_name(self, writer: PayloadWriter, name: str) -> None:
        self._payloads.give_name(writer, name)

    def flush_name(self, name: str) -> None:
        self._payloads.flush_name(name)

    def exists(self, name: str) -> bool:
        return self._payloads.exists(name)

    def open(self, name: str) -> PayloadReader:
        try:
            return self._payloads.open(name)
        except FileNotFoundError:
            self._look(now=True)  # not damage, if it is another place, or an empty mount point
            raise

    def delete(self, name: str) -> None:
        self._look()
        self._payloads.delete(name)

    def delete_all(self, names: Collection[str]) -> dict[str, Exception]:
        if not names:
            return {}
        try:
            # A minute may be too long: what is gone is gone for its new owner.
            self._look(now=True, in_haste=True)
        except StoreUnavailableError as error:
            return dict.fromkeys(names, error)
        return self._payloads.delete_all(names)

    def files(self) -> Iterator[PayloadFile]:
        self._look(now=True)
        return self._payloads.files()

    def unfinished(self) -> Iterator[PayloadFile]:
        return self._payloads.unfinished()

    def now(self) -> datetime:
        self._look()
        return self._payloads.now()

    def locate(self, name: str) -> str:
        return self._payloads.locate(name)

    def note(self, name: str, *, in_haste: bool = False) -> bytes | None:
        return self._payloads.note(name, in_haste=in_haste)

    def put_note(self, name: str, content: bytes, *, is_new: bool = False) -> bool:
        self._look()
        return self._payloads.put_note(name, content, is_new=is_new)

    def _look(self, *, now: bool = False, in_haste: bool = False) -> None:
        if now or time.monotonic() >= self._trusted_until:
            self._check(in_haste)
            self._trusted_until = time.monotonic() + _TRUSTED_SECONDS
