"""One attempt at a run: who begins it last has it, and no run replaces what another has saved.

An attempt that goes on although another was begun (by a second process, or since a machine that
was taken for dead lives) finds the other's checkpoints, and ends. A lock would have to be told from
that of a process that was killed, on every file system and server.

Tokens are in the order of beginning: by the clock, but after all that had saved something by then,
whatever their clocks said. Of two that saved nothing yet the clocks decide; even where those of two
machines differ, all agree on one that has the run.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable

from checkpointdb.errors import InvalidInputError, RunTakenError
from checkpointdb.store import PipelineCheckpoint
from checkpointdb.store.validation import checked_id

_TOKEN = re.compile(r"([0-9]{20,40})-[0-9a-f]+")


class Attempt:
    """An attempt at a run, by its token."""

    def __init__(self, store: PipelineCheckpoint, workflow: str, run_id: str) -> None:
        self._store = store
        self._workflow = workflow
        self._run_id = run_id
        self._free: set[str] = set()  # ids that no other run has
        self.token = _new_token(self._attempts())

    def check_alone(self) -> None:
        """Raise RunTakenError if an attempt that began later has saved a checkpoint.

        One that began earlier, and has not seen this one yet, is in nobody's way: it will.
        """
        own = _order(self.token)
        if all(_order(each) <= own for each in self._attempts()):
            return
        raise RunTakenError(
            f"run {self._run_id!r} of {self._workflow!r} was begun again meanwhile, by another "
            "process or thread, which has it now: nothing more of this one is saved. Give each "
            "its own run_id"
        )

    def check_free(self, checkpoint_id: object) -> None:
        """Raise InvalidInputError for what is no id, or the id of a checkpoint of another run."""
        checked = checked_id(checkpoint_id)
        if checked in self._free:
            return
        found = self._store.get_checkpoint_info(checked)
        about = {} if found is None else found.custom_metadata
        if "workflow" in about and (about["workflow"], about.get("run")) != (
            self._workflow,
            self._run_id,
        ):
            raise InvalidInputError(
                f"checkpoint {checked!r} is of run {about.get('run')!r} of {about['workflow']!r}, "
                "and would be replaced: give this run another id, or forget that checkpoint"
            )
        self._free.add(checked)

    def _attempts(self) -> set[str]:
        return self._store.attempts(self._workflow, self._run_id)


def _new_token(known: Iterable[str]) -> str:
    """Return a token that comes after those that are known: clocks may be set back."""
    newest = max((_order(each)[0] for each in known), default=0)
    return f"{max(time.time_ns(), newest + 1):020}-{secrets.token_hex(8)}"


def _order(token: str) -> tuple[int, str]:
    """Return when an attempt began among others. What has no time, as older ones, was first."""
    found = _TOKEN.fullmatch(token)
    return (int(found[1]) if found else 0), token
