"""Where backups go: the interface of named blobs, and what makes one of a URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote

from checkpointdb.bucket_urls import directory_of_url, is_file_url, is_url, parse_url
from checkpointdb.errors import InvalidInputError
from checkpointdb.payloads import PayloadReader
from checkpointdb.records import CloudBackupConfig, CloudBackupProvider


class Blob(NamedTuple):
    """What a remote says of a blob, by its path below the remote."""

    path: str
    stored_bytes: int
    modified_at: datetime


class Remote(Protocol):
    """Blobs under paths. Errors are StoreUnavailableError, which names the remote."""

    @property
    def url(self) -> str: ...

    def blobs(self, directory: str) -> Iterator[Blob]:
        """Yield what lies below a directory, in the order of paths."""
        ...

    def open(self, path: str) -> PayloadReader:
        """Open a blob for reading. Raises FileNotFoundError if there is none."""
        ...

    def put(self, path: str, pieces: Iterator[bytes]) -> None:
        """Write a blob, durable, whole or not at all: if `pieces` raises, not at all."""
        ...

    def small(self, path: str) -> bytes | None:
        """Return a small blob, None if there is none."""
        ...

    def around(self, path: str) -> Iterator[bytes]:
        """Yield the small blobs of that path in the places that this lies in, as far as allowed."""
        ...

    def swap(self, path: str, seen: bytes | None, content: bytes) -> bool:
        """Replace a small blob if it still is what was seen (None: absent); False if not."""
        ...

    def delete(self, *paths: str) -> None:
        """Delete blobs, durable: they are gone before what is deleted by the next call.

        One that is gone already is no error.
        """
        ...

    def unfinished(self) -> Iterator[Blob]:
        """Yield what interrupted writes have left."""
        ...


def remote_at(where: str | os.PathLike[str] | CloudBackupConfig) -> Remote:
    """Return the remote at a URL, in a directory, or of a configuration; nothing is asked yet.

    Raises InvalidInputError if it names none.
    """
    if isinstance(where, CloudBackupConfig):
        return _open(_url(_place_of(where)), where)
    return _open(_url(where), None)


def _url(place: str | os.PathLike[str]) -> str:
    """Return the URL of a place: itself, or that of a directory."""
    try:
        if isinstance(place, os.PathLike):
            text, names_url = str(Path(place)), False
        else:
            text, names_url = place, is_url(place)
    except (TypeError, AttributeError) as error:
        raise _no_place(place) from error
    if not text:
        raise _no_place(place)
    return text if names_url else Path(text).absolute().as_uri()


def _no_place(where: object) -> InvalidInputError:
    return InvalidInputError(f"{where!r} is no place for a backup: give a URL or a directory")


def _place_of(config: CloudBackupConfig) -> str | os.PathLike[str]:
    """Return the place that a configuration names. Raises InvalidInputError if it names none."""
    if config.url:
        return config.url
    scheme = _SCHEMES.get(config.provider)
    if scheme is None or not config.bucket_name:
        raise InvalidInputError(
            "the configuration does not say where the backup goes: give it url='/DIRECTORY' or "
            "url='s3://BUCKET/PREFIX', or both a bucket_name and a provider: aws_s3, azure_blob or "
            "gcp_storage"
        )
    return f"{scheme}://{config.bucket_name}/{quote(config.prefix.strip('/'))}".rstrip("/")


_SCHEMES = {
    CloudBackupProvider.AWS_S3: "s3",
    CloudBackupProvider.AZURE_BLOB: "az",
    CloudBackupProvider.GCP_STORAGE: "gs",
}


def _open(url: str, access: CloudBackupConfig | None) -> Remote:
    if is_file_url(url):
        from checkpointdb.backup.directory_remote import DirectoryRemote

        return DirectoryRemote(directory_of_url(url))
    from checkpointdb.backup.bucket_remote import BucketRemote  # which need not be installed
    from checkpointdb.bucket import Bucket

    location = parse_url(
        url,
        region=access.region if access else None,
        endpoint=access.endpoint_url if access else None,
        credentials_path=access.credentials_path if access else None,
    )
    return BucketRemote(Bucket(location))
