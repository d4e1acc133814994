"""One run: stages called in their order, a checkpoint after each, and what went wrong noted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from checkpointdb.contexts import contextmanager
from checkpointdb.errors import CheckpointError, InvalidInputError, NotFoundError, RunTakenError
from checkpointdb.pipeline.attempts import Attempt
from checkpointdb.pipeline.events import Event, Kind
from checkpointdb.pipeline.metrics import plain
from checkpointdb.pipeline.points import Point, default_id
from checkpointdb.pipeline.problems import describe
from checkpointdb.pipeline.resuming import Start, step_checkpoints
from checkpointdb.pipeline.stages import Identity, Stage
from checkpointdb.pipeline.states import as_dict
from checkpointdb.pipeline.steps import Steps
from checkpointdb.pipeline.termination import Termination
from checkpointdb.runs import Failure
from checkpointdb.serialize import type_name
from checkpointdb.store import PipelineCheckpoint
from checkpointdb.store.background import PendingSave
from checkpointdb.store.capturing import can_be_captured

log = logging.getLogger("checkpointdb")


class Options(NamedTuple):
    """What concerns all runs of a pipeline."""

    checkpoint_id: Callable[[Point], str]
    full_last: bool
    background: bool
    progress: Callable[[Event], object] | None


class Run:
    """One run of a pipeline."""

    def __init__(
        self,
        workflow: str,
        store: PipelineCheckpoint,
        stages: Sequence[Stage],
        identities: Sequence[Identity],
        run_id: str,
        attempt: Attempt,
        start: Start,
        options: Options,
        metadata: Mapping[str, Any],
        termination: Termination,
    ) -> None:
        self.workflow = workflow
        self.state = start.state
        self.returned: Any = None  # by the stage that was called
        self._store = store
        self._stages = stages
        self._identities = identities
        self._run_id = run_id
        self._attempt = attempt
        self._start = start
        self._options = options
        self._metadata = metadata
        self._termination = termination
        self._number = start.completed
        # The last that is known to be saved, then those that may be.
        self._saves: list[tuple[str | None, PendingSave | None]] = [(start.checkpoint_id, None)]
        # Checkpoints of steps, of no use once their stage has its own. Also of earlier attempts:
        # one that was killed could not clear them.
        ids = {self._id_of_steps(number): number for number in range(1, len(stages) + 1)}
        self._step_checkpoints = step_checkpoints(store, workflow, run_id, ids)
        self._begin_stage(start.completed, start.steps, start.seconds)

    def remaining(self) -> Iterator[tuple[int, Stage]]:
        """Yield the stages that are to be called."""
        if self._start.checkpoint_id is not None:
            self._tell("resumed", self._start.checkpoint_id)
        completed = self._start.completed
        yield from enumerate(self._stages[completed:], completed + 1)

    @contextmanager
    def executing(self, number: int) -> Iterator[None]:
        """Save what a stage did, once it is called and its result is in `returned`.

        What it raises is recorded and raised again.
        """
        is_resumed = number == self._start.completed + 1
        self._begin_stage(
            number,
            self._start.steps if is_resumed else {},
            self._start.seconds if is_resumed else 0.0,
        )
        try:
            self._check(self._options.checkpoint_id(self._point()))
            self._tell("began")
            yield
            self._finish_stage()
        except BaseException as error:
            self._note(error)
            raise

    def end(self) -> Any:
        """Wait for what is being saved, and return the state."""
        try:
            for _, pending in self._saves:
                if pending is not None:
                    pending.result()
            if self._is_finished:  # by now: what is saved last may have come after the other's
                self._attempt.check_alone()
        except BaseException as error:
            self._note(error)
            raise
        self._clear_steps()
        return self.state

    # --- steps

    @property
    def steps(self) -> Steps:
        """How far the loops of the stage have come."""
        return self._steps

    @contextmanager
    def step(self, name: str, number: int, every_seconds: float) -> Iterator[None]:
        """Save the state after a step, unless that was done less than `every_seconds` ago."""
        with self._termination.deferred():
            with self._steps.taking(name, number):
                yield
            is_due = time.monotonic() - self._saved_at >= every_seconds
            if is_due or self._termination.is_asked:
                self._save_step(name, number)
                self._termination.leave_if_asked()

    def _save_step(self, name: str, number: int) -> None:
        point = self._point((name, number))
        about = {"outcome": "running", "steps": self._steps.last}
        checkpoint_id = self._save(point, about, is_full=False)
        if checkpoint_id == self._id_of_steps(self._number):
            self._step_checkpoints[checkpoint_id] = self._number
        self._tell("step", checkpoint_id, (name, number))

    def _id_of_steps(self, stage: int) -> str:
        return default_id(Point(self._run_id, stage, "", ("", 0)))

    # --- a stage

    def _begin_stage(self, number: int, steps: dict[str, int], seconds: float) -> None:
        self._number = number
        self._steps = Steps(dict(steps))
        self._begun_at = time.monotonic() - seconds
        self._saved_at = time.monotonic()
        self._is_finished = False
        self.returned = None

    def _finish_stage(self) -> None:
        metrics = self._take(self.returned)
        is_last = self._number == len(self._stages)
        with self._termination.deferred():
            about = {"outcome": "completed", "metrics": metrics}
            is_full = is_last and self._options.full_last
            checkpoint_id = self._save(self._point(), about, is_full=is_full)
            self._is_finished = True
            if not self._options.background:
                self._clear_steps()
        self._tell("completed", checkpoint_id)

    def _take(self, returned: Any) -> dict[str, Any]:
        """Take over a new state, if the stage returned one, and return its metrics."""
        metrics: Any = None
        if isinstance(returned, tuple) and len(returned) == 2:
            self.state, metrics = returned
        elif returned is None or returned is self.state:
            pass
        elif isinstance(returned, Mapping):
            self._check_metrics(returned)
            metrics = returned
        elif isinstance(returned, type(self.state)):
            self.state = returned
        else:
            metrics = returned
        if metrics is not None and not isinstance(metrics, Mapping):
            raise InvalidInputError(
                f"stage {self._stage.name!r} returned what is of type "
                f"{type(returned).__name__}: return metrics (a mapping), a new state, both as a "
                "tuple, or nothing"
            )
        return plain(dict(metrics or {}))  # type: ignore[no-any-return]

    def _check_metrics(self, returned: Mapping[str, Any]) -> None:
        """Refuse what looks like a new state: as metrics it would be lost for what comes next."""
        state = self.state
        if not isinstance(state, dict) or not state.keys() <= returned.keys():
            return
        same = [value for key, value in state.items() if returned[key] is value]
        has_all_and_more = state and len(same) == len(state) < len(returned)
        if has_all_and_more or any(isinstance(value, (list, dict)) for value in same):
            raise InvalidInputError(
                f"stage {self._stage.name!r} returned a dictionary with all that is in the state: "
                "return a new state with its metrics, as a tuple: (state, {})"
            )

    @property
    def _stage(self) -> Stage:
        return self._stages[self._number - 1]

    def _point(self, step: tuple[str, int] | None = None) -> Point:
        return Point(self._run_id, self._number, self._stage.name, step)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._begun_at

    # --- what is written

    def _save(self, point: Point, about: dict[str, Any], *, is_full: bool) -> str:
        checkpoint_id = self._options.checkpoint_id(point)
        self._check(checkpoint_id)
        metadata = {**self._metadata, **self._about(), **about}
        state = as_dict(self.state)
        if self._options.background and can_be_captured(state):
            pending = self._store.save(state, checkpoint_id, is_full, metadata, wait=False)
            ended = [number for number, (_, each) in enumerate(self._saves) if _is_saved(each)]
            self._saves = [*self._saves[ended[-1] :], (checkpoint_id, pending)]
        else:
            self._store.save(state, checkpoint_id, is_full, metadata)
            self._saves = [(checkpoint_id, None)]
        self._saved_at = time.monotonic()
        return checkpoint_id

    def _check(self, checkpoint_id: str) -> None:
        """Refuse an id that cannot be saved under, before a stage has worked for it."""
        self._attempt.check_free(checkpoint_id)
        self._attempt.check_alone()

    def _last_good(self, error: BaseException) -> str | None:
        """Wait for what is being saved, and return the last checkpoint that is.

        An error of a save that is heard of only here is added to the error that ended the stage.
        """
        last = None
        for name, pending in self._saves:
            unsaved = None if pending is None else pending.exception()
            if unsaved is None:
                last = name
            elif unsaved is not error:
                error.add_note(f"and checkpoint {name!r} was not saved: {unsaved!r}")
        return last

    def _about(self) -> dict[str, Any]:
        return {
            "workflow": self.workflow,
            "run": self._run_id,
            "attempt": self._attempt.token,
            "stage": self._number,
            "name": self._stage.name,
            "stages": len(self._stages),
            "version": self._identities[self._number - 1].version,
            "seconds": round(self._seconds, 6),
            "resumed_from": self._start.checkpoint_id,
            "shape": type_name(self.state),
            "made_by": [list(each) for each in self._identities[: self._number]],
        }

    def _clear_steps(self) -> None:
        """Delete the checkpoints of steps of this stage, which is saved, and of those before it."""
        spent = [name for name, stage in self._step_checkpoints.items() if stage <= self._number]
        for checkpoint_id in spent:
            with suppress(NotFoundError):  # retention was faster
                self._store.delete_checkpoint(checkpoint_id, missing_ok=False)
            del self._step_checkpoints[checkpoint_id]

    def _note(self, error: BaseException) -> None:
        """Record what ended the stage; if that cannot be, the error says so."""
        problem = describe(error)
        last_good = self._last_good(error)
        if self._is_complete(last_good):
            return  # what came then is not about the run
        failure = Failure(
            workflow=self.workflow,
            run_id=self._run_id,
            stage=self._number,
            name=self._stage.name,
            version=self._identities[self._number - 1].version,
            **problem._asdict(),
            checkpoint_id=last_good,
            seconds=self._seconds,
            failed_at=datetime.now(UTC),
        )
        if not isinstance(error, RunTakenError):  # the run has not failed
            self._record(failure, error)
        self._tell_of_end(error, "failed" if problem.outcome == "failed" else "interrupted")

    def _record(self, failure: Failure, error: BaseException) -> None:
        try:
            self._attempt.check_alone()  # else it would be taken for a failure of the other's
            self._store.record_failure(failure)
        except CheckpointError as unrecorded:
            log.warning("that run %r failed could not be recorded: %s", self._run_id, unrecorded)
            error.add_note(f"and it could not be recorded: {unrecorded!r}")

    def _is_complete(self, last_good: str | None) -> bool:
        is_last = self._number == len(self._stages)
        return self._is_finished and is_last and last_good == self._saves[-1][0]

    def _tell_of_end(self, error: BaseException, kind: Kind) -> None:
        """Tell of it without letting the callback hide the error that it is told of."""
        try:
            self._tell(kind)
        except Exception as unheard:  # noqa: BLE001 - of code that is not ours
            log.warning("the progress callback of run %r raised: %r", self._run_id, unheard)
            error.add_note(f"and the progress callback raised {unheard!r}")

    def _tell(
        self,
        kind: Kind,
        checkpoint_id: str | None = None,
        step: tuple[str, int] | None = None,
    ) -> None:
        if self._options.progress is None:
            return
        number, stages = self._number, len(self._stages)
        # None if nothing is done yet, or what a checkpoint says was done is no stage any more.
        name = self._stages[number - 1].name if 0 < number <= stages else ""
        self._options.progress(
            Event(kind, self._run_id, number, name, stages, self._seconds, checkpoint_id, step)
        )


def _is_saved(pending: PendingSave | None) -> bool:
    """Say whether a save is known to have ended well."""
    return pending is None or (pending.done() and pending.exception() is None)
