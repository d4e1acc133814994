"""One attempt at a run: who begins it last has it, and no run replaces what another has saved.

An attempt that goes on although another was begun (by a second process, or since a machine that
was taken for dead lives) finds the other's checkpoints, and ends. A lock would have to be told from
that of a process that was killed, on every file system and server.
"""

from __future__ import annotations

import secrets

from checkpointdb.errors import InvalidInputError, RunTakenError
from checkpointdb.store import PipelineCheckpoint
from checkpointdb.store.validation import checked_id


class Attempt:
    """An attempt at a run, by its token, and those that it knows to be over."""

    def __init__(self, store: PipelineCheckpoint, workflow: str, run_id: str) -> None:
        self.token = secrets.token_hex(8)
        self._store = store
        self._workflow = workflow
        self._run_id = run_id
        self._free: set[str] = set()  # ids that no other run has
        self._known = self._attempts() | {self.token}

    def check_alone(self) -> None:
        """Raise RunTakenError if an attempt that began later has saved a checkpoint."""
        if self._attempts() <= self._known:
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
