"""What is asked of a save, and by whom: a handle's settings, one checkpoint, one thread."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from checkpointdb.format import CompressionLevel
    from checkpointdb.retention import Question
    from checkpointdb.serialize import Serializer
    from checkpointdb.store.finding import Row
    from checkpointdb.store.head import Head


class Forgettable(Protocol):
    """Of a policy: what a save asks it. See `retention.parts.Part.forgettable`."""

    def __call__(
        self, pipeline_id: int, now: datetime, *, has_damage: bool = False
    ) -> Question | None: ...


class SaveSettings(NamedTuple):
    """The choices of a handle that concern saving."""

    forgettable: Forgettable
    full_every: int
    compression_level: CompressionLevel
    is_incremental: bool
    serializer: Serializer


class SaveRequest(NamedTuple):
    """One checkpoint to be saved, checked. `pinned` None: as the one that it replaces.

    A value of the state may be Serialized: it is copied as it is.
    """

    state: dict[str, object]
    checkpoint_id: str
    custom_metadata: dict[str, Any]
    force_full: bool
    pinned: bool | None
    base: str | None
    created_at: datetime | None = None  # None: now
    replaces: bool = True  # False: an id that exists is an error
    state_version: int | None = None


class Writer:
    """What one thread of one handle knows: the chain that is its own, and what it builds on."""

    __slots__ = ("base", "head")

    def __init__(self) -> None:
        self.head: Head | None = None  # what it saved last: only upon this does it append
        self.base: Row | None = None  # what it saved or wholly loaded last
