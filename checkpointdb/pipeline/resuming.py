"""Where a run begins: anew, or after a checkpoint whose stages are still what they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal

from sqlalchemy import ColumnElement

from checkpointdb.errors import InvalidInputError, NotFoundError, StaleStageError
from checkpointdb.filters import meta
from checkpointdb.pipeline.stages import Identity
from checkpointdb.pipeline.states import from_dict
from checkpointdb.records import CheckpointMetadata
from checkpointdb.schema import checkpoints
from checkpointdb.serialize import name_of
from checkpointdb.store import PipelineCheckpoint

OnChange = Literal["error", "redo", "reuse"]


@dataclass(frozen=True, slots=True)
class Start:
    """A state, and how far the stages have come with it."""

    state: Any
    completed: int = 0
    checkpoint_id: str | None = None
    steps: dict[str, int] = field(default_factory=dict)  # of the stage that comes next
    seconds: float = 0.0  # that it took already


@dataclass(frozen=True, slots=True)
class Resumption:
    """What is needed to find a run's beginning."""

    store: PipelineCheckpoint
    workflow: str
    identities: Sequence[Identity]
    run_id: str
    state: Any
    shape: type[Any] | None
    on_change: OnChange

    def start(self, resume_from: str | int | None) -> Start:
        """Find it.

        Raises NotFoundError if there is no such checkpoint, StaleStageError if a stage changed
        since and is not to be reused or redone, InvalidInputError for a checkpoint of another
        pipeline, or where the state to begin with is missing.
        """
        if resume_from is None:
            return self._beginning()
        found = self._find(resume_from)
        if found is None:
            return self._beginning()
        changes = self._changes(found.custom_metadata)
        if not changes or self.on_change == "reuse":
            return self._after(found)
        if self.on_change == "redo":
            return self._before(found, min(changes))
        raise _stale(found.checkpoint_id, changes)

    # --- the checkpoint

    def _find(self, resume_from: str | int) -> CheckpointMetadata | None:
        """Return what is named; None for the latest of a run that has none."""
        if resume_from == "latest":
            return self._latest()
        is_name = isinstance(resume_from, str)
        if is_name and resume_from not in self._names:
            return self._named(str(resume_from))
        if isinstance(resume_from, bool) or not isinstance(resume_from, (str, int)):
            raise InvalidInputError(
                "resume_from must be 'latest', a stage's name or number, a checkpoint's id, or "
                f"None, not {resume_from!r}"
            )
        where = meta("name" if is_name else "stage") == resume_from
        found = self._newest(self._of_run(self.run_id) & _completed & where)
        if found is None:
            raise NotFoundError(
                f"run {self.run_id!r} has no checkpoint of stage {resume_from!r}: resume from "
                "'latest', or begin anew"
            )
        return found

    def _latest(self) -> CheckpointMetadata | None:
        """Return what the run saved last; None if it was begun anew since, and saved nothing.

        What it had saved before is then the result of another beginning.
        """
        found = self._newest(self._of_run(self.run_id))
        if found is None:
            return None
        failures = self.store.failures(
            self.workflow, self.run_id, after=found.checkpoint_id, limit=1
        )
        return None if failures and failures[0].checkpoint_id is None else found

    def _named(self, checkpoint_id: str) -> CheckpointMetadata:
        found = self.store.get_checkpoint_info(checkpoint_id)
        if found is None:
            raise NotFoundError(
                f"{checkpoint_id!r} is neither a stage nor a checkpoint: there is nothing to "
                "resume from",
                checkpoint_id=checkpoint_id,
            )
        about = found.custom_metadata
        if about.get("workflow") != self.workflow or not _is_of_run(about):
            raise InvalidInputError(
                f"checkpoint {checkpoint_id!r} was not saved by a run of {self.workflow!r}: which "
                "stages made it is not known"
            )
        return found

    def _newest(self, where: ColumnElement[bool]) -> CheckpointMetadata | None:
        found = self.store.list_checkpoints(sort_by=checkpoints.c.id, where=where, limit=1)
        if found and not _is_of_run(found[0].custom_metadata):
            found = self._saved_by_runs(where)
        return found[0] if found else None

    def _saved_by_runs(self, where: ColumnElement[bool]) -> list[CheckpointMetadata]:
        """Return the newest first: without those that others gave some of the same metadata."""
        found = self.store.list_checkpoints(sort_by=checkpoints.c.id, where=where)
        return [each for each in found if _is_of_run(each.custom_metadata)]

    def _of_run(self, run_id: str) -> ColumnElement[bool]:
        return _of_run(self.workflow, run_id)

    # --- where that leads

    def _beginning(self) -> Start:
        if self.state is None:
            raise InvalidInputError(
                f"run {self.run_id!r} begins anew: it needs the state to begin with"
            )
        return Start(self.state)

    def _after(self, found: CheckpointMetadata) -> Start:
        about = found.custom_metadata
        state = from_dict(self._shape(about), self._load(found))
        # By its name: what is reused may have had another number.
        is_known = about["name"] in self._names
        number = self._names.index(about["name"]) + 1 if is_known else about["stage"]
        if about["outcome"] == "completed":
            return Start(state, number, found.checkpoint_id)
        steps, seconds = dict(about["steps"]), about["seconds"]
        return Start(state, number - 1, found.checkpoint_id, steps, seconds)

    @property
    def _names(self) -> list[str]:
        return [each.name for each in self.identities]

    def _load(self, found: CheckpointMetadata) -> dict[str, Any]:
        """Load a state that belongs to the metadata: the id may be saved again meanwhile."""
        state = self.store.load(found.checkpoint_id)
        now = self.store.get_checkpoint_info(found.checkpoint_id)
        if now is None or now.hash_sha256 != found.hash_sha256:
            raise NotFoundError(
                f"checkpoint {found.checkpoint_id!r} was replaced while it was loaded: somebody "
                f"else runs {self.run_id!r}",
                checkpoint_id=found.checkpoint_id,
            )
        return state

    def _before(self, found: CheckpointMetadata, first: int) -> Start:
        """Find the last checkpoint of its run that no changed stage has made.

        Or of the run that it was resumed from, since that began with the state that counts.
        """
        for about in self._origins(found):
            earlier = self._of_run(about["run"]) & _completed & (meta("stage") < first)
            for each in self._saved_by_runs(earlier):
                if not self._changes(each.custom_metadata):
                    return self._after(each)
        return self._beginning()

    def _origins(self, found: CheckpointMetadata) -> Iterator[dict[str, Any]]:
        """Yield what is known of a checkpoint, and of those from which its run was resumed."""
        seen: set[str] = set()
        each: CheckpointMetadata | None = found
        while each is not None and each.checkpoint_id not in seen:
            seen.add(each.checkpoint_id)
            about = each.custom_metadata
            if about.get("workflow") != self.workflow or not _is_of_run(about):
                return
            yield about
            before = about.get("resumed_from")
            each = None if before is None else self.store.get_checkpoint_info(before)

    def _changes(self, about: dict[str, Any]) -> dict[int, str]:
        """Say, by number, which stages that made a checkpoint are not what they were."""
        found = {}
        for number, was in enumerate(about["made_by"], 1):
            if number > len(self.identities):
                found[number] = f"stage {number}, {was[0]!r}, is gone"
                continue
            now = self.identities[number - 1]
            if changes := Identity(*was).changes(now):
                found[number] = f"stage {number}, {now.name!r}, {' and '.join(changes)}"
        return found

    def _shape(self, about: dict[str, Any]) -> type[Any]:
        """Return the class of the state, by its name among those that are known here."""
        given = [] if self.state is None else [type(self.state)]
        given += [] if self.shape is None else [self.shape]
        name = about.get("shape")
        if named := [each for cls in given for each in _with_subclasses(cls) if _is(each, name)]:
            return named[0]
        if name == "dict":  # by now a class, if one was given
            return (given or [dict])[0]
        # Renamed or moved since. A dictionary it never was.
        if classes := [each for each in given if not issubclass(each, dict)]:
            return classes[0]
        raise InvalidInputError(
            f"the state is a {name}: give Pipeline its class as state_type, or run() a state of it"
        )


def step_checkpoints(
    store: PipelineCheckpoint, workflow: str, run_id: str, ids: Mapping[str, int]
) -> dict[str, int]:
    """Return which of `ids`, each with the number of its stage, the run has saved after steps."""
    where = _of_run(workflow, run_id) & (meta("outcome") == "running")
    found = store.list_checkpoints(where=checkpoints.c.checkpoint_id.in_(ids) & where)
    stages = {each.checkpoint_id: each.custom_metadata.get("stage") for each in found}
    return {name: number for name, number in ids.items() if stages.get(name) == number}


def _of_run(workflow: str, run_id: str) -> ColumnElement[bool]:
    return (meta("run") == run_id) & (meta("workflow") == workflow)


def _is_of_run(about: dict[str, Any]) -> bool:
    """Say whether metadata is what a run writes: anybody may use some of its names."""
    made_by, steps = about.get("made_by"), about.get("steps", {})
    return (
        all(isinstance(about.get(name), str) for name in ("run", "name", "outcome"))
        and all(_is_number(about.get(name)) for name in ("stage", "seconds"))
        and isinstance(about["stage"], int)
        and isinstance(about.get("resumed_from", ""), (str, NoneType))
        and isinstance(made_by, list)
        and all(isinstance(each, list) and len(each) == len(Identity._fields) for each in made_by)
        and (isinstance(steps, dict) and all(map(_is_number, steps.values())))
        and (about["outcome"] == "completed" or "steps" in about)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _with_subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    yield cls
    if cls is not dict:
        for each in cls.__subclasses__():
            yield from _with_subclasses(each)


def _is(cls: type[Any], name: str | None) -> bool:
    return name_of(dict if issubclass(cls, dict) else cls) == name  # a TypedDict is a dict


_completed = meta("outcome") == "completed"


def _stale(checkpoint_id: str, changes: dict[int, str]) -> StaleStageError:
    said = "; ".join(changes.values())
    return StaleStageError(
        f"checkpoint {checkpoint_id!r} was made by stages that changed since: {said}. Go on with "
        "it by on_change='reuse', do what changed again by on_change='redo', or begin anew",
        checkpoint_id=checkpoint_id,
        stages=tuple(changes),
    )
