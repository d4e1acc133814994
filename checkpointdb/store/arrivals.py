"""What comes into a pipeline from elsewhere, the ids that it gets there, and the report of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from checkpointdb import queries
from checkpointdb.errors import InvalidInputError
from checkpointdb.reports import ImportReport
from checkpointdb.store.validation import MAX_ID_CHARACTERS

if TYPE_CHECKING:
    from checkpointdb.store.pipeline_checkpoint import PipelineCheckpoint

OnConflict = Literal["refuse", "skip", "replace", "rename"]


def checked_rule(on_conflict: object) -> None:
    """Raise InvalidInputError for what is no rule about ids that are taken."""
    if on_conflict not in get_args(OnConflict):
        raise InvalidInputError(
            f"on_conflict must be one of {', '.join(get_args(OnConflict))}, not {on_conflict!r}"
        )


def taken_ids(theirs: PipelineCheckpoint) -> dict[str, datetime]:
    """Return the ids of a pipeline's checkpoints, and their times: without their keys, quickly."""
    with theirs._engine.database.read() as connection:
        pipeline_id = connection.scalar(queries.pipeline_id(theirs.pipeline))
        found = connection.execute(queries.ages(), {"pipeline_id": pipeline_id})
        return {each.checkpoint_id: each.created_at for each in found}


class Arrival(NamedTuple):
    """What becomes of a checkpoint, and the id that it has in the pipeline."""

    outcome: Literal["new", "present", "skipped", "replaced", "renamed"]
    checkpoint_id: str

    @property
    def is_saved(self) -> bool:
        return self.outcome not in {"present", "skipped"}


@dataclass(slots=True)
class Arrivals:
    """The report in the making.

    What has the same id and the same time, to the microsecond, is the same checkpoint: so an
    import that was interrupted, or is repeated, goes on where it was.
    """

    taken: dict[str, datetime]
    on_conflict: OnConflict
    word: str = "imported"  # what becomes of it, in messages and in new names
    imported: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def into(
        cls, theirs: PipelineCheckpoint, on_conflict: OnConflict, word: str = "imported"
    ) -> Arrivals:
        """Look at what a pipeline has. Raises InvalidInputError for an unknown choice."""
        checked_rule(on_conflict)
        return cls(taken_ids(theirs), on_conflict, word)

    def place(self, checkpoint_id: str, created_at: datetime) -> Arrival:
        """Say what becomes of a checkpoint.

        Raises InvalidInputError if its id is that of another one and that is refused.
        """
        if checkpoint_id not in self.taken:
            return Arrival("new", checkpoint_id)
        if self.taken[checkpoint_id] == created_at:
            return Arrival("present", checkpoint_id)
        if self.on_conflict == "skip":
            return Arrival("skipped", checkpoint_id)
        if self.on_conflict == "replace":
            return Arrival("replaced", checkpoint_id)
        if self.on_conflict == "rename":
            return self._renamed(checkpoint_id, created_at)
        raise InvalidInputError(
            f"there is another checkpoint {checkpoint_id!r} already, of "
            f"{self.taken[checkpoint_id].isoformat()}: nothing was {self.word}; say on_conflict="
            "'skip', 'replace' or 'rename'"
        )

    def _renamed(self, checkpoint_id: str, created_at: datetime) -> Arrival:
        for number in count(1):
            suffix = f"-{self.word}" + (f"-{number}" if number > 1 else "")
            name = checkpoint_id[: MAX_ID_CHARACTERS - len(suffix)] + suffix
            if name not in self.taken:
                return Arrival("renamed", name)
            if self.taken[name] == created_at:
                return Arrival("present", name)
        raise AssertionError  # there is always a next number

    def record(self, checkpoint_id: str, created_at: datetime, arrival: Arrival) -> None:
        """Note what became of a checkpoint."""
        if arrival.outcome == "present":
            self.present.append(arrival.checkpoint_id)
        if arrival.outcome == "skipped":
            self.skipped.append(checkpoint_id)
        if arrival.outcome == "replaced":
            self.replaced.append(checkpoint_id)
        if arrival.outcome == "renamed":
            self.renamed.append((checkpoint_id, arrival.checkpoint_id))
        if arrival.is_saved:
            self.imported.append(arrival.checkpoint_id)
            self.taken[arrival.checkpoint_id] = created_at

    def report(self) -> ImportReport:
        return ImportReport(
            tuple(self.imported),
            tuple(self.present),
            tuple(self.skipped),
            tuple(self.replaced),
            tuple(self.renamed),
            tuple(self.unreadable),
        )
