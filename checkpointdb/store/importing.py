"""The predecessor's checkpoints saved into a pipeline, from the oldest to the newest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from checkpointdb.callbacks import Progress
from checkpointdb.custom_metadata import checked
from checkpointdb.errors import EncryptionError, InvalidInputError, InvalidStateError
from checkpointdb.keys import FernetKey, Key, as_key
from checkpointdb.legacy import LegacyCheckpoint, LegacyDirectory, Unreadable, open_legacy
from checkpointdb.reports import ImportReport
from checkpointdb.store.arrivals import Arrival, Arrivals, OnConflict
from checkpointdb.store.key_sources import KEY_NAME, key_beside
from checkpointdb.store.request import SaveRequest
from checkpointdb.store.validation import (
    checked_count,
    checked_id,
    checked_state,
    checked_zone,
)
from checkpointdb.trusted_globals import TrustedGlobals

if TYPE_CHECKING:
    from checkpointdb.store.pipeline_checkpoint import PipelineCheckpoint


def opened_directory(
    directory: Path,
    *,
    key: object | None,
    own_key: Key | None,
    time_zone: object | None,
    trusted: TrustedGlobals | None,
    most_state_bytes: int,
) -> LegacyDirectory:
    """Open a directory, with its key if it is encrypted.

    Raises InvalidInputError for arguments that make no sense, and what `open_legacy` raises;
    EncryptionError if there is no key, WrongKeyError if it opens nothing.
    """
    legacy = open_legacy(
        directory,
        time_zone=checked_zone(time_zone),
        trusted=trusted,
        most_state_bytes=checked_count(most_state_bytes, "most_state_bytes"),
    )
    if legacy.is_encrypted:
        legacy.key = _legacy_key(directory, key, own_key)
        legacy.check_key()
    return legacy


def _legacy_key(directory: Path, key: object | None, own_key: Key | None) -> FernetKey:
    found = key_beside(directory) or own_key if key is None else as_key(key)
    if found is None:
        raise EncryptionError(
            f"the checkpoints in {str(directory)!r} are encrypted, and there is no {KEY_NAME} "
            "beside them: pass key"
        )
    if not isinstance(found, FernetKey):
        raise EncryptionError("the predecessor encrypted by Fernet keys: pass one of these as key")
    return found


def import_directory(
    theirs: PipelineCheckpoint,
    legacy: LegacyDirectory,
    on_conflict: OnConflict,
    progress: Progress | None,
) -> ImportReport:
    """Save what a pipeline does not have yet, each checkpoint whole or not at all.

    Raises InvalidInputError, before anything is saved, where it has others of the same ids.
    """
    arrivals = Arrivals.into(theirs, on_conflict)
    arrivals.unreadable += legacy.unreadable.items()
    order = legacy.in_order()
    for each in order:
        arrivals.place(each.checkpoint_id, each.created_at)
    names: dict[str, str] = {}  # of bases, in the store
    for done, each in enumerate(order, 1):
        try:
            arrival = _import(theirs, legacy, each, arrivals, names)
        except (Unreadable, InvalidStateError) as error:
            arrivals.unreadable.append((each.checkpoint_id, str(error)))
        else:
            arrivals.record(each.checkpoint_id, each.created_at, arrival)
            if arrival.outcome != "skipped":
                names[each.checkpoint_id] = arrival.checkpoint_id
        if progress is not None:
            progress(done, len(order))
    return arrivals.report()


def _import(
    theirs: PipelineCheckpoint,
    legacy: LegacyDirectory,
    each: LegacyCheckpoint,
    arrivals: Arrivals,
    names: dict[str, str],
) -> Arrival:
    arrival = arrivals.place(each.checkpoint_id, each.created_at)
    if arrival.is_saved:
        # One whose base is not in the store is compared with what was imported last.
        base = None if each.base_id is None else names.get(each.base_id)
        request = _request(legacy, each, arrival, base)
        theirs._engine.save(request)
    return arrival


def _request(
    legacy: LegacyDirectory, each: LegacyCheckpoint, arrival: Arrival, base: str | None
) -> SaveRequest:
    """Describe a save. Raises Unreadable, and InvalidStateError for what no store can hold."""
    state = checked_state(legacy.state(each.checkpoint_id))
    try:
        return SaveRequest(
            state=state,
            checkpoint_id=checked_id(arrival.checkpoint_id),
            custom_metadata=checked(each.custom_metadata),
            force_full=each.base_id is None,
            pinned=None,
            base=base,
            created_at=each.created_at,
            replaces=arrival.outcome == "replaced",
        )
    except InvalidInputError as error:
        raise Unreadable(str(error)) from error
