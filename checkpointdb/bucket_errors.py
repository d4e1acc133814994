"""What a bucket answered, in our words: what is shown of it, whether to ask again, what to do."""

from __future__ import annotations

import re

from checkpointdb.errors import StoreUnavailableError

_MOST_SHOWN = 300


def shown(error: BaseException) -> str:
    """Return the first lines of an error of obstore, without what may be a signature."""
    text, _, _ = str(error).partition("Debug source")
    code = re.search(r"<Code>([^<]*)</Code>", text)
    text = re.sub(r"\?\S*", "", text.partition("<")[0])
    text = " ".join(text.split()).rstrip(": ")
    return (f"{text}: {code[1]}" if code else text)[:_MOST_SHOWN]


def is_transient(error: StoreUnavailableError) -> bool:
    """Say whether the same request may succeed later."""
    return type(error.__cause__).__name__ == "GenericError"


def advice(error: BaseException) -> str:
    """Return what to do about an error of obstore."""
    text = str(error)
    kind = type(error).__name__
    if kind in {"PermissionDeniedError", "UnauthenticatedError"}:
        return "permission is denied, look at the credentials and at the rights of the bucket"
    if isinstance(error, FileNotFoundError) or "NoSuchBucket" in text or "404" in text:
        return "there is no such bucket, make it first"
    if kind == "GenericError":
        return "it was not reached, or failed, each time; try again, or look at its endpoint"
    return "see the cause"
