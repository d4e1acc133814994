"""Members to read, divided among threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any


def runs(members: Iterable[Any], most_bytes: int) -> Iterator[list[Any]]:
    """Cut members, which are in the order of files, into runs of one file."""
    for _, group in groupby(members, key=lambda member: member.payload_id):
        run: list[Any] = []
        run_bytes = 0
        for member in group:
            run.append(member)
            run_bytes += member.stored_bytes
            if run_bytes >= most_bytes:
                yield run
                run, run_bytes = [], 0
        if run:
            yield run


def shares(runs: Iterable[list[Any]], least_bytes: int) -> Iterator[list[list[Any]]]:
    """Gather runs into what one thread reads."""
    share: list[list[Any]] = []
    share_bytes = 0
    for run in runs:
        share.append(run)
        share_bytes += sum(member.stored_bytes for member in run)
        if share_bytes >= least_bytes:
            yield share
            share, share_bytes = [], 0
    if share:
        yield share
