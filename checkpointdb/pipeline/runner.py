"""Pipeline, the public face: stages, runs of them, and questions about these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, TypeVar, overload

from checkpointdb.contexts import contextmanager
from checkpointdb.custom_metadata import checked
from checkpointdb.errors import InvalidInputError
from checkpointdb.pipeline.attempts import Attempt
from checkpointdb.pipeline.awaiting import Loop
from checkpointdb.pipeline.events import Event
from checkpointdb.pipeline.execution import Options, Run
from checkpointdb.pipeline.points import Point, checked_name, default_id
from checkpointdb.pipeline.resuming import OnChange, Resumption
from checkpointdb.pipeline.stages import Stage
from checkpointdb.pipeline.states import as_dict
from checkpointdb.pipeline.termination import Termination
from checkpointdb.runs import Failure, RunStatus, StageTime
from checkpointdb.store import PipelineCheckpoint
from checkpointdb.store.validation import new_id

S = TypeVar("S")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_RESERVED = {
    *("workflow", "run", "stage", "name", "stages", "version", "seconds", "outcome", "metrics"),
    *("attempt", "resumed_from", "shape", "made_by", "steps"),
}
_current: ContextVar[Run | None] = ContextVar("checkpointdb_run", default=None)


class Pipeline:
    """Stages that run one after the other upon a state, with a checkpoint after each in `store`.

    Stages are functions, or `Stage`s with a version and parameters; `@pipeline.stage` adds one.
    `name` tells its runs from those of other pipelines in the store. `checkpoint_id` makes
    the ids, `RUN_stage_4` otherwise. `full_last` makes the last checkpoint a full.
    `background=True` goes on with the next stage while a checkpoint is saved. `progress` is called
    with each Event. `state_type` is the class of states that are resumed without one at hand.

    Raises InvalidInputError for arguments that make no sense.
    """

    def __init__(
        self,
        name: str,
        store: PipelineCheckpoint,
        stages: Iterable[Callable[..., Any] | Stage] = (),
        *,
        checkpoint_id: Callable[[Point], str] | None = None,
        full_last: bool = False,
        background: bool = False,
        progress: Callable[[Event], object] | None = None,
        state_type: type[Any] | None = None,
    ) -> None:
        self.name = checked_name(name, "the pipeline's name")
        self.store = store
        self._stages: list[Stage] = []
        self._options = Options(checkpoint_id or default_id, full_last, background, progress)
        self._shape = state_type
        for each in stages:
            self._add(each if isinstance(each, Stage) else Stage(each))

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}, {len(self._stages)} stages, {self.store!r})"

    @property
    def stages(self) -> Sequence[Stage]:
        """The stages, in their order."""
        return tuple(self._stages)

    @overload
    def stage(self, function: F) -> F: ...

    @overload
    def stage(
        self,
        *,
        name: str = "",
        version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Callable[[F], F]: ...

    def stage(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str = "",
        version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Any:
        """Add a function as the next stage: `@pipeline.stage`, or with arguments as of Stage.

        Raises InvalidInputError as Stage does, and for a name that another stage has.
        """

        def add(function: F) -> F:
            self._add(Stage(function, name, version, parameters or {}))
            return function

        return add if function is None else add(function)

    def _add(self, stage: Stage) -> None:
        if stage.name in [each.name for each in self._stages]:
            raise InvalidInputError(f"there are two stages {stage.name!r}: give one another name")
        self._stages.append(stage)

    # --- running

    @overload
    def run(
        self,
        state: None = None,
        run_id: str | None = None,
        resume_from: str | int | None = None,
        *,
        on_change: OnChange = "error",
        metadata: Mapping[str, Any] | None = None,
    ) -> Any: ...

    @overload
    def run(
        self,
        state: S,
        run_id: str | None = None,
        resume_from: str | int | None = None,
        *,
        on_change: OnChange = "error",
        metadata: Mapping[str, Any] | None = None,
    ) -> S: ...

    def run(
        self,
        state: Any = None,
        run_id: str | None = None,
        resume_from: str | int | None = None,
        *,
        on_change: OnChange = "error",
        metadata: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the stages upon a dict, dataclass or pydantic model, and return it as they left it.

        `resume_from` goes on after a checkpoint: the "latest" of the run (which begins anew if it
        has none, or was begun anew and failed before it had one), that of a stage by its name or
        number, or any by its id; what was finished is not done again. A stage that changed
        since it made that checkpoint is an error, unless `on_change` is "redo", which does it again
        and what follows it, or "reuse". `metadata` is kept with each checkpoint. A run
        without an id is given one.

        What a stage raises is recorded as a Failure and raised again. In the main thread SIGTERM
        raises Terminated: at once, or at the end of a step or save that is going on.

        A run that is begun again while it goes on is the later one's: the earlier raises
        RunTakenError at its next stage or save once the later has saved.

        Raises StaleStageError, NotFoundError if there is nothing to resume from, InvalidInputError
        for arguments that make no sense, InvalidStateError for a state of another kind, and what
        PipelineCheckpoint.save and load raise.
        """
        termination = Termination()
        with termination.heeded(), Loop() as loop:
            run = self._begin(state, run_id, resume_from, on_change, metadata, termination)
            with _entered(run):
                for number, stage in run.remaining():
                    with run.executing(number):
                        run.returned = loop.result_of(stage.call(run.state))
                return run.end()

    async def run_async(
        self,
        state: Any = None,
        run_id: str | None = None,
        resume_from: str | int | None = None,
        *,
        on_change: OnChange = "error",
        metadata: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do what `run` does within an event loop, which waits for saves; signals are left to it.

        Raises what `run` raises.
        """
        run = self._begin(state, run_id, resume_from, on_change, metadata, Termination())
        with _entered(run):
            for number, stage in run.remaining():
                with run.executing(number):
                    returned = stage.call(run.state)
                    is_awaitable = hasattr(returned, "__await__")
                    run.returned = await returned if is_awaitable else returned
            return run.end()

    def _begin(
        self,
        state: Any,
        run_id: str | None,
        resume_from: str | int | None,
        on_change: OnChange,
        metadata: Mapping[str, Any] | None,
        termination: Termination,
    ) -> Run:
        if on_change not in ("error", "redo", "reuse"):
            raise InvalidInputError(f"on_change must be error, redo or reuse, not {on_change!r}")
        about = checked(dict(metadata) if isinstance(metadata, Mapping) else metadata)
        if reserved := _RESERVED & about.keys():
            raise InvalidInputError(f"the pipeline itself writes {sorted(reserved)}: rename yours")
        if state is not None:
            as_dict(state)
        run_id = _new_run() if run_id is None else checked_name(run_id, "run_id")
        attempt = Attempt(self.store, self.name, run_id)  # before it is seen where the run stands
        stages = self.stages
        identities = [each.identity() for each in stages]
        resumption = Resumption(
            self.store, self.name, identities, run_id, state, self._shape, on_change
        )
        start = resumption.start(resume_from)
        options = self._options
        return Run(
            self.name,
            self.store,
            stages,
            identities,
            run_id,
            attempt,
            start,
            options,
            about,
            termination,
        )

    # --- within a stage

    def step(
        self, name: str, number: int, *, every_seconds: float = 0.0
    ) -> AbstractContextManager[None]:
        """Save a checkpoint when the block ends: step `number` (from 0) of the loop `name`.

        With `every_seconds` only if the last one is that old. A resumed loop has to begin at
        `next_step(name)`.

        Raises InvalidInputError outside of a stage, and for a step that was done before.
        """
        return self._run().step(name, number, every_seconds)

    def next_step(self, name: str) -> int:
        """Return the number of the step that a loop of this stage has to begin with.

        Raises InvalidInputError outside of a stage.
        """
        return self._run().steps.next(name)

    def steps(self, name: str, items: Iterable[T], *, every_seconds: float = 0.0) -> Iterator[T]:
        """Yield what of a loop's items is not done yet, each as a step.

        Items have to come in the same order each time. A `break` leaves the step undone.

        Raises InvalidInputError outside of a stage, and for the second loop of a name.
        """
        steps = self._run().steps
        first = steps.begin(name)
        for number, item in enumerate(items):
            if number >= first:
                with self.step(name, number, every_seconds=every_seconds):
                    yield item
        steps.end(name)

    def _run(self) -> Run:
        run = _current.get()
        if run is None or run.workflow != self.name:
            raise InvalidInputError(
                f"no stage of {self.name!r} is running here: steps are for within a stage, in the "
                "thread that it was called in"
            )
        return run

    # --- questions

    def runs(self) -> list[RunStatus]:
        """Return where each run of this pipeline stands, that which moved last first."""
        return self.store.runs(self.name)

    def stage_times(self) -> list[StageTime]:
        """Return how long each stage took, over the runs whose checkpoints still exist."""
        return self.store.stage_times(self.name)

    def failures(self, run_id: str | None = None, *, limit: int | None = None) -> list[Failure]:
        """Return which stages failed or were interrupted, and why, newest first."""
        return self.store.failures(self.name, run_id, limit=limit)


def _new_run() -> str:
    return new_id().replace("ckpt", "run", 1)


@contextmanager
def _entered(run: Run) -> Iterator[None]:
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)
