"""Stores to measure, opened in folders of their own and closed when a benchmark ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from checkpointdb import PipelineCheckpoint, RetentionPolicy

from .figures import Setting
from .naive import LEVEL, Naive


class Stores:
    def __init__(self, setting: Setting, stack: ExitStack) -> None:
        self._setting = setting
        self._stack = stack

    def ours(self, keep: int | None = None, **options: Any) -> PipelineCheckpoint:
        """Open a store of ours that keeps the newest `keep` checkpoints, all if None."""
        if keep is None:
            options["retention_policy"] = RetentionPolicy.KEEP_ALL
        else:
            options["retention_count"] = keep
        folder = self._setting.new_folder("ours")
        store = PipelineCheckpoint(folder, durable=self._setting.durable, **options)
        return self._stack.enter_context(store)

    def naive(self, level: int = LEVEL) -> Naive:
        folder = self._setting.new_folder("naive")
        return Naive(folder, durable=self._setting.durable, level=level)


@contextmanager
def opened(setting: Setting) -> Iterator[Stores]:
    with ExitStack() as stack:
        yield Stores(setting, stack)
