"""What was read and checked becomes values again: only here is anything unpickled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from checkpointdb import serialize
from checkpointdb.errors import UnknownSerializerError, UntrustedGlobalError
from checkpointdb.store.load_plan import Plan
from checkpointdb.streamed import StreamedValue
from checkpointdb.trusted_globals import TrustedGlobals, Untrusted


def restore(
    plan: Plan, trusted: TrustedGlobals | None, streamed: Callable[[Any], StreamedValue]
) -> dict[str, Any]:
    """Restore the values of a plan that was read, in the order of the keys.

    `streamed` makes those that are read later, of their rows.

    Raises UntrustedGlobalError, UnknownSerializerError, and whatever unpickling raises.
    """
    state: dict[str, Any] = dict.fromkeys(plan.keys)
    state.update((row.key, streamed(row)) for row in plan.streamed)
    for serializer, rows in plan.small_by_serializer().items():
        restored = serialize.restorer(serializer, trusted)
        for row in rows:
            key = row[0]
            # No context manager: of ten thousand small values it would take a fifth of the time.
            try:
                state[key] = restored(plan.streams.pop(key))
            except Exception as error:
                _explain(error, plan.checkpoint_id, key, serializer)
                raise
    for key, serializer, parts in plan.take_parts():
        try:
            state[key] = serialize.restore(serializer, parts, trusted)
        except Exception as error:
            _explain(error, plan.checkpoint_id, key, serializer)
            raise
    return state


def _explain(error: Exception, checkpoint_id: str, key: str, serializer: str) -> None:
    """Say in what went wrong which value was being restored."""
    where = f"key {key!r} of checkpoint {checkpoint_id!r}"
    if not serialize.is_known(serializer):
        raise UnknownSerializerError(
            f"{where} was saved by the serializer {serializer!r}, which is not known here: "
            "register it (register_serializer), or upgrade checkpointdb",
            checkpoint_id=checkpoint_id,
            key=key,
            serializer=serializer,
        ) from None
    if isinstance(error, Untrusted):
        reason = f" ({error.reason})" if error.reason else ""
        raise UntrustedGlobalError(
            f"{where} was not loaded: its pickle names {error.name!r}, which trusted_globals does "
            f"not allow{reason}; if you trust it, name it there",
            checkpoint_id=checkpoint_id,
            key=key,
            global_name=error.name,
        ) from None
    error.add_note(
        f"while restoring {where}: its bytes are as they were saved; is a class of it missing "
        "or changed?"
    )
