"""What a caller hands over, checked before anything is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from checkpointdb.errors import InvalidInputError, InvalidStateError
from checkpointdb.text import is_storable, storable

if TYPE_CHECKING:
    from checkpointdb.format import CompressionLevel
    from checkpointdb.verifying import Scope

MAX_ID_CHARACTERS = 16_384
_ID = "the checkpoint id"
_MAX_COUNT = 2**63 - 1  # an integer of a database


def checked_id(checkpoint_id: object, what: str = _ID) -> str:
    """Return an id or a pipeline's name, which may be any text but empty.

    Raises InvalidInputError for what is no text, is empty, over 16 384 characters long, or
    holds NUL or a lone surrogate.
    """
    if not isinstance(checkpoint_id, str):
        raise InvalidInputError(f"{what} must be text, not {type(checkpoint_id).__name__}")
    if not checkpoint_id:
        made_up = ", or None for one made up" if what == _ID else ""
        raise InvalidInputError(f"{what} is empty: give a name{made_up}")
    if len(checkpoint_id) > MAX_ID_CHARACTERS:
        raise InvalidInputError(
            f"{what} has {len(checkpoint_id)} characters, at most {MAX_ID_CHARACTERS} are taken"
        )
    return storable(checkpoint_id, what)


def checked_path(path: object, what: str = "the store's directory") -> Path:
    """Return a path. Raises InvalidInputError for what is none, or is empty."""
    # An unset variable gives it, and it would be the current directory.
    if isinstance(path, str) and not path:
        raise InvalidInputError(f"{what} is empty: give its path, '.' for the current directory")
    try:
        return Path(path)  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidInputError(
            f"{what} must be a path, as text or of pathlib, not {type(path).__name__}"
        ) from error


def new_id() -> str:
    """Return an id that tells its time and is used once."""
    return f"ckpt_{datetime.now(UTC):%Y%m%d_%H%M%S}_{os.urandom(4).hex()}"


def checked_state(state: object) -> dict[str, object]:
    """Return a copy of a state that is a dictionary with text keys; values are not copied.

    Raises InvalidStateError, naming the key, otherwise.
    """
    if not isinstance(state, dict):
        form = "give dict(state)" if isinstance(state, Mapping) else "wrap it as {'value': state}"
        raise InvalidStateError(f"a state must be a dict, not {type(state).__name__}: {form}")
    if type(state) is not dict and (beside := getattr(state, "__dict__", None)):
        raise InvalidStateError(
            f"the state is a {type(state).__name__}, which has more than its keys "
            f"({', '.join(sorted(map(str, beside)))}), and would come back as a plain dict: give "
            "dict(state), with the rest under keys of its own"
        )
    copy = dict(state)  # in one step: another thread may be adding keys
    return copy if _are_storable(copy) else _with_texts(copy)


def _with_texts(state: Mapping[object, object]) -> dict[str, object]:
    """Return a state with plain text for keys: those of another class may be equal to none."""
    texts: dict[str, object] = {}
    for key, value in state.items():
        if not isinstance(key, str):
            raise InvalidStateError(f"the keys of a state must be text, not {key!r}", key=repr(key))
        text = str.__str__(key)
        try:
            storable(text, "the key")
        except InvalidInputError as error:
            raise InvalidStateError(str(error), key=text) from error
        if text in texts:
            raise InvalidStateError(f"two keys of the state are the text {text!r}", key=text)
        texts[text] = value
    return texts


def _are_storable(keys: Collection[object]) -> bool:
    """Say whether keys are seen to be storable text all together, which takes less for many."""
    texts = [key for key in keys if type(key) is str]
    return len(texts) == len(keys) and is_storable("".join(texts))


def checked_keys(keys: object) -> list[str]:
    """Return a list of keys. Raises InvalidInputError for what is none."""
    if isinstance(keys, str):
        raise InvalidInputError(f"keys must be a list of keys: write keys=[{keys!r}]")
    if not isinstance(keys, Iterable):
        raise InvalidInputError(f"keys must be a list of keys, not {type(keys).__name__}")
    chosen = list(keys)
    for key in chosen:
        if not isinstance(key, str):
            raise InvalidInputError(f"the keys of a state are text, not {key!r}")
    return [str.__str__(key) for key in chosen]  # of another class they may be equal to none


def checked_seconds(value: object, what: str) -> float:
    """Return a time of zero to a day. Raises InvalidInputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86_400:
        raise InvalidInputError(f"{what} must be a number from 0 to 86400, not {value!r}")
    return float(value)


def checked_interval(value: object, what: str) -> float:
    """Return a time of any length. Raises InvalidInputError unless it is a number over 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise InvalidInputError(f"{what} must be a number over 0, not {value!r}")
    return float(value)


def checked_number(value: object, what: str) -> float:
    """Return a number as a double. Raises InvalidInputError for what is none, or not finite."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not abs(value) <= sys.float_info.max:  # type: ignore[arg-type]
        shown = f"one of {value.bit_length()} bits" if type(value) is int else repr(value)
        raise InvalidInputError(f"{what} must be a finite number, not {shown}")
    return float(value)  # type: ignore[arg-type]


def checked_share(share: object, what: str) -> float:
    """Return a part of a whole. Raises InvalidInputError unless it is over 0 and at most 1."""
    if not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise InvalidInputError(f"{what} must be over 0 and at most 1, not {share!r}")
    return float(share)


def checked_scope(read_data: bool, share: object, seconds: object) -> Scope | None:
    """Return how much to read, None for nothing. Raises InvalidInputError for nonsense."""
    from checkpointdb.verifying import Scope  # imported when used

    part = checked_share(share, "share")
    limit = None if seconds is None else checked_seconds(seconds, "seconds")
    if not read_data and (part != 1 or limit is not None):
        raise InvalidInputError("share and seconds are for read_data=True: nothing else is read")
    return Scope(part, limit) if read_data else None


def checked_count(value: object, what: str, *, least: int = 1) -> int:
    """Return a whole number of at least `least` and 63 bits. Raises InvalidInputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{what} must be a whole number of at least {least}, not {value!r}")
    if value > _MAX_COUNT:
        raise InvalidInputError(f"{what} must be a whole number of at most {_MAX_COUNT}")
    return value


def checked_page(limit: object, offset: object, filter_fn: object) -> None:
    """Raise InvalidInputError for a part of a list, or a choice from it, that makes no sense."""
    for what, value in (("limit", limit), ("offset", offset)):
        if value is not None:
            checked_count(value, what, least=0)
    if filter_fn is not None and not callable(filter_fn):
        raise InvalidInputError(
            f"filter_fn must be a function of a CheckpointMetadata, not {type(filter_fn).__name__}"
        )


def checked_level(level: CompressionLevel) -> CompressionLevel:
    """Return a compression level. Raises InvalidInputError for what is none."""
    from checkpointdb.format import COMPRESSION_LEVELS

    if level not in COMPRESSION_LEVELS:
        raise InvalidInputError(
            f"compression_level must be one of {', '.join(COMPRESSION_LEVELS)}, not {level!r}"
        )
    return level


def checked_age(value: object, what: str) -> timedelta:
    """Return a length of time. Raises InvalidInputError for what is none."""
    if not isinstance(value, timedelta):
        raise InvalidInputError(
            f"{what} must be a timedelta, such as timedelta(hours=1), not {value!r}"
        )
    return value


def checked_time(value: object, what: str) -> datetime:
    """Return a time in UTC; one without a zone is this machine's. Raises InvalidInputError."""
    if not isinstance(value, datetime):
        raise InvalidInputError(f"{what} must be a datetime, not {value!r}")
    try:
        return value.astimezone(UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise InvalidInputError(f"{what} is not in the years 1 to 9999 in UTC: {value}") from error


def checked_zone(zone: object) -> tzinfo | None:
    """Return a time zone, given itself or by its name. Raises InvalidInputError otherwise."""
    if zone is None or isinstance(zone, tzinfo):
        return zone
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(zone)  # type: ignore[arg-type]
    except (TypeError, ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise InvalidInputError(
            f"time_zone must be a tzinfo or the name of a time zone, such as 'America/Bogota', "
            f"not {zone!r}"
        ) from error


def checked_names(names: Iterable[str] | None, what: str) -> list[str] | None:
    """Return names as a list. Raises InvalidInputError for a text alone, which is many too."""
    if isinstance(names, (str, bytes)):
        raise InvalidInputError(f"{what} must be a list: write {what}=[…]")
    return None if names is None else list(names)
