"""The methods of a handle that save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from checkpointdb.store.request import SaveRequest
from checkpointdb.store.validation import checked_id, checked_state, new_id

if TYPE_CHECKING:
    from checkpointdb.store.background import PendingSave
    from checkpointdb.store.engine import Engine


class Saves:
    """What makes a checkpoint of a state."""

    _engine: Engine

    @overload
    def save(
        self,
        state: dict[str, Any],
        checkpoint_id: str | None = None,
        force_full: bool = False,
        custom_metadata: dict[str, Any] | None = None,
        *,
        pinned: bool | None = None,
        base: str | None = None,
        wait: Literal[True] = True,
    ) -> str: ...

    @overload
    def save(
        self,
        state: dict[str, Any],
        checkpoint_id: str | None = None,
        force_full: bool = False,
        custom_metadata: dict[str, Any] | None = None,
        *,
        pinned: bool | None = None,
        base: str | None = None,
        wait: Literal[False],
    ) -> PendingSave: ...

    def save(
        self,
        state: dict[str, Any],
        checkpoint_id: str | None = None,
        force_full: bool = False,
        custom_metadata: dict[str, Any] | None = None,
        *,
        pinned: bool | None = None,
        base: str | None = None,
        wait: bool = True,
    ) -> str | PendingSave:
        """Save a state and return its id, one made up if none is given.

        When this returns the checkpoint survives a crash (and, in a durable store, a power
        loss). An id that exists is replaced; checkpoints saved upon the old one are unharmed.
        `base` names the checkpoint to compare with, instead of what this thread saved or
        loaded last. A pinned checkpoint is exempt from retention; one
        that replaces a pinned one is pinned too, unless told otherwise. What is larger than memory
        is given as a StreamedValue. Each value is pickled by itself: an object that two of them
        share comes back as two, one that is shared within a value as one.

        With `wait=False` it returns a PendingSave as soon as the state is captured, which then may
        be changed; the checkpoint is acknowledged by its `result()`. A thread's saves keep their
        order, and what it saves, loads, pins, forgets, copies or backs up next comes after them;
        questions, such as `list_checkpoints`, do not wait. `close` waits for them.
        An error that nobody asked a PendingSave for is raised by the thread's next save, which
        then saves nothing, or by `close`.

        Raises InvalidStateError if the state is no dict with text keys, if it has attributes beside
        them, or if a value cannot be pickled (the key is named), InvalidInputError for a bad id or
        metadata that is no JSON, NotFoundError for an unknown `base`, StateChangedError if a value
        changes meanwhile, StoreUnavailableError and StoreBusyError if it cannot be written. Then
        nothing is saved.
        """
        # Imported here, since nobody who only reads needs it.
        from checkpointdb.custom_metadata import checked

        request = SaveRequest(
            state=checked_state(state),
            checkpoint_id=new_id() if checkpoint_id is None else checked_id(checkpoint_id),
            custom_metadata=checked(custom_metadata),
            force_full=force_full,
            pinned=pinned,
            base=None if base is None else checked_id(base, "the base"),
            state_version=self._engine.versions.current,
        )
        if not wait:
            return self._engine.save_later(request, self)
        self._engine.save(request)
        return request.checkpoint_id
