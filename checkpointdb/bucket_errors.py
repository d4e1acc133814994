"""What a bucket answered, in our words: what is shown of it, whether to ask again, what to do."""

from __future__ import annotations

import re

from checkpointdb.errors import StoreUnavailableError

_MOST_SHOWN = 300
_REDIRECTED = "Received redirect without LOCATION"  # what is left of a status 301
_KEPT = "DeleteObjects request failed for key"  # one of many that were to be deleted
_DENIED = {"PermissionDeniedError", "UnauthenticatedError"}
_LATER = {"408", "429"}  # too slow, too many: all else that begins with 4 is final


def shown(error: BaseException) -> str:
    """Return the first lines of an error of obstore, without what may be a secret."""
    text, _, _ = str(error).partition("Debug source")
    code = _code(error)
    text = re.sub(r"\?\S*", "", text.partition("<")[0])
    text = re.sub(r"//[^/\s]*@", "//…@", text)  # of an endpoint in the environment
    text = " ".join(text.split()).rstrip(": ")
    return (f"{text}: {code}" if code else text)[:_MOST_SHOWN]


def is_transient(error: StoreUnavailableError) -> bool:
    """Say whether the same request may succeed later: not if it was reached, and refused."""
    cause = error.__cause__
    if type(cause).__name__ != "GenericError":
        return False
    if _REDIRECTED in str(cause) or _KEPT in str(cause):
        return False
    status = _status(cause)
    return not status.startswith("4") or status in _LATER


def is_denied(error: StoreUnavailableError) -> bool:
    """Say whether the rights are missing."""
    return type(error.__cause__).__name__ in _DENIED


def advice(error: BaseException) -> str:
    """Return what to do about an error of obstore.

    Its kind does not say it: a refusal to list is of the same kind as a bucket out of reach.
    """
    status = _status(error)
    says = {type(error).__name__, _code(error), status}
    if _REDIRECTED in str(error):
        says.add("301")
    if status.startswith("4") and status not in _LATER:
        says.add("4xx")
    return next((what for when, what in _ADVICE if when & says), "see the cause")


_ADVICE = (  # the first that fits
    ({"FileNotFoundError", "NoSuchBucket", "404"}, "there is no such bucket, make it first"),
    ({"ExpiredToken", "TokenRefreshRequired"}, "the credentials have expired, renew them"),
    ({"RequestTimeTooSkewed"}, "the clock of this machine is wrong, set it"),
    (
        {"301", "PermanentRedirect", "AuthorizationHeaderMalformed"},
        "the bucket is in another region, or elsewhere: look at region and endpoint",
    ),
    (
        {*_DENIED, "AccessDenied", "401", "403"},
        "permission is denied, look at the credentials and at the rights of the bucket",
    ),
    (
        {"4xx"},
        "the request is refused: look at the credentials, which may have expired, at the region "
        "and at the endpoint",
    ),
    (
        {"GenericError"},
        "it was not reached, or failed, each time; try again, or look at its endpoint",
    ),
)


def _status(error: BaseException | None) -> str:
    found = re.search(r"status code: (\d{3})", str(error))
    return found[1] if found else ""


def _code(error: BaseException) -> str:
    found = re.search(r"<Code>([^<]*)</Code>|\(code: (\w+)\)", str(error))
    return found[1] or found[2] if found else ""
