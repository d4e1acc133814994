"""Progress bars, on the error stream and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import click

from checkpointdb.contexts import contextmanager

progress_option = click.option(
    "--progress/--no-progress",
    default=True,
    help="Show how far it is, on stderr and only on a terminal; as is usual.",
)


@contextmanager
def bar(label: str, wanted: bool) -> Iterator[Callable[[int, int], object] | None]:
    """Yield what moves a bar, called with what is done and what there is in all."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(label, total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total)


@contextmanager
def bytes_bar(label: str, wanted: bool) -> Iterator[Callable[[int, int], object] | None]:
    """Yield what moves a bar of bytes, with their rate and the time that is left."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(label, total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total)
