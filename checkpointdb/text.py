"""Text that a database can hold."""

from __future__ import annotations

from checkpointdb.errors import InvalidInputError


def storable(text: str, what: str) -> str:
    """Return `text`, which `what` describes in the message.

    Raises InvalidInputError for what is no text, for NUL, which PostgreSQL cannot hold and SQLite
    cuts at, and for lone surrogates, which UTF-8 cannot encode.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"{what} must be text, not {type(text).__name__}")
    if "\0" in text:
        raise InvalidInputError(f"{what} {_short(text)} contains a NUL character: remove it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{what} {_short(text)} contains a lone surrogate at {error.start}: "
            "decode it with the right encoding, or with errors='replace'"
        ) from error
    return text


def is_storable(text: str) -> bool:
    """Say whether a database can hold `text`: what it cannot hold is not in it."""
    try:
        storable(text, "the text")
    except InvalidInputError:
        return False
    return True


def _short(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:60] + "…")
