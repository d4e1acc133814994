"""How a bucket is reached: `obstore`, imported by the first request, set up for a provider."""

from __future__ import annotations

import configparser
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpointdb.bucket_errors import shown
from checkpointdb.bucket_urls import Location
from checkpointdb.errors import InvalidInputError, NotSupportedError, StoreUnavailableError

if TYPE_CHECKING:
    from obstore.store import MemoryStore

# A request and each of its repetitions, and the pauses between them.
_REQUEST_SECONDS = 60.0
_CONNECT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0
_PAUSES_GROW = 3  # obstore draws each, from the first up to this times the one before
_MOST_RETRIES = 10_000  # never: the time is what ends it


# --- forks


class _Used:
    """The process whose threads work for obstore: they are not there in its children."""

    by: int | None = None


def refuse_after_fork(location: Location) -> None:
    """Raise StoreUnavailableError in a child of a process that has used a bucket.

    A request would wait for ever for threads that were not forked; a store made anew would too,
    as the threads are those of the process.
    """
    if _Used.by is None:
        _Used.by = os.getpid()
    elif _Used.by != os.getpid():
        raise StoreUnavailableError(
            f"{location.url!r} cannot be used in this process: it was forked from one that had "
            "used a bucket already, whose threads are not here. Start it by "
            'multiprocessing.get_context("spawn"), or open no store in a bucket before the fork'
        )


# --- connecting


# One for each name: what one handle put there, another of the process finds.
_memories: dict[str, MemoryStore] = {}
_memories_lock = threading.Lock()


def base_error(location: Location) -> type[Exception]:
    """Return what all errors of obstore are. Raises NotSupportedError where that is not."""
    try:
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise NotSupportedError(
            f"{location.url!r} needs the package `obstore`: pip install 'checkpointdb[cloud]'"
        ) from error
    return BaseError


def connect(location: Location, patience_seconds: float) -> Any:
    """Return the store of obstore for a place. Raises InvalidInputError if it cannot be one."""
    failed = base_error(location)
    from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

    if location.scheme == "memory":
        with _memories_lock:
            return _memories.setdefault(location.bucket, MemoryStore())
    request_seconds = min(_REQUEST_SECONDS, patience_seconds)
    made = {"s3": S3Store, "az": AzureStore, "gs": GCSStore}[location.scheme]
    try:
        return made(
            location.bucket,
            config=_config(location),
            client_options={
                "allow_http": _endpoint(location).startswith("http://"),
                "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, request_seconds)),
                "timeout": timedelta(seconds=request_seconds),
            },
            retry_config={
                "backoff": {
                    "init_backoff": timedelta(seconds=FIRST_PAUSE_SECONDS),
                    "max_backoff": timedelta(seconds=longest_pause(patience_seconds)),
                    "base": _PAUSES_GROW,
                },
                "max_retries": _MOST_RETRIES,
                "retry_timeout": timedelta(seconds=patience_seconds),
            },
        )
    except failed as error:
        raise InvalidInputError(
            f"{location.url!r} cannot be used: {shown(error)}. Look at its options and at its "
            "credentials"
        ) from error


def longest_pause(patience_seconds: float) -> float:
    """Return the longest pause: whoever has less patience asks more often."""
    return min(_LONGEST_PAUSE_SECONDS, patience_seconds / 9)


def _endpoint(location: Location) -> str:
    """Return the endpoint; S3's may be where AWS's own tools look for it, as obstore does too."""
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT") if location.scheme == "s3" else ()
    found = [location.endpoint, *map(os.environ.get, names)]
    return next((each for each in found if each), "")


def _config(location: Location) -> Any:
    config: dict[str, Any] = _credentials(location)
    if location.endpoint:
        config["base_url" if location.scheme == "gs" else "endpoint"] = location.endpoint
    if location.region:
        config["region"] = location.region
    if location.account:
        config["account_name"] = location.account
    return config


def _credentials(location: Location) -> dict[str, Any]:
    """Return what a file of credentials says.

    For Google that is its own JSON, which obstore reads; for the others an INI file as the
    tools of AWS write it, whose section is AWS_PROFILE or `default`.
    """
    path = location.credentials_path
    if path is None:
        return {}
    if location.scheme == "gs":
        return {"service_account": path}
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8"))
        profile = os.environ.get("AWS_PROFILE", "default") if location.scheme == "s3" else "default"
        return dict(parser[profile])
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError) as error:
        kind = type(error).__name__  # not its text, which may cite a secret
        raise InvalidInputError(f"no credentials can be read from {path!r}: {kind}") from error
